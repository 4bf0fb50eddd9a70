"""The gRPC port: typed rpcs, AIMAService, reflection, health."""
import grpc
import pytest

from support.grpc_client import GrpcClient


@pytest.fixture(scope="module")
def client(cluster):
    with GrpcClient(cluster.grpc_port) as connected:
        yield connected


def test_reflection_resolves_everything_that_it_lists(client):
    services = client.services()
    assert {"aima.model.v1.ModelService", "aima.gateway.v1.AIMAService", "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection"} <= set(services)
    for name in services:
        assert client.service(name).methods, name


def test_reflection_lists_what_can_be_called_and_nothing_else(cluster, client):
    offered = {f"{name}.{method.name}" for name in client.services() if name.startswith("aima.")
               for method in client.service(name).methods}
    assert {unit["rpc"] for unit in cluster.units().values()} <= offered
    shut = [rpc for rpc in offered if client.call_raw(rpc, b"\xff\xff\xff", key=cluster.admin_key) == "UNIMPLEMENTED"]
    assert shut == []


def test_every_typed_rpc_can_be_called(cluster, client):
    for name, unit in cluster.units().items():
        code = client.call_raw(unit["rpc"], b"\xff\xff\xff", key=cluster.admin_key)
        assert code == "INVALID_ARGUMENT", (name, code)


def test_a_typed_query_answers(client):
    assert client.call("aima.device.v1.DeviceService.Info").memory.total > 2**28


def test_a_failure_keeps_its_code_text_and_details(client):
    with pytest.raises(grpc.RpcError) as failed:
        client.call("aima.model.v1.ModelService.Get", model_id="nope")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert "nope" in failed.value.details()
    details = dict(failed.value.trailing_metadata())["grpc-status-details-bin"]
    assert b"MODEL_NOT_FOUND" in details


def test_a_deadline_holds(client):
    with pytest.raises(grpc.RpcError) as failed:
        for _ in client.stream("aima.event.v1.EventService.Subscribe", timeout=1):
            pass
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_typed_stream_arrives(cluster, client):
    cluster.execute("resource.release", {"slot_id": cluster.execute(
        "resource.allocate", {"name": "x", "type": "system_service", "memory_bytes": 4096})["slot_id"]})
    cluster.wait(lambda: cluster.execute("event.query", {"domain": "resource"})["items"], what="an event")
    events = [event for batch in client.stream("aima.event.v1.EventService.Replay", domain="resource") for event in batch.events]
    assert [event.sequence for event in events] == sorted(event.sequence for event in events)
    assert events


def test_internal_rpcs_are_not_there(client):
    assert client.call_raw("aima.event.v1.EventService.Publish", b"") == "UNIMPLEMENTED"


def test_aima_service_runs_units_by_name(client):
    answer = client.call("aima.gateway.v1.AIMAService.Execute", unit="device.info", type="query")
    assert answer.success
    assert answer.data["memory"]["total"] > 2**28
    failed = client.call("aima.gateway.v1.AIMAService.Execute", unit="model.get", input={"model_id": "nope"})
    assert not failed.success
    assert failed.error.code == "MODEL_NOT_FOUND"
    health = client.call("aima.gateway.v1.AIMAService.HealthCheck")
    assert health.status == "healthy"


def test_aima_service_watches_resources(client):
    updates = client.stream("aima.gateway.v1.AIMAService.WatchResource", uri="asms://resource/budget")
    assert next(updates).data["pools"]
    updates.cancel()


def test_health_is_told(client):
    assert client.call("grpc.health.v1.Health.Check").status == 1
    assert client.call("grpc.health.v1.Health.Check", service="aima.model.v1.ModelService").status == 1
    with pytest.raises(grpc.RpcError) as failed:
        client.call("grpc.health.v1.Health.Check", service="no.such.Service")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
