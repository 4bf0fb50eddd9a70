"""Asynchronous calls: they outlive their caller, the gateway and the service that does the work."""
import concurrent.futures
import http.client
import json
import os
import signal
import threading
import time

import pytest

from support.cluster import Failed, is_alive, models_dir, supervisor_asleep
from support.grpc_client import GrpcClient

ENDED = ("succeeded", "failed", "cancelled", "unknown")


def begin(cluster, unit, value=None, key=None, **options):
    answer = cluster.http("POST", "/api/v2/execute", {"unit": unit, "input": value or {}, "options": {"async": True, **options}}, key=key)
    assert answer.status == 202, answer.body
    operation = answer.json()["data"]
    assert answer.headers["location"] == f"/api/v2/operations/{operation['id']}"
    return operation


def state(cluster, operation, key=None):
    answer = cluster.http("GET", f"/api/v2/operations/{operation['id']}", key=key)
    if answer.status != 200:
        raise Failed(answer.status, answer.json()["error"])
    return answer.json()["data"]


def ended(cluster, operation, seconds=60):
    def look():
        now = state(cluster, operation)
        return now if now["status"] in ENDED else None
    return cluster.wait(look, seconds, "the operation's end")


def large_model(cluster, megabytes):
    """Imports a model that takes a while to verify: a real one with padding, which its hash has to cover."""
    path = cluster.data_dir / "large.gguf"
    with open(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf", "rb") as source, open(path, "wb") as target:
        target.write(source.read())
        target.truncate(target.tell() + megabytes * 1_000_000)
    return cluster.execute("model.import", {"path": str(path), "name": "large"}, options={"timeout": "5m"}, timeout=300)["model_id"]


def verified(cluster, model):
    page = cluster.execute("event.query", {"type": "model.verified", "limit": 1000})
    return [event for event in page["items"] if event["payload"]["model_id"] == model]


def came_back(cluster, name, old):
    cluster.wait(lambda: cluster.processes()[name] not in (None, old), what=f"the return of {name}")


def test_a_caller_waits_follows_and_lists(cluster):
    operation = begin(cluster, "device.detect")
    answer = cluster.http("GET", f"/api/v2/operations/{operation['id']}/wait?timeout=20s")
    assert answer.json()["data"]["status"] == "succeeded"
    assert answer.json()["data"]["result"]["devices"]
    followed = list(cluster.stream(f"/api/v2/operations/{operation['id']}/events", method="GET"))
    assert [event for event, _ in followed] == ["data", "done"]
    assert followed[0][1]["result"]["devices"]
    newer = begin(cluster, "device.info")
    listed = cluster.http("GET", "/api/v2/operations?limit=2").json()
    assert [item["id"] for item in listed["data"]["operations"]] == [newer["id"], operation["id"]]
    assert "result" not in listed["data"]["operations"][1]
    token = cluster.http("GET", "/api/v2/operations?limit=1").json()["meta"]["pagination"]["next_page_token"]
    older = cluster.execute("operation.list", {"limit": 1, "page_token": token})["operations"]
    assert [item["id"] for item in older] == [operation["id"]]
    assert cluster.resource(f"asms://operation/{operation['id']}")["status"] == "succeeded"


def test_the_same_key_is_the_same_operation(cluster):
    first = begin(cluster, "device.detect", idempotency_key="once")
    assert begin(cluster, "device.detect", idempotency_key="once")["id"] == first["id"]
    begin(cluster, "model.verify", {"model_id": "one"}, idempotency_key="other")
    with pytest.raises(Failed) as reused:
        cluster.execute("model.verify", {"model_id": "two"}, options={"idempotency_key": "other", "async": True})
    assert reused.value.code == "IDEMPOTENCY_KEY_REUSED"


def test_everybody_sees_their_own(cluster):
    alice, bob = cluster.new_key("operate"), cluster.new_key("operate")
    operation = begin(cluster, "device.detect", key=alice)
    assert state(cluster, operation, key=alice)["id"] == operation["id"]
    assert state(cluster, operation, key=cluster.admin_key)["id"] == operation["id"]
    for key in (bob, None):
        with pytest.raises(Failed) as refused:
            state(cluster, operation, key=key)
        assert refused.value.code == "OPERATION_NOT_FOUND"
    listed = cluster.http("GET", "/api/v2/operations", key=bob).json()["data"]["operations"]
    assert listed == []


def test_a_reader_starts_only_what_a_reader_may(cluster):
    reader = cluster.new_key("read")
    answer = cluster.http("POST", "/api/v2/execute", {"unit": "device.detect", "options": {"async": True}}, key=reader)
    assert answer.status == 403
    answer = cluster.http("POST", "/api/v2/execute", {"unit": "operation.start", "input": {"unit": "device.detect"}}, key=reader)
    assert answer.status == 403
    assert begin(cluster, "device.info", key=reader)["status"] == "running"


def test_over_grpc_and_the_command_line(cluster):
    with GrpcClient(cluster.grpc_port) as client:
        started = client.call("aima.gateway.v1.OperationService.Start", unit="device.detect")
        done = client.call("aima.gateway.v1.OperationService.Wait", operation_id=started.id, timeout=20000)
        assert done.status == 3
        assert done.result.type_url.endswith("aima.device.v1.DetectResponse")
        answer = client.call("aima.gateway.v1.AIMAService.Execute", unit="operation.get", input={"operation_id": started.id})
        assert answer.data["status"] == "succeeded"
        assert answer.data["result"]["devices"]
    printed = json.loads(cluster.cli("exec", "device.detect", "--async", "-o", "json").stdout)
    waited = json.loads(cluster.cli("exec", "operation.wait", "--operation-id", printed["id"], "-o", "json").stdout)
    assert waited["status"] == "succeeded"


def test_an_installation_tells_its_progress(own_cluster):
    cluster = own_cluster
    operation = begin(cluster, "engine.install", {"name": "llamacpp"}, timeout="10m")
    seen = [data for event, data in cluster.stream(f"/api/v2/operations/{operation['id']}/events?timeout=5m", method="GET", timeout=300)
            if event == "data"]
    assert seen[-1]["status"] == "succeeded"
    assert seen[-1]["result"]["path"]
    assert len({(data.get("progress") or {}).get("phase") for data in seen}) > 2


def test_a_killed_gateway_finishes_what_it_had_begun(own_cluster):
    cluster = own_cluster
    model = large_model(cluster, 1500)
    before = len(verified(cluster, model))
    operation = begin(cluster, "model.verify", {"model_id": model})
    assert state(cluster, operation)["status"] == "running"
    old = cluster.kill("gateway")
    came_back(cluster, "gateway", old)
    done = ended(cluster, operation)
    assert done["status"] == "succeeded"
    assert done["result"]["valid"] is True
    assert done["attempts"] == 2
    assert done["id"] == operation["id"]
    cluster.wait(lambda: len(verified(cluster, model)) > before, what="the event")
    assert len(verified(cluster, model)) == before + 1, "it was applied twice"


def begun(cluster, number):
    """Begins an allocation under a key of its own, repeating until it is accepted."""
    slot = {"name": f"load-{number}", "type": "system_service", "memory_bytes": 4096}
    end = time.monotonic() + 60
    while True:
        try:
            return begin(cluster, "resource.allocate", slot, key=cluster.admin_key, idempotency_key=f"load-{number}")["id"]
        except (AssertionError, OSError, http.client.HTTPException):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_many_commands_are_each_applied_once_however_often_the_gateway_dies(own_cluster):
    cluster = own_cluster
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(begun, cluster, number) for number in range(150)]
        for _ in range(3):
            old = cluster.kill("gateway")
            came_back(cluster, "gateway", old)
        accepted = {future.result() for future in running}
    assert len(accepted) == 150

    def all_ended():
        page = cluster.execute("operation.list", {"limit": 1000}, key=cluster.admin_key)["operations"]
        return page if len(page) == 150 and all(item["status"] in ENDED for item in page) else None

    page = cluster.wait(all_ended, 60, "the end of all")
    assert {item["status"] for item in page} == {"succeeded"}
    assert {item["id"] for item in page} == accepted
    slots = cluster.execute("resource.allocations", {"limit": 1000})["allocations"]
    assert len(slots) == 150, "a command was applied twice, or not at all"
    answers = {state(cluster, {"id": id}, key=cluster.admin_key)["result"]["slot_id"] for id in accepted}
    assert answers == {slot["slot_id"] for slot in slots}


def test_a_killed_gateway_attaches_to_work_that_goes_on(own_cluster):
    cluster = own_cluster
    operation = begin(cluster, "engine.install", {"name": "llamacpp"})
    cluster.wait(lambda: "progress" in state(cluster, operation), what="progress")
    old = cluster.kill("gateway")
    came_back(cluster, "gateway", old)
    done = ended(cluster, operation, 300)
    assert done["status"] == "succeeded", done
    assert done["result"]["path"]
    model = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf")})["model_id"]
    operation = begin(cluster, "engine.start", {"model_id": model})
    old = cluster.kill("gateway")
    came_back(cluster, "gateway", old)
    done = ended(cluster, operation, 120)
    assert done["status"] == "succeeded", done
    instances = cluster.execute("engine.get", {"name": "llamacpp"})["instances"]
    assert [str(item["instance_id"]) for item in instances] == [done["result"]["instance_id"]], "it was started twice"


def test_a_killed_service_finishes_what_it_had_begun(own_cluster):
    cluster = own_cluster
    model = large_model(cluster, 1500)
    before = len(verified(cluster, model))
    operation = begin(cluster, "model.verify", {"model_id": model})
    old = cluster.processes()["model"]
    with supervisor_asleep(cluster):
        os.kill(old, signal.SIGKILL)
        cluster.wait(lambda: state(cluster, operation)["attempts"] > 1, what="another attempt while the service is away")
        assert state(cluster, operation)["status"] == "running"
    came_back(cluster, "model", old)
    done = ended(cluster, operation)
    assert done["status"] == "succeeded", done
    assert done["result"]["valid"] is True
    cluster.wait(lambda: len(verified(cluster, model)) > before, what="the event")
    assert len(verified(cluster, model)) == before + 1, "it was applied twice"


def test_what_is_not_known_is_not_called_a_failure(own_cluster):
    cluster = own_cluster
    pid = cluster.processes()["device"]
    os.kill(pid, signal.SIGSTOP)
    try:
        operation = begin(cluster, "device.detect", timeout="1s")
        done = ended(cluster, operation)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done["status"] == "unknown"
    assert done["error"]["code"] == "OUTCOME_UNKNOWN"


def test_a_cancelled_operation_ends_and_its_service_stops_working_on_it(own_cluster):
    cluster = own_cluster
    model = large_model(cluster, 1500)
    before = len(verified(cluster, model))
    operation = begin(cluster, "model.verify", {"model_id": model})
    waiting = []
    waiter = threading.Thread(target=lambda: waiting.append(
        cluster.http("GET", f"/api/v2/operations/{operation['id']}/wait?timeout=60s", timeout=90).json()["data"]))
    waiter.start()
    answer = cluster.http("POST", f"/api/v2/operations/{operation['id']}/cancel")
    assert answer.json()["data"]["status"] == "cancelled", answer.body
    waiter.join(60)
    assert waiting[0]["status"] == "cancelled"
    assert cluster.execute("model.verify", {"model_id": model}, options={"timeout": "5m"}, timeout=300)["valid"]
    cluster.wait(lambda: len(verified(cluster, model)) > before, what="the event")
    assert len(verified(cluster, model)) == before + 1, "the cancelled one went on"


def test_without_postgres_only_asynchronous_calls_have_to_wait(own_cluster):
    cluster = own_cluster
    operation = begin(cluster, "device.detect")
    assert ended(cluster, operation)["status"] == "succeeded"
    postgres, gateway = cluster.processes()["postgres"], cluster.processes()["gateway"]
    with supervisor_asleep(cluster):
        os.kill(postgres, signal.SIGQUIT)
        cluster.wait(lambda: not is_alive(postgres), what="PostgreSQL's end")
        answer = cluster.http("POST", "/api/v2/execute", {"unit": "device.info", "options": {"async": True}})
        assert (answer.status, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
        assert cluster.execute("device.info")["memory"]["total"]
        os.kill(gateway, signal.SIGKILL)
    came_back(cluster, "gateway", gateway)
    cluster.wait(lambda: state(cluster, operation)["status"] == "succeeded", what="the operation, after PostgreSQL's return")
