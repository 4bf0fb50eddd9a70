"""/openapi.json holds what it promises: linters find nothing, a client generated from it calls units, answers fit its schemas."""
import json
import pathlib
import subprocess

import pytest

from tools import node_environment, node_packages, python_packages, run

ROLES = ["read", "operate", "admin"]


@pytest.fixture(scope="session")
def python():
    """A Python that has the generator and the validator, and nothing of this repository."""
    return python_packages("openapi")


@pytest.fixture(scope="session")
def keys(cluster):
    return {role: cluster.new_key(role) for role in ROLES}


@pytest.fixture(scope="session")
def documents(cluster, keys, tmp_path_factory):
    """The file of each role's document."""
    folder = tmp_path_factory.mktemp("openapi")
    files = {}
    for role in ROLES:
        files[role] = folder / f"{role}.json"
        files[role].write_bytes(cluster.http("GET", "/openapi.json", key=keys[role]).body)
    return files


def units_of(file):
    paths = json.loads(file.read_text())["paths"].values()
    return {item["x-aima-unit"]["name"]: item["x-aima-unit"]["access"] for item in paths if "x-aima-unit" in item}


@pytest.mark.parametrize("role", ROLES)
def test_redocly_finds_no_fault_with_it(documents, role):
    folder = node_packages("redocly")
    config = pathlib.Path(__file__).parent / "redocly.yaml"
    done = subprocess.run([folder / "node_modules/.bin/redocly", "lint", documents[role], "--config", config, "--format", "json"],
                          capture_output=True, text=True, timeout=120, env=node_environment(folder, REDOCLY_TELEMETRY="off"))
    found = json.loads(done.stdout)
    assert found["totals"]["errors"] == found["totals"]["warnings"] == 0, found["problems"][:5]
    assert done.returncode == 0


@pytest.mark.parametrize("role", ROLES)
def test_it_fits_the_official_schema_of_openapi(python, documents, role):
    run(python, "-m", "openapi_spec_validator", "--errors", "all", documents[role])


def test_a_key_sees_only_what_it_allows(documents, cluster):
    assert set(units_of(documents["read"]).values()) == {"read"}
    assert set(units_of(documents["operate"]).values()) == {"read", "operate"}
    admin = units_of(documents["admin"])
    assert set(admin.values()) == {"read", "operate", "admin"}
    assert set(admin) == set(cluster.units())
    operate = json.loads(documents["operate"].read_text())
    hidden = set(admin) - set(units_of(documents["operate"]))
    assert hidden == {unit for unit, access in admin.items() if access == "admin"} != set()
    assert not any(path.endswith("/" + unit) for unit in hidden for path in operate["paths"])
    assert "device.SetPowerLimitRequest" not in operate["components"]["schemas"]
    assert cluster.http("GET", "/openapi.json").json()["x-aima-role"] == "operate", "as a caller of this machine"
    assert cluster.http("GET", "/openapi.json", key="aima_nobody_" + "0" * 64).status == 401


PROGRAM = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
from aima_client import AuthenticatedClient, models
client = AuthenticatedClient(base_url=sys.argv[2], token=sys.argv[3], raise_on_unexpected_status=True, timeout=120)
called = []

def ask(name, **arguments):
    "What the generated function of an operation returns."
    called.append(name)
    module = importlib.import_module("aima_client.api." + name.split(".")[0] + "." + name.replace(".", "_"))
    return module.sync_detailed(client=client, **arguments)

def call(name, **arguments):
    answer = ask(name, **arguments)
    assert answer.status_code == 200, answer.content
    return answer.parsed.data
"""


@pytest.fixture(scope="session")
def program(python, documents, cluster, keys, tmp_path_factory):
    """Runs a program with the client that was generated for the role operate, and returns the JSON that it prints."""
    folder = tmp_path_factory.mktemp("generated")
    done = run(python, "-m", "openapi_python_client", "generate", "--path", documents["operate"], "--output-path",
               folder / "aima_client", "--meta", "none", "--config", pathlib.Path(__file__).parent / "openapi_client.yaml")
    assert "WARNING" not in done and "ERROR" not in done, done

    def start(text):
        done = subprocess.run([python, "-c", PROGRAM + text, folder, f"http://127.0.0.1:{cluster.http_port}", keys["operate"]],
                              capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return start


def test_a_generated_client_calls_ten_units(program, chat_model, embedding_model):
    told = program(f"""
memory = call("device.info", body=models.DeviceInfoRequest()).memory.total
cpu = call("device.metrics.get", device_id="cpu")
health = call("device.health.get").status
found = call("model.list", body=models.ModelListRequest(limit=10)).items
one = call("model.get.get", model_id={chat_model!r})
needs = call("model.estimate_resources", body=models.ModelEstimateResourcesRequest(model_id={chat_model!r}))
engines = call("engine.list.get")
slot = call("resource.allocate", body=models.ResourceAllocateRequest(
    name="generated", type_=models.ResourceAllocateRequestType.SYSTEM_SERVICE, memory_bytes=1 << 20), idempotency_key="generated-1")
held = call("resource.allocations.get", slot_id=slot.slot_id)
call("resource.release", body=models.ResourceReleaseRequest(slot_id=slot.slot_id))
events = call("event.query.get", type_="resource.allocated", limit=5)
vectors = call("inference.embed", body=models.InferenceEmbedRequest(model={embedding_model!r}, input_=["A sentence."]))
said = call("inference.chat", body=models.InferenceChatRequest(
    model={chat_model!r}, messages=[models.InferenceMessage(role="user", content="Say hello.")], max_tokens=8))
print(json.dumps({{
    "called": called, "memory": memory, "health": health, "models": [model.id for model in found], "type": one.type_,
    "held": [allocation.slot_id for allocation in held.allocations], "slot": slot.slot_id,
    "events": [event.payload.to_dict() for event in events.items], "said": said.to_dict()}}, default=str))
""")
    assert len(set(told["called"])) >= 10
    assert told["memory"] > 2**28
    assert chat_model in told["models"]
    assert told["type"] == "llm"
    assert told["held"] == [told["slot"]]
    assert told["slot"] in [event["slot_id"] for event in told["events"]]
    assert told["said"]


def test_a_generated_client_reads_problems_and_operations(program):
    told = program("""
missing = ask("model.get.get", model_id="nope")
wrong = ask("model.list", body=models.ModelListRequest(limit=0))
begun = ask("device.detect", body=models.DeviceDetectRequest(), prefer="respond-async")
print(json.dumps({"missing": missing.parsed.to_dict(), "wrong": wrong.parsed.to_dict(), "status": begun.status_code,
                  "location": begun.headers["location"], "unit": begun.parsed.data.unit}))
""")
    assert told["missing"]["status"] == 404
    assert told["missing"]["error"]["code"] == "MODEL_NOT_FOUND"
    assert "nope" in told["missing"]["detail"]
    assert told["wrong"]["error"]["details"]["fields"][0]["field"] == "limit"
    assert told["status"] == 202
    assert told["unit"] == "device.detect"
    assert told["location"].startswith("/api/v2/operations/")


def test_what_queries_answer_fits_the_schemas(python, documents, cluster, chat_model):
    document = json.loads(documents["operate"].read_text())
    answers = []
    for path, item in document["paths"].items():
        get = item.get("get", {})
        schema = get.get("responses", {}).get("200", {}).get("content", {}).get("application/json", {}).get("schema")
        needed = [p for p in [*item.get("parameters", []), *get.get("parameters", [])] if p.get("required")]
        if not schema or any(p["name"] not in ("model_id", "device_id") for p in needed):
            continue
        for name, value in (("model_id", chat_model), ("device_id", "cpu")):
            path = path.replace("{" + name + "}", value)
        query = "&".join(f"model_id={chat_model}" for p in needed if p["in"] == "query")
        answer = cluster.http("GET", path + "?" + query)
        assert answer.status == 200, (path, answer.body)
        answers.append([path, schema, answer.json()])
    assert len(answers) > 15
    answers.append(["problem", {"$ref": "#/components/schemas/Problem"}, cluster.http("GET", "/api/v2/query/model.get").json()])
    check = """
import json, sys
from jsonschema import Draft202012Validator
components, answers = json.load(sys.stdin)
for path, schema, answer in answers:
    for error in Draft202012Validator({**schema, "components": components}).iter_errors(answer):
        print(path, error.json_path, error.message[:200])
"""
    done = subprocess.run([python, "-c", check], input=json.dumps([document["components"], answers]), capture_output=True,
                          text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
