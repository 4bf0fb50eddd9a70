"""Where the clients that are no part of AIMA are kept: build/tools, made on the first run and kept for the next."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from support.cluster import ROOT

TOOLS = ROOT / "build" / "tools"
LOCKS = pathlib.Path(__file__).resolve().parent / "locks"


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


def digest(*files):
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def python_packages(name):
    """A Python that has the packages of locks/NAME.txt, and nothing of this repository."""
    lock = LOCKS / f"{name}.txt"

    def make(folder):
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", lock)

    return make_once(f"{name}-{digest(lock)}", make) / "bin" / "python"


def node():
    """The folder of node's programs, which all npm packages share."""
    return python_packages("node").parent


def node_packages(name):
    """A folder with the npm packages of locks/NAME; their programs are in its node_modules/.bin."""
    files = [LOCKS / name / file for file in ("package.json", "package-lock.json")]

    def make(folder):
        for file in files:
            shutil.copy(file, folder)
        run(node() / "npm", "ci", "--prefix", folder, "--no-audit", "--no-fund", env=node_environment(folder))

    return make_once(f"{name}-{digest(*files)}", make)


def node_environment(folder, **more):
    """The environment of a program of such a folder: node is found first."""
    return {**os.environ, "PATH": f"{node()}:{folder}/node_modules/.bin:{os.environ['PATH']}", **more}


def go_tool(package):
    """The program of a Go package such as example.org/cmd/thing@v1.2.3, built from its source once."""
    if not shutil.which("go"):
        pytest.skip(f"{package} cannot be built: the package golang-go is not installed")
    name, version = package.rsplit("/", 1)[1].split("@")

    def make(folder):
        run("go", "install", package, env={**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local"}, timeout=600)

    return make_once(f"{name}-{version}", make) / name
