"""grpcurl, which knows nothing of AIMA, lists, describes and calls every service through reflection."""
import json
import os
import subprocess

import pytest

from tools import go_tool

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.1"

# One call of each service: the rpc, what is sent, and what the answer has.
CALLS = {
    "aima.device.v1.DeviceService": ("Info", {}, "memory"),
    "aima.engine.v1.EngineService": ("List", {}, "items"),
    "aima.event.v1.EventService": ("Query", {"limit": 1}, "latest"),
    "aima.gateway.v1.AIMAService": ("Execute", {"unit": "resource.budget"}, "success"),
    "aima.gateway.v1.OperationService": ("Start", {"unit": "resource.budget"}, "id"),
    "aima.inference.v1.InferenceService": ("Models", {}, "models"),
    "aima.model.v1.ModelService": ("List", {"type": "MODEL_TYPE_LLM", "limit": 1}, "items"),
    "aima.resource.v1.ResourceService": ("CanAllocate", {"memory_bytes": 4096}, "canAllocate"),
    "grpc.health.v1.Health": ("Check", {"service": "aima.model.v1.ModelService"}, "status"),
    "grpc.reflection.v1.ServerReflection": ("ServerReflectionInfo", {"list_services": ""}, "listServicesResponse"),
}


@pytest.fixture(scope="session")
def program():
    return go_tool(GRPCURL)


@pytest.fixture(scope="module")
def grpcurl(program, cluster, chat_model):
    """Runs grpcurl with flags before the address and what is asked after it."""
    def start(*asked, flags=()):
        command = [program, "-plaintext", "-max-time", "60", *flags, f"localhost:{cluster.grpc_port}", *asked]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=90)

    return start


def good(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_lists_every_service(grpcurl):
    assert set(good(grpcurl("list")).split()) == set(CALLS)


def test_it_describes_every_service_and_every_message(grpcurl, cluster):
    described = set()
    for service in CALLS:
        text = good(grpcurl("describe", service))
        assert f"{service} is a service:" in text
        methods = good(grpcurl("list", service)).split()
        assert methods
        for method in methods:
            assert f"rpc {method.rsplit('.', 1)[1]} (" in text.replace("  ", " "), (method, text)
        described.update(methods)
    # Every unit is among them, with the messages that it takes and gives.
    for name, unit in cluster.units().items():
        assert unit["rpc"] in described, name
    message = good(grpcurl("describe", "aima.inference.v1.ChatRequest"))
    assert "repeated .aima.inference.v1.Message messages = 2" in message
    assert "max_len:200" in message.replace(" ", ""), "the rules are not told"


@pytest.mark.parametrize("service", CALLS)
def test_it_calls(grpcurl, service):
    method, sent, field = CALLS[service]
    answer = json.loads(good(grpcurl(f"{service}/{method}", flags=["-d", json.dumps(sent)])))
    assert field in answer, answer


def test_it_streams(grpcurl, chat_model):
    asked = {"model": chat_model, "message": "Say hello.", "max_tokens": 8}
    text = good(grpcurl("aima.inference.v1.InferenceService/ChatStream", flags=["-d", json.dumps(asked)]))
    decoder, chunks = json.JSONDecoder(), []
    while text.strip():
        chunk, end = decoder.raw_decode(text.strip())
        chunks.append(chunk)
        text = text.strip()[end:]
    assert len(chunks) > 1
    assert "usage" in chunks[-1]


def test_it_shows_why_a_call_failed(grpcurl):
    done = grpcurl("aima.model.v1.ModelService/Get", flags=["-d", '{"model_id": "nope"}'])
    assert done.returncode == 64 + 5
    assert "Code: NotFound" in done.stderr and "nope" in done.stderr
    assert "`model.list` shows all models." in done.stderr, done.stderr


def test_it_shows_the_reason_of_a_failure(grpcurl):
    done = grpcurl("aima.model.v1.ModelService/Get", flags=["-d", '{"model_id": "nope"}'])
    assert "google.rpc.ErrorInfo" in done.stderr and "MODEL_NOT_FOUND" in done.stderr, done.stderr


def test_it_names_wrong_fields(grpcurl):
    done = grpcurl("aima.resource.v1.ResourceService/Allocate", flags=["-d", '{"name": "x", "memory_bytes": -1}'])
    assert "google.rpc.BadRequest" in done.stderr and '"field":"memory_bytes"' in done.stderr.replace(" ", ""), done.stderr


def test_it_sends_a_key(grpcurl, cluster):
    asked = ["-d", '{"device_id": "no-such-device", "limit_watts": 100}']
    rpc = "aima.device.v1.DeviceService/SetPowerLimit"
    assert grpcurl(rpc, flags=asked).returncode == 64 + 16
    assert grpcurl(rpc, flags=[*asked, "-H", f"authorization: Bearer {cluster.new_key('operate')}"]).returncode == 64 + 7
    assert grpcurl(rpc, flags=[*asked, "-H", f"authorization: Bearer {cluster.admin_key}"]).returncode == 64 + 5
