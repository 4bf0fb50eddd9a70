"""A Go program (go/scenario.go) with stubs that protoc made from the .proto files, without and with TLS."""
import json
import os
import shutil

import pytest

from support.cluster import ROOT
from tools import go_tool, run

PROTOS = ROOT / "proto"
SOURCES = ROOT / "tests" / "clients" / "go"


@pytest.fixture(scope="session")
def scenario(tmp_path_factory):
    """Runs the program and returns what it saw."""
    plugins = [go_tool("google.golang.org/protobuf/cmd/protoc-gen-go@v1.33.0"),
               go_tool("google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.3.0")]
    folder = tmp_path_factory.mktemp("go")
    for source in SOURCES.iterdir():
        shutil.copy(source, folder)
    files = [path.relative_to(PROTOS) for path in sorted(PROTOS.glob("aima/*/v1/*.proto"))]
    # The protos name no Go package: a program that uses them says where they are to lie.
    places = [f"M{file}=aima/clients/{file.parent};{file.parts[1]}v1" for file in files]
    options = [flag for place in places for flag in (f"--go_opt={place}", f"--go-grpc_opt={place}")]
    run("protoc", f"-I{PROTOS}", f"--go_out={folder}", f"--go-grpc_out={folder}", "--go_opt=module=aima/clients",
        "--go-grpc_opt=module=aima/clients", *options, *files,
        env={**os.environ, "PATH": ":".join([*(str(plugin.parent) for plugin in plugins), os.environ["PATH"]])})
    run("go", "build", "-o", "scenario", ".", cwd=folder, env={**os.environ, "GOTOOLCHAIN": "local"}, timeout=600)

    return lambda *arguments: json.loads(run(folder / "scenario", *arguments))


@pytest.fixture(scope="module")
def told(scenario, cluster, chat_model):
    return scenario(f"localhost:{cluster.grpc_port}", chat_model, cluster.admin_key)


def test_health_and_answers_are_those_of_the_cluster(told, cluster):
    assert told["health"] == "SERVING"
    assert told["memory"] == cluster.execute("device.info")["memory"]["total"]
    assert told["model"] == {"format": "MODEL_FORMAT_GGUF", "status": "MODEL_STATUS_READY"}


def test_errors_keep_their_details(told):
    assert told["not_found"]["code"] == "NotFound"
    assert (told["not_found"]["reason"], told["not_found"]["domain"]) == ("DEVICE_NOT_FOUND", "aima")
    assert (told["wrong_key"]["code"], told["wrong_key"]["reason"]) == ("Unauthenticated", "UNAUTHENTICATED")
    assert told["wrong_fields"]["code"] == "InvalidArgument"
    assert set(told["wrong_fields"]["fields"]) == {"type", "memory_bytes"}


def test_a_stream_says_what_the_whole_answer_says(told):
    chat = told["chat"]
    assert chat["pieces"] > 3
    assert chat["streamed"] == chat["whole"] != ""
    assert 0 < chat["tokens"] <= 16


def test_leaving_a_stream_ends_the_engines_work(told):
    assert told["left"]["code"] == "Canceled"
    assert told["ended"] == "inference.request_failed"


def test_a_deadline_ends_the_call_on_both_sides(told):
    assert told["late"]["code"] == "DeadlineExceeded"
    assert told["late_ended"] == "inference.request_failed"


def test_the_same_over_tls(scenario, tls_cluster, certificate):
    told = scenario(f"localhost:{tls_cluster.grpc_port}", "", tls_cluster.admin_key, certificate[0])
    assert told["health"] == "SERVING"
    assert told["memory"] > 2**28
    assert told["not_found"]["reason"] == "DEVICE_NOT_FOUND"
