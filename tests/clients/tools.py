"""Where the clients that are no part of AIMA are kept: build/tools, made on the first run and kept for the next."""
import shutil
import subprocess

from support.cluster import ROOT

TOOLS = ROOT / "build" / "tools"


def make_once(name, make):
    """The folder TOOLS/name, made by make(folder) if it is not there whole."""
    folder = TOOLS / name
    done = folder / ".done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        done.touch()
    return folder


def run(*command, timeout=300, **more):
    """Runs a command and returns what it printed; a failure shows everything that it printed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=timeout, **more)
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
