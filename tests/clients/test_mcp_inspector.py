"""MCP's Inspector finds nothing wrong with the tools, in both eras, over HTTP and over standard input and output."""
import json
import subprocess

import pytest

from support.cluster import bin_dir
from tools import node_environment, node_packages


@pytest.fixture(scope="session")
def folder():
    return node_packages("mcp-inspector")


@pytest.fixture(params=["legacy", "auto", "modern"])
def era(request):
    return request.param


@pytest.fixture(params=["http", "stdio"])
def inspect(request, folder, era, cluster):
    """Runs one method and returns the JSON that the Inspector prints."""
    def start(*arguments):
        command = [folder / "node_modules/.bin/mcp-inspector", "--cli"]
        if request.param == "http":
            command += [f"http://127.0.0.1:{cluster.http_port}/mcp", "--transport", "http"]
        command += ["--protocol-era", era, *arguments, "--format", "json", "-q"]
        if request.param == "stdio":
            command += ["--", bin_dir() / "aima", "mcp", "serve", "--server", f"127.0.0.1:{cluster.http_port}"]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                              env={**cluster.environment(), **node_environment(folder), "MCP_INSPECTOR_SECRET_STORE": "memory"})
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return json.loads(done.stdout), done.stderr

    return start


def test_it_finds_no_fault_with_the_tools(inspect):
    printed, errors = inspect("--method", "tools/list", "--strict")
    tools = printed.get("result", printed)["tools"]
    assert 20 <= len(tools) <= 40
    assert "Issue:" not in errors, errors


def test_it_calls_a_tool(inspect):
    printed, _ = inspect("--method", "tools/call", "--tool-name", "model_list", "--tool-args-json", '{"limit": 5}')
    result = printed.get("result", printed)
    assert not result.get("isError")
    assert "items" in result["structuredContent"]
