"""What a goal is: values measured in rounds, and rows of a table made from their medians."""


def micros(cost, run):
    """CPU microseconds per operation: `cost` reads CPU seconds, `run` returns the operations done."""
    before = cost()
    done = run()
    return (cost() - before) * 1e6 / done


class Goal:
    """A goal measures several values in each round; `rows` makes lines of the table from their medians."""

    def __init__(self, bench):
        self.bench = bench
        self.seconds = bench.seconds

    def parts(self):
        """Name of each value, and what measures it: called in turn, in opposite order in every other round."""
        raise NotImplementedError


class Row:
    def __init__(self, goal, what, unit, ours, peer_name, peer, at_most=None, at_least=None, also=None, remark=""):
        self.goal, self.ratio = goal, ours / peer
        minimum, held = [remark] if remark else [], []
        if at_most is not None:
            minimum.append(f"≤ {at_most:.2g}x")
            held.append(self.ratio <= at_most)
        if at_least is not None:
            minimum.append(f"≥ {at_least}x")
            held.append(self.ratio >= at_least)
        if also:
            minimum.append(also[0])
            held.append(also[1])
        self.met = all(held) if held else None
        self.cells = [goal, what, f"{number(ours)} {unit}", f"{peer_name}: {number(peer)} {unit}", f"{self.ratio:.3g}x",
                      " and ".join(minimum), {True: "yes", False: "**no**", None: "–"}[self.met]]


def number(value):
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"
