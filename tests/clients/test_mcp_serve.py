"""`aima mcp serve` and `aima mcp tools` as programs: lines in, lines out, ports of their own, and what happens when the
gateway goes away."""
import json
import queue
import signal
import subprocess
import threading

import pytest

from support.cluster import bin_dir, free_port
from test_mcp_python import python  # noqa: F401

INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize",
              "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


class Serve:
    """`aima mcp serve` with its standard input and output."""

    def __init__(self, cluster, *flags):
        self.process = subprocess.Popen([bin_dir() / "aima", "mcp", "serve", *flags], env=cluster.environment(), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def send(self, message):
        self.process.stdin.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
        self.process.stdin.flush()

    def receive(self):
        return json.loads(self.lines.get(timeout=60))

    def ask(self, message):
        self.send(message)
        return self.receive()

    def end(self):
        """Closes standard input and returns how it ends."""
        self.process.stdin.close()
        return self.process.wait(timeout=60)


def test_lines_that_are_there_at_once_are_all_answered_before_it_ends(cluster):
    messages = [INITIALIZE, INITIALIZED, LIST, {"jsonrpc": "2.0", "id": "x", "method": "ping"}]
    done = subprocess.run([bin_dir() / "aima", "mcp", "serve"], env=cluster.environment(), capture_output=True, text=True,
                          timeout=60, input="".join(json.dumps(message) + "\n" for message in messages))
    assert done.returncode == 0, done.stderr
    answers = {answer["id"]: answer for answer in map(json.loads, done.stdout.splitlines())}
    assert set(answers) == {1, 2, "x"}
    assert answers[1]["result"]["serverInfo"]["name"] == "aima"
    assert answers[2]["result"]["tools"]
    assert answers["x"]["result"] == {}


def test_what_is_no_message_gets_an_error_and_the_next_one_an_answer(cluster):
    with Serve(cluster) as serve:
        assert serve.ask("{")["error"]["code"] == -32700
        assert serve.ask("[1]")["error"]["code"] == -32600
        assert serve.ask({"jsonrpc": "2.0", "id": 3, "method": "no/such"})["error"]["code"] == -32601
        assert serve.ask({"jsonrpc": "2.0", "id": 4, "method": "ping"})["result"] == {}
        assert serve.end() == 0


def test_a_gateway_that_is_not_there_is_an_error_of_each_call(cluster):
    with Serve(cluster, "--server", f"127.0.0.1:{free_port()}") as serve:
        error = serve.ask(LIST)["error"]
        assert "cannot reach" in error["message"]
        assert serve.end() == 0


def test_toolsets_are_chosen_by_flags(cluster):
    with Serve(cluster, "--toolsets", "model,-model.delete", "--read-only") as serve:
        names = [tool["name"] for tool in serve.ask(LIST)["result"]["tools"]]
        assert "model_list" in names and all(name.startswith("model_") for name in names)
        assert "model_import" not in names and "model_delete" not in names


def test_it_goes_on_after_the_gateway_was_restarted(own_cluster):
    with Serve(own_cluster) as serve:
        assert serve.ask(INITIALIZE)["result"]
        serve.send(INITIALIZED)
        assert serve.ask(LIST)["result"]["tools"]
        before = own_cluster.kill("gateway", signal.SIGKILL)
        own_cluster.wait(lambda: own_cluster.processes()["gateway"] != before and
                         own_cluster.http("GET", "/health").status == 200, what="a new gateway")
        assert serve.ask({**LIST, "id": 9})["result"]["tools"], "the session is opened anew behind the client's back"


def test_subscriptions_outlive_the_gateway(own_cluster):
    with Serve(own_cluster) as serve:
        assert serve.ask(INITIALIZE)["result"]
        serve.send(INITIALIZED)
        uri = "asms://models/registry"
        assert serve.ask({"jsonrpc": "2.0", "id": 3, "method": "resources/subscribe", "params": {"uri": uri}})["result"] == {}
        before = own_cluster.kill("gateway", signal.SIGKILL)
        updated = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}
        assert serve.receive() == updated, "it may have changed while nobody looked"
        assert own_cluster.processes()["gateway"] != before
        own_cluster.execute("model.create", {"name": "after", "type": "llm"})
        assert serve.receive() == updated


def test_tools_are_listed_for_people_and_for_programs(cluster):
    table = cluster.cli("mcp", "tools").stdout
    assert "model_list" in table and "nothing" in table
    tools = json.loads(cluster.cli("mcp", "tools", "--toolsets", "engine.stop", "-o", "json").stdout)["tools"]
    assert [tool["name"] for tool in tools] == ["engine_stop"]
    assert tools[0]["annotations"]["destructiveHint"] is True
    wrong = cluster.cli("mcp", "tools", "--toolsets", "nonsense", check=False)
    assert wrong.returncode != 0 and "nonsense" in wrong.stderr


@pytest.fixture
def port(cluster):
    """A port on which `--transport sse` listens."""
    port = free_port()
    process = subprocess.Popen([bin_dir() / "aima", "mcp", "serve", "--transport", "sse", "--port", str(port)],
                               env=cluster.environment(), stderr=subprocess.PIPE, text=True)
    assert "deprecated" in process.stderr.readline()
    assert f":{port}/sse" in process.stderr.readline()
    yield port
    process.terminate()
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("path", ["sse", "mcp"])
def test_the_old_transport_serves_the_official_client(python, port, path):  # noqa: F811
    program = f"""
import asyncio, json
from mcp import ClientSession
from mcp.client.{'sse' if path == 'sse' else 'streamable_http'} import {'sse_client' if path == 'sse' else 'streamable_http_client'} as connect
async def main():
    async with connect("http://127.0.0.1:{port}/{path}") as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        result = await session.call_tool("resource_status", {{}})
        print(json.dumps([not result.is_error, len((await session.list_tools()).tools)]))
asyncio.run(main())
"""
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    good, tools = json.loads(done.stdout)
    assert good and tools >= 20


def test_pages_and_other_names_are_kept_from_the_port(port):
    import http.client
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        for method, path in (("POST", "/mcp"), ("GET", "/sse")):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request(method, path, "{}" if method == "POST" else None, headers)
            assert connection.getresponse().status == 403, (headers, path)
            connection.close()
