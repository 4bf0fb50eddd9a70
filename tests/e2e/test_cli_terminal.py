"""`aima` on a terminal: progress, tables, colours, questions, conversations."""
import stat
import unicodedata

import pytest

from support.cluster import Cluster, bin_dir
from support.pulling import files_of, sets_for, slow, through
from support.registries import Hub, Line, gguf
from support.terminal import Terminal

AIMA = bin_dir() / "aima"


def columns_of(line):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@pytest.fixture(scope="module")
def hub():
    with Hub() as running:
        yield running


@pytest.fixture(scope="module")
def pulling(hub):
    with Cluster(sets_for(hub)) as running:
        yield running


def test_a_pull_shows_bars_and_goes_on_when_it_is_left(pulling, hub):
    weights = gguf(24, seed="bars")
    hub.publish("acme/Bars-GGUF", {"bars-q4_0.gguf": weights})
    with Line(hub.cdn_port, slow) as line, through(hub, line):
        with Terminal([AIMA, "pull", "hf:acme/Bars-GGUF"], pulling.environment(), columns=70) as terminal:
            terminal.wait_for("=>")
            terminal.wait_for("MB/s")
            terminal.type("\x03")
            assert terminal.finish() == 130
        assert "aima pull hf:acme/Bars-GGUF" in terminal.plain() and "aima cancel bars" in terminal.plain()
        for shown in terminal.plain().replace("^C", "").replace("\r", "\n").splitlines():
            assert columns_of(shown) <= 70 or "aima" in shown, shown
    pulling.wait(lambda: pulling.execute("model.get", {"model_id": "bars"})["status"] == "ready", what="the end of the pull")
    assert files_of(pulling, "bars")["bars-q4_0.gguf"].read_bytes() == weights


def test_a_table_fits_the_terminal_and_a_pipe_gets_all_of_it(cluster):
    name = "模型" * 30 + " with a very long name that no terminal holds on one line"
    model = cluster.execute("model.create", {"name": "wide-" + "x" * 90, "type": "llm", "source": name})["model_id"]
    for width in (40, 60, 100):
        with Terminal([AIMA, "exec", "model.list"], cluster.environment(), columns=width) as terminal:
            assert terminal.finish() == 0
        for line in terminal.plain().replace("\r", "").splitlines():
            assert columns_of(line) <= width, line
        # What names the row is whole unless it alone is wider than the terminal.
        assert (model in terminal.plain()) == (len(model) <= width)
        assert model in terminal.plain() or "…" in terminal.plain()
    assert model in cluster.cli("ls").stdout
    with Terminal([AIMA, "ls", "-o", "wide"], cluster.environment(), columns=60) as terminal:
        assert terminal.finish() == 0
    assert model in terminal.plain()
    cluster.execute("model.delete", {"model_id": model})


def test_colours_are_for_terminals_and_can_be_refused(cluster):
    def escapes(*arguments, term="xterm", **environment):
        with Terminal([AIMA, *arguments], cluster.environment(**environment), term=term) as terminal:
            terminal.finish()
        return "\x1b[" in terminal.screen

    assert escapes("status")
    assert not escapes("status", "--no-color")
    assert not escapes("status", NO_COLOR="1")
    assert not escapes("status", term="dumb")
    assert "\x1b" not in cluster.cli("status").stdout


def test_rm_asks_before_it_deletes_what_is_pinned(cluster):
    model = cluster.execute("model.create", {"name": "asked", "type": "llm"})["model_id"]
    cluster.execute("model.pin", {"model_id": model})
    with Terminal([AIMA, "rm", model], cluster.environment()) as terminal:
        terminal.wait_for("it is pinned? [y/N]")
        terminal.type("n\n")
        assert terminal.finish() == 1
    assert "Left as it is." in terminal.plain()
    assert cluster.execute("model.get", {"model_id": model})
    with Terminal([AIMA, "rm", model], cluster.environment()) as terminal:
        terminal.wait_for("[y/N]")
        terminal.type("y\n")
        assert terminal.finish() == 0
    assert cluster.cli("show", model, check=False).returncode == 3


def test_a_conversation_has_commands_a_history_and_answers_that_can_be_ended(cluster, chat_model):
    history = cluster.data_dir / "chat_history"
    history.unlink(missing_ok=True)
    with Terminal([AIMA, "run", chat_model, "--temperature", "0", "--max-tokens", "600"], cluster.environment()) as terminal:
        at = terminal.wait_for(">>> ", 120)
        terminal.type("/help\n")
        at = terminal.wait_for("/system TEXT", after=at)
        at = terminal.wait_for(">>> ", after=at)
        terminal.type("/set max_tokens 40\n")
        at = terminal.wait_for(">>> ", after=at)
        terminal.type("What is the capital of France? One sentence.\n")
        at = terminal.wait_for("Paris", after=at)
        at = terminal.wait_for(">>> ", after=at)
        terminal.type("/nonsense\n")
        at = terminal.wait_for("There is no /nonsense", after=at)
        at = terminal.wait_for(">>> ", after=at)
        terminal.type("/set max_tokens 600\n")
        at = terminal.wait_for(">>> ", after=at)
        terminal.type("Tell a very long story about the sea.\n")
        # Some of the answer is there when it is ended.
        begun = len(terminal.screen) + 60
        while len(terminal.screen) < begun:
            assert terminal.read(1)
        terminal.type("\x03")
        at = terminal.wait_for(">>> ", after=at)
        terminal.type("half a line\x03")
        at = terminal.wait_for("^C", after=at)
        at = terminal.wait_for(">>> ", after=at)
        terminal.type("\x1b[A")  # the line before
        at = terminal.wait_for("Tell a very long story", after=at)
        terminal.type("\x03")
        at = terminal.wait_for(">>> ", after=at)
        terminal.type("\x04")
        assert terminal.finish() == 0
    assert "capital" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_an_answer_that_is_ended_ends_the_work_of_the_engine(cluster, chat_model):
    def in_flight():
        models = cluster.execute("inference.models")["models"]
        return next(model["in_flight"] for model in models if model["id"] == chat_model)

    with Terminal([AIMA, "chat", chat_model, "Count from one to a thousand.", "--max-tokens", "3000"], cluster.environment()) as terminal:
        cluster.wait(lambda: in_flight() == 1, what="the request")
        terminal.type("\x03")
        assert terminal.finish() == 130
    cluster.wait(lambda: in_flight() == 0, what="the end of the work")
