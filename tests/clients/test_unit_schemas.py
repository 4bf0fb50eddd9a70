"""The schemas of units tell the truth: a validator that knows nothing of AIMA finds what units accept right and what they refuse
wrong. (That answers fit their schemas is in test_openapi_client.py and test_mcp_python.py.)"""
import json
import subprocess

import pytest

from tools import python_packages

VALIDATE = """
import json, sys
from jsonschema import Draft202012Validator
wrong = []
for case in json.load(sys.stdin):
    Draft202012Validator.check_schema(case["schema"])
    errors = [error.message for error in Draft202012Validator(case["schema"]).iter_errors(case["value"])]
    if bool(errors) == case["fits"]:
        wrong.append((case["name"], case["value"], errors))
print(json.dumps(wrong))
"""


@pytest.fixture(scope="module")
def validate():
    """Names and values of those cases (name, schema, value, whether it fits) that a validator sees otherwise."""
    python = python_packages("openapi")

    def run(cases):
        assert cases
        told = json.dumps([dict(zip(("name", "schema", "value", "fits"), case)) for case in cases])
        done = subprocess.run([python, "-c", VALIDATE], input=told, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    return run


def schemas_in(schema):
    """A schema and those of its fields, however deep."""
    yield schema
    for inner in schema.get("properties", {}).values():
        yield from schemas_in(inner)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from schemas_in(schema[key])


def with_defaults(schema):
    return [part for part in schemas_in(schema) if "default" in part]


def test_every_example_fits_the_schema_of_its_unit(cluster, validate):
    assert validate([(name, unit["input_schema"], example["input"], True)
                     for name, unit in cluster.units().items() for example in unit["examples"]]) == []


def test_every_default_fits_its_schema(cluster, validate):
    cases = [(name, part, part["default"], True) for name, unit in cluster.units().items() for part in with_defaults(unit["input_schema"])]
    assert len(cases) > 5
    assert validate(cases) == []


def test_agents_and_openapi_are_shown_the_same(cluster, validate):
    """Tools and /openapi.json have schemas of their own making."""
    listed = cluster.http("POST", "/mcp/x/all", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, key=cluster.admin_key,
                          headers={"Accept": "application/json, text/event-stream"}).json()["result"]["tools"]
    tools = {tool["name"]: tool["inputSchema"] for tool in listed}
    units = cluster.units()
    cases = [(name, tools[name.replace(".", "_")], example["input"], True)
             for name, unit in units.items() for example in unit["examples"]]
    cases += [(name, part, part["default"], True) for name, schema in tools.items() for part in with_defaults(schema)]
    document = cluster.http("GET", "/openapi.json", key=cluster.admin_key).json()
    for name, part in document["components"]["schemas"].items():
        cases += [(name, inner, inner["default"], True) for inner in with_defaults(part)]
    assert validate(cases) == []


DURATIONS = [(1500, True), ("1500", True), ("30s", True), ("1.5 m", True), (-1, False), ("banana", False), ("30 seconds", False),
             (["30s"], False)]


@pytest.mark.parametrize("value, fits", DURATIONS, ids=lambda value: str(value))
def test_a_duration_is_what_the_server_takes_for_one(cluster, validate, value, fits):
    schema = cluster.units()["engine.stop"]["input_schema"]
    given = {"name": "there-is-no-such-instance", "timeout": value}
    assert validate([("engine.stop", schema, given, fits)]) == []
    answer = cluster.http("POST", "/api/v2/execute", {"unit": "engine.stop", "input": given}, key=cluster.admin_key).json()
    assert (answer["error"]["code"] == "ENGINE_NOT_FOUND") is fits, answer


@pytest.mark.parametrize("value, fits", [("one", True), (["one"], True), (["one", "two"], True), ([], False), (7, False)], ids=str)
def test_texts_to_embed_are_one_or_a_list(cluster, validate, value, fits):
    schema = cluster.units()["inference.embed"]["input_schema"]
    given = {"model": "there-is-no-such-model", "input": value}
    assert validate([("inference.embed", schema, given, fits)]) == []
    answer = cluster.http("POST", "/api/v2/execute", {"unit": "inference.embed", "input": given}, key=cluster.admin_key).json()
    assert (answer["error"]["code"] == "INFERENCE_MODEL_NOT_FOUND") is fits, answer
