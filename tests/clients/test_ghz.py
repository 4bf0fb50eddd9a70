"""ghz, the load generator of gRPC, gets an answer to every call that it makes."""
import json

import pytest

from tools import go_tool, run

GHZ = "github.com/bojand/ghz/cmd/ghz@v0.117.0"


@pytest.fixture(scope="module")
def ghz(cluster):
    """Makes calls and returns ghz's report; it learns the messages by reflection."""
    program = go_tool(GHZ)

    def load(rpc, data, *flags):
        return json.loads(run(program, "--insecure", "--call", rpc, "-d", json.dumps(data), "-O", "json", *flags,
                              "-m", json.dumps({"authorization": f"Bearer {cluster.admin_key}"}),
                              f"localhost:{cluster.grpc_port}"))

    return load


@pytest.mark.parametrize("rpc,data", [("aima.model.v1.ModelService/List", {"limit": 10}),
                                      ("aima.gateway.v1.AIMAService/Execute", {"unit": "resource.budget"})])
def test_unary_calls_are_all_answered(ghz, rpc, data):
    report = ghz(rpc, data, "-n", "5000", "-c", "64", "--connections", "8")
    assert report["statusCodeDistribution"] == {"OK": 5000}, report["errorDistribution"]


def test_streams_are_all_answered_to_their_end(ghz, cluster, chat_model):
    report = ghz("aima.inference.v1.InferenceService/ChatStream",
                 {"model": chat_model, "message": "Hello", "max_tokens": 2, "temperature": 0}, "-n", "40", "-c", "8")
    assert report["statusCodeDistribution"] == {"OK": 40}, report["errorDistribution"]


def test_calls_beyond_the_connections_streams_wait_their_turn(ghz):
    report = ghz("aima.device.v1.DeviceService/Info", {}, "-n", "3000", "-c", "600", "--connections", "1")
    assert report["statusCodeDistribution"] == {"OK": 3000}, report["errorDistribution"]
