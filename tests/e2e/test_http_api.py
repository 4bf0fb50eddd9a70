"""The HTTP API as web tools use it: envelope, errors, resources, watch, events."""
import json
import threading

import pytest

from support.cluster import Failed


def test_health_names_every_service(cluster):
    answer = cluster.http("GET", "/api/v2/health")
    assert answer.status == 200
    services = answer.json()["data"]["services"]
    assert set(services) >= {"device", "engine", "event", "inference", "model", "resource"}
    assert set(services.values()) == {"serving"}


def test_a_query_answers_in_the_envelope(cluster):
    answer = cluster.http("POST", "/api/v2/execute", {"type": "query", "unit": "device.info", "input": {},
                                                      "options": {"trace_id": "trace-42"}})
    assert answer.status == 200
    envelope = answer.json()
    assert envelope["success"] is True
    assert envelope["data"]["memory"]["total"] > 2**28
    assert envelope["meta"]["trace_id"] == "trace-42"
    assert envelope["meta"]["request_id"].startswith("req_")
    assert isinstance(envelope["meta"]["duration_ms"], int)


def test_lists_tell_their_pagination(cluster, chat_model):
    envelope = cluster.http("GET", "/api/v2/query/model.list?limit=1").json()
    assert envelope["meta"]["pagination"]["limit"] == 1
    assert envelope["meta"]["pagination"]["total"] >= 1
    assert len(envelope["data"]["items"]) == 1


def test_a_query_can_be_got_with_its_input_in_the_address(cluster):
    assert cluster.http("GET", "/api/v2/query/event.query?limit=3&domain=device").json()["success"]


def test_units_come_with_schemas_and_examples(cluster):
    units = cluster.units()
    assert {"device.info", "model.import", "engine.start", "inference.chat", "resource.allocate", "event.subscribe"} <= set(units)
    chat = units["inference.chat"]
    assert chat["input_schema"]["required"] == ["model", "messages"] or "model" in chat["input_schema"]["required"]
    assert chat["streaming"] is True
    one = cluster.http("GET", "/api/v2/units/model.get").json()["data"]
    assert one["name"] == "model.get"
    assert "event.publish" not in units, "an internal unit is offered outside"


def test_a_resource_is_the_answer_of_its_query(cluster):
    assert cluster.resource("asms://device/cpu/info")["id"] == "cpu"
    plain = cluster.http("GET", "/api/v2/resource/device/cpu/info").json()["data"]
    assert plain["id"] == "cpu"
    assert cluster.execute("asms://resource/budget", type="resource")["pools"]


def test_a_watched_resource_tells_its_changes(cluster):
    updates = cluster.stream("/api/v2/resource/resource/allocations/watch", method="GET", timeout=30)
    event, first = next(updates)
    assert event == "update"
    slot = cluster.execute("resource.allocate", {"name": "watched", "type": "system_service", "memory_bytes": 1 << 20})
    try:
        for event, value in updates:
            if any(item["slot_id"] == slot["slot_id"] for item in value["allocations"]):
                break
    finally:
        cluster.execute("resource.release", {"slot_id": slot["slot_id"]})


def test_events_are_streamed_as_they_happen_and_kept(cluster):
    seen, ready = [], threading.Event()

    def follow():
        request = {"unit": "event.subscribe", "input": {"types": ["resource.allocated"], "after": latest}}
        ready.set()
        for event, batch in cluster.stream("/api/v2/stream", request, timeout=30):
            seen.extend(batch.get("events", []))
            if seen:
                return

    latest = cluster.execute("event.query", {"limit": 1})["latest"]
    follower = threading.Thread(target=follow)
    follower.start()
    ready.wait()
    slot = cluster.execute("resource.allocate", {"name": "told", "type": "system_service", "memory_bytes": 4096})
    follower.join(30)
    cluster.execute("resource.release", {"slot_id": slot["slot_id"]})
    assert seen and seen[0]["payload"]["slot_id"] == slot["slot_id"]
    past = cluster.execute("event.query", {"type": "resource.allocated", "after": latest})
    assert past["items"][0]["id"] == seen[0]["id"]


def test_an_asynchronous_call_is_answered_later(cluster):
    answer = cluster.http("POST", "/api/v2/execute", {"unit": "device.detect", "options": {"async": True}})
    assert answer.status == 202
    operation = answer.headers["location"]

    def done():
        state = cluster.http("GET", operation).json()["data"]
        return state if state["status"] != "running" else None

    state = cluster.wait(done, what="the operation's end")
    assert state["status"] == "succeeded"
    assert state["result"]["devices"]


def test_metrics_count_calls_by_unit(cluster):
    cluster.execute("device.info")
    text = cluster.http("GET", "/metrics").body.decode()
    assert 'aima_calls_total{process="device",code="OK",unit="device.info"}' in text


BAD = [
    ("unknown unit", "POST", "/api/v2/execute", {"unit": "model.lst"}, 404, "UNIT_NOT_FOUND", "model.list"),
    ("internal unit", "POST", "/api/v2/execute", {"unit": "event.publish", "input": {}}, 404, "UNIT_NOT_FOUND", ""),
    ("no unit", "POST", "/api/v2/execute", {}, 400, "INVALID_INPUT", "unit"),
    ("unknown field of the request", "POST", "/api/v2/execute", {"unit": "model.list", "inputs": {}}, 400, "INVALID_INPUT", "inputs"),
    ("wrong kind", "POST", "/api/v2/command/model.list", {}, 400, "INVALID_INPUT", "query"),
    ("missing field", "POST", "/api/v2/query/model.get", {}, 400, "INVALID_INPUT", "model_id"),
    ("unknown field", "POST", "/api/v2/query/model.get", {"model": "x"}, 400, "INVALID_INPUT", "model_id"),
    ("wrong type", "POST", "/api/v2/query/model.list", {"limit": "many"}, 400, "INVALID_INPUT", "limit"),
    ("out of range", "POST", "/api/v2/query/model.list", {"limit": -1}, 400, "INVALID_INPUT", "limit"),
    ("number too large", "POST", "/api/v2/query/resource.can_allocate", {"memory_bytes": 2**63}, 400, "INVALID_INPUT", "memory_bytes"),
    ("wrong enum", "POST", "/api/v2/query/model.list", {"type": "banana"}, 400, "INVALID_INPUT", "type"),
    ("bad timeout", "POST", "/api/v2/execute", {"unit": "model.list", "options": {"timeout": "soon"}}, 400, "INVALID_INPUT", "timeout"),
    ("malformed JSON", "POST", "/api/v2/execute", '{"unit": ', 400, "INVALID_INPUT", "JSON"),
    ("deep JSON", "POST", "/api/v2/execute", '{"unit":"model.list","input":' + '{"a":' * 200 + "1" + "}" * 201, 400, "INVALID_INPUT", "deeper"),
    ("twice the same key", "POST", "/api/v2/execute", '{"unit":"model.list","unit":"model.get"}', 400, "INVALID_INPUT", "twice"),
    ("unknown resource", "GET", "/api/v2/resource/asms%3A%2F%2Fnothing%2Fhere", None, 404, "RESOURCE_NOT_FOUND", "nothing"),
    ("unknown path", "GET", "/api/v3/units", None, 404, "RESOURCE_NOT_FOUND", "/api/v3/units"),
    ("unknown thing", "POST", "/api/v2/query/model.get", {"model_id": "nope"}, 404, "MODEL_NOT_FOUND", "nope"),
]


@pytest.mark.parametrize("case", BAD, ids=[case[0] for case in BAD])
def test_bad_input_is_refused_with_its_reason(cluster, case):
    _, method, path, body, status, code, text = case
    answer = cluster.http(method, path, body, headers={"Content-Type": "application/json"} if body is not None else None)
    envelope = answer.json()
    assert (answer.status, envelope["error"]["code"]) == (status, code), envelope
    assert text in json.dumps(envelope["error"])
    assert envelope["error"]["details"]["remedy"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert (envelope["type"], envelope["status"]) == (f"/docs#error-{code}", status)
    assert envelope["title"] and envelope["detail"] == envelope["error"]["message"]


def test_a_body_of_100_mb_is_refused_before_it_is_read(cluster):
    import socket
    with socket.create_connection(("127.0.0.1", cluster.http_port), timeout=10) as raw:
        raw.sendall(b"POST /api/v2/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Content-Length: 104857600\r\n\r\n" + b" " * 1000)
        answer = raw.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413")
    assert "TOO_LARGE" in answer and "application/problem+json" in answer
    assert cluster.http("GET", "/api/v2/health").status == 200


def test_a_large_answer_is_compressed_for_those_who_want_it(cluster):
    import gzip
    packed = cluster.http("GET", "/api/v2/query/engine.list", headers={"Accept-Encoding": "gzip"})
    plain = cluster.http("GET", "/api/v2/query/engine.list")
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert json.loads(gzip.decompress(packed.body))["data"].keys() == plain.json()["data"].keys()
    assert len(packed.body) < len(plain.body) / 2


def test_what_has_not_changed_is_not_sent_again(cluster):
    first = cluster.http("GET", "/api/v2/query/engine.list")
    again = cluster.http("GET", "/api/v2/query/engine.list", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_a_web_page_cannot_drive_the_cluster(cluster):
    assert cluster.http("GET", "/api/v2/units", headers={"Origin": "http://evil.example"}).status == 403
    assert cluster.http("GET", "/api/v2/units", headers={"Host": "evil.example"}).status == 421
    form = cluster.http("POST", "/api/v2/execute", '{"unit":"device.detect"}', headers={"Content-Type": "text/plain"})
    assert form.status == 400


def test_a_repeated_command_is_applied_once(cluster):
    request = {"name": "once", "type": "system_service", "memory_bytes": 4096, "idempotency_key": "test-once-1"}
    first = cluster.execute("resource.allocate", request)
    assert cluster.execute("resource.allocate", request) == first
    with pytest.raises(Failed) as other:
        cluster.execute("resource.allocate", {**request, "memory_bytes": 8192})
    assert other.value.code == "IDEMPOTENCY_KEY_REUSED"
    listed = cluster.execute("resource.allocations", {"slot_id": first["slot_id"]})["allocations"]
    assert len(listed) == 1
    cluster.execute("resource.release", {"slot_id": first["slot_id"]})
