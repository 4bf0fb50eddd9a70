"""A Node program (grpc_scenario.mjs) that loads the .proto files at run time, without and with TLS."""
import json
import shutil

import pytest

from support.cluster import ROOT
from tools import node_environment, node_packages, run


@pytest.fixture(scope="session")
def scenario():
    """Runs the program and returns what it saw."""
    folder = node_packages("grpc-node")
    source = folder / "grpc_scenario.mjs"  # beside node_modules, where node looks for packages
    shutil.copy(ROOT / "tests" / "clients" / source.name, source)
    return lambda address, *arguments: json.loads(
        run("node", source, address, ROOT / "proto", *arguments, env=node_environment(folder)))


@pytest.fixture(scope="module")
def told(scenario, cluster, chat_model):
    return scenario(f"localhost:{cluster.grpc_port}", chat_model, cluster.admin_key)


def test_answers_are_those_of_the_cluster(told, cluster):
    assert told["memory"] == cluster.execute("device.info")["memory"]["total"]


def test_errors_keep_their_details(told):
    assert told["not_found"]["code"] == "NOT_FOUND"
    assert "no-such-device" in told["not_found"]["message"]
    assert "DEVICE_NOT_FOUND" in told["not_found"]["details"]
    assert told["wrong_key"]["code"] == "UNAUTHENTICATED"


def test_a_stream_says_what_the_whole_answer_says(told):
    assert len(told["pieces"]) > 3
    assert "".join(told["pieces"]) == told["whole"] != ""


def test_leaving_a_stream_ends_the_engines_work(told):
    assert told["left"] == "CANCELLED"
    assert told["ended"] == "inference.request_failed"


def test_a_deadline_is_told_as_such(told):
    assert told["late"] == "DEADLINE_EXCEEDED"


def test_many_calls_share_one_connection(told):
    assert told["at_once"] == 500


def test_the_same_over_tls(scenario, tls_cluster, certificate):
    told = scenario(f"localhost:{tls_cluster.grpc_port}", "", tls_cluster.admin_key, certificate[0])
    assert told["memory"] > 2**28
    assert "DEVICE_NOT_FOUND" in told["not_found"]["details"]
