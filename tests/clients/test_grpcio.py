"""A Python program with stubs that protoc made from the .proto files, as any user of the public port would write it."""
import shutil
import sys
import time

import grpc
import pytest

from support.cluster import ROOT
from tools import run

PROTOS = ROOT / "proto"


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """Finds a generated module, such as stubs("model") for aima/model/v1/model_pb2 and its _grpc."""
    folder = tmp_path_factory.mktemp("stubs")
    plugin = shutil.which("grpc_python_plugin")
    assert plugin, "grpc_python_plugin is missing: deploy/install-packages installs it"
    run("protoc", f"-I{PROTOS}", f"--python_out={folder}", f"--grpc_python_out={folder}",
        f"--plugin=protoc-gen-grpc_python={plugin}", *sorted(PROTOS.glob("aima/*/v1/*.proto")), *sorted(PROTOS.glob("google/rpc/*.proto")))
    sys.path.append(str(folder))

    def find(domain, name=None):
        path = f"aima.{domain}.v1.{name or domain}_pb2"
        __import__(path)
        __import__(path + "_grpc")
        return sys.modules[path], sys.modules[path + "_grpc"]

    yield find
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def channel(cluster):
    with grpc.insecure_channel(f"localhost:{cluster.grpc_port}") as connected:
        yield connected


def bearer(key):
    return [("authorization", f"Bearer {key}")]


def status_of(error):
    """The google.rpc.Status of a failed call with its details by type."""
    from google.rpc import status_pb2  # there once the stubs are

    assert error.trailing_metadata(), error
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    return status, {detail.type_url: detail.value for detail in status.details}


def info_of(error):
    return detail_of(error, "ErrorInfo")


def detail_of(error, name):
    from google.rpc import error_details_pb2

    return getattr(error_details_pb2, name).FromString(status_of(error)[1][f"type.googleapis.com/google.rpc.{name}"])


def test_device_tells_the_machine(stubs, channel):
    device, service = stubs("device")
    answer = service.DeviceServiceStub(channel).Info(device.InfoRequest(), timeout=30)
    assert answer.memory.total > 2**28
    assert answer.type == device.DeviceType.DEVICE_TYPE_CPU or answer.devices


def test_model_lists_the_imported_model(stubs, channel, chat_model):
    model, service = stubs("model")
    listed = service.ModelServiceStub(channel).List(
        model.ListRequest(type=model.ModelType.MODEL_TYPE_LLM, limit=1000), timeout=30)
    found = {item.id: item for item in listed.items}[chat_model]
    assert found.format == model.ModelFormat.MODEL_FORMAT_GGUF
    assert found.status == model.ModelStatus.MODEL_STATUS_READY
    assert found.create_time.ToDatetime().year > 2000


def test_engine_lists_the_installed_engine(stubs, channel, chat_model):
    engine, service = stubs("engine")
    items = service.EngineServiceStub(channel).List(engine.ListRequest(), timeout=30).items
    assert "llamacpp" in [item.name for item in items]


def test_resource_gives_a_slot_once_for_one_idempotency_key(stubs, channel):
    resource, service = stubs("resource")
    stub = service.ResourceServiceStub(channel)
    before = stub.Budget(resource.BudgetRequest(), timeout=30)
    wanted = resource.AllocateRequest(name="grpcio", type=resource.SlotType.SLOT_TYPE_SYSTEM_SERVICE, memory_bytes=1 << 20,
                                      idempotency_key=f"grpcio-{time.time_ns()}")
    slot = stub.Allocate(wanted, timeout=30)
    assert stub.Allocate(wanted, timeout=30).slot_id == slot.slot_id
    try:
        assert stub.Budget(resource.BudgetRequest(), timeout=30).used - before.used == 1 << 20
    finally:
        assert stub.Release(resource.ReleaseRequest(slot_id=slot.slot_id, fence=slot.fence), timeout=30).success
    assert stub.Budget(resource.BudgetRequest(), timeout=30).used == before.used


def test_event_tells_typed_payloads(stubs, channel, cluster, chat_model):
    event, service = stubs("event")
    model, _ = stubs("model")
    stub = service.EventServiceStub(channel)
    told = cluster.wait(lambda: stub.Query(event.QueryRequest(type="model.created"), timeout=30).items, what="model.created")
    created = []
    for item in told:
        payload = model.ModelCreated()
        assert item.payload.Unpack(payload), item.payload.type_url
        created.append(payload.model.id)
    assert chat_model in created


def test_inference_answers(stubs, channel, chat_model):
    inference, service = stubs("inference")
    answer = service.InferenceServiceStub(channel).Chat(
        inference.ChatRequest(model=chat_model, message="Say hello.", max_tokens=8, temperature=0), timeout=120)
    assert answer.content.strip()
    assert 0 < answer.usage.completion_tokens <= 8


def test_inference_streams_what_it_answers(stubs, channel, chat_model):
    inference, service = stubs("inference")
    stub = service.InferenceServiceStub(channel)
    question = dict(model=chat_model, max_tokens=16, temperature=0,
                    messages=[inference.Message(role="user", content="What is the capital of France? One sentence.")])
    chunks = list(stub.ChatStream(inference.ChatRequest(**question), timeout=120))
    assert len(chunks) > 3
    assert chunks[-1].usage.completion_tokens > 0
    assert "".join(chunk.content for chunk in chunks) == stub.Chat(inference.ChatRequest(**question), timeout=120).content


def test_gateway_tells_the_health_of_every_service(stubs, channel):
    gateway, service = stubs("gateway")
    answer = service.AIMAServiceStub(channel).HealthCheck(gateway.HealthRequest(), timeout=30)
    assert answer.status == "healthy"
    assert {"device", "model", "engine", "resource", "inference", "event"} <= set(answer.services)


def test_a_deadline_ends_the_call_on_both_sides(stubs, channel, cluster, chat_model):
    inference, service = stubs("inference")
    stub = service.InferenceServiceStub(channel)
    stub.Chat(inference.ChatRequest(model=chat_model, message="Hello", max_tokens=1), timeout=120)
    latest = cluster.execute("event.query", {"limit": 1})["latest"]
    endless = inference.ChatRequest(model=chat_model, message="Count to one thousand.", max_tokens=4000)
    endless.engine_options.update({"ignore_eos": True})  # the model may not decide to stop early
    with pytest.raises(grpc.RpcError) as failed:
        stub.Chat(endless, timeout=1)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def ended():
        told = cluster.execute("event.query", {"domain": "inference", "after": latest})["items"]
        return "inference.request_failed" in [event["type"] for event in told]

    cluster.wait(ended, seconds=10, what="the end of the request in the cluster")


def test_the_key_in_the_metadata_decides(stubs, channel, cluster):
    device, service = stubs("device")
    stub = service.DeviceServiceStub(channel)

    def code(metadata):
        with pytest.raises(grpc.RpcError) as failed:
            stub.SetPowerLimit(device.SetPowerLimitRequest(device_id="no-such-device", limit_watts=100), metadata=metadata, timeout=30)
        return failed.value.code(), info_of(failed.value).reason

    assert code(None) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert code(bearer("aima_nobody_" + "0" * 64)) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert code(bearer(cluster.new_key("operate"))) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert code(bearer(cluster.admin_key)) == (grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND")
    assert stub.Info(device.InfoRequest(), metadata=bearer(cluster.new_key("read")), timeout=30).memory.total


def test_an_error_carries_its_reason_as_google_rpc_error_info(stubs, channel):
    model, service = stubs("model")
    with pytest.raises(grpc.RpcError) as failed:
        service.ModelServiceStub(channel).Get(model.GetRequest(model_id="no-such-model"), timeout=30)
    status, _ = status_of(failed.value)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert status.message == failed.value.details()
    assert "no-such-model" in status.message
    info = info_of(failed.value)
    assert (info.reason, info.domain) == ("MODEL_NOT_FOUND", "aima")
    assert info.metadata["model_id"] == "no-such-model"


def test_wrong_fields_are_named_as_google_rpc_bad_request(stubs, channel):
    resource, service = stubs("resource")
    with pytest.raises(grpc.RpcError) as failed:
        service.ResourceServiceStub(channel).Allocate(resource.AllocateRequest(name="x", memory_bytes=-1), timeout=30)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert info_of(failed.value).reason == "INVALID_INPUT"
    wrong = detail_of(failed.value, "BadRequest")
    assert {violation.field for violation in wrong.field_violations} == {"type", "memory_bytes"}
