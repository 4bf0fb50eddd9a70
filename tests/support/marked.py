"""Processes that a cluster's engine service has started, by the marker in their environment."""
import pathlib


def marked_processes(cluster):
    """Pids of engines and their shims."""
    found = []
    home = f"AIMA_HOME={cluster.data_dir}".encode()
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if home in variables and any(one.startswith(b"AIMA_INSTANCE=") for one in variables):
            found.append(int(entry.name))
    return found
