"""What must hold for every unit, generated from what the cluster tells about itself."""
import pytest

COMMON = {"INVALID_INPUT", "UNAVAILABLE", "DEADLINE_EXCEEDED", "OVERLOADED", "CANCELLED"}
# Streams that end only when their reader leaves, or units that work for long: their examples are run elsewhere.
LONG = {"event.subscribe", "engine.install", "engine.start", "engine.restart"}


def test_each_example_runs_or_fails_as_declared(cluster, chat_model):
    wrong = []
    for name, unit in cluster.units().items():
        if name in LONG or unit["streaming_only"]:
            continue
        for example in unit["examples"]:
            answer = cluster.http("POST", "/api/v2/execute", {"unit": name, "input": example["input"]},
                                  key=cluster.admin_key, timeout=120).json()
            if not answer["success"] and answer["error"]["code"] not in unit["errors"]:
                wrong.append((name, example["title"], answer["error"]["code"], answer["error"]["message"]))
    assert wrong == []


def test_each_required_field_is_asked_for_by_its_name(cluster):
    wrong = []
    for name, unit in cluster.units().items():
        if unit["streaming_only"] or not unit["examples"]:
            continue
        for field in unit["input_schema"].get("required", []):
            value = {key: item for key, item in unit["examples"][0]["input"].items() if key != field}
            answer = cluster.http("POST", "/api/v2/execute", {"unit": name, "input": value}, key=cluster.admin_key)
            error = answer.json().get("error") or {}
            fields = [entry["field"] for entry in error.get("details", {}).get("fields", [])]
            if answer.status != 400 or field not in fields:
                wrong.append((name, field, answer.status, error))
    assert wrong == []


def test_every_resource_address_can_be_read(cluster, chat_model):
    operation = cluster.execute("operation.start", {"unit": "device.info"})["id"]
    values = {"device_id": "cpu", "model_id": chat_model, "name": "llamacpp", "operation_id": operation}
    resources = cluster.http("GET", "/api/v2/units").json()["data"]["resources"]
    assert resources
    for resource in resources:
        uri = resource["uri"]
        for key, value in values.items():
            uri = uri.replace("{" + key + "}", value)
        assert "{" not in uri, uri
        assert cluster.resource(uri) is not None, uri


@pytest.mark.parametrize("path", ["/api/v2/units", "/api/v2/health", "/metrics"])
def test_system_endpoints_answer(cluster, path):
    assert cluster.http("GET", path).status == 200
