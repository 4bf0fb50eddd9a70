"""Listeners with a certificate, and listeners that the network can reach."""
import http.client
import json
import pathlib
import ssl
import subprocess

import grpc
import pytest

from support.cluster import Cluster, bin_dir, free_port, own_address


def get(cluster, certificate, path, host="localhost", headers=None):
    """Status and body of an answer over TLS from a server that shows our certificate."""
    trusting = ssl.create_default_context(cafile=certificate[0])
    trusting.check_hostname = host == "localhost"
    connection = http.client.HTTPSConnection(host, cluster.http_port, timeout=30, context=trusting)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_units_answer_over_tls(tls_cluster, certificate):
    status, envelope = get(tls_cluster, certificate, "/api/v2/query/device.info")
    assert status == 200
    assert envelope["data"]["memory"]["total"] > 0


def test_grpc_answers_over_tls(tls_cluster, certificate):
    with grpc.secure_channel(f"localhost:{tls_cluster.grpc_port}",
                             grpc.ssl_channel_credentials(certificate[0].read_bytes())) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=30) == b"\x08\x01", "serving"


def test_who_does_not_trust_the_certificate_does_not_connect(tls_cluster):
    connection = http.client.HTTPSConnection("localhost", tls_cluster.http_port, timeout=30)
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.request("GET", "/api/v2/health")


def test_a_request_without_tls_is_not_answered(tls_cluster):
    with pytest.raises((http.client.HTTPException, OSError)):
        tls_cluster.http("GET", "/api/v2/health", timeout=30)
    assert tls_cluster.cli("status", check=False).stdout.count("ready") >= 7, "it hurts nobody"


def test_the_command_line_knows_the_certificate_of_its_own_cluster(tls_cluster):
    done = tls_cluster.cli("exec", "device.info", "-o", "json", AIMA_SERVER="")
    assert json.loads(done.stdout)["memory"]["total"] > 0
    services = {one["name"]: one for one in json.loads(tls_cluster.cli("status", "-o", "json", AIMA_SERVER="").stdout)["processes"]}
    assert services["model"]["health"] == "serving", services["model"]


def test_the_command_line_asks_a_named_server_that_it_can_verify(tls_cluster, certificate):
    server = f"https://localhost:{tls_cluster.http_port}"
    assert "certificate verify failed" in tls_cluster.cli("exec", "device.info", check=False, AIMA_SERVER=server).stderr
    done = tls_cluster.cli("exec", "device.info", "-o", "json", SSL_CERT_FILE=str(certificate[0]), AIMA_SERVER=server)
    assert json.loads(done.stdout)["memory"]["total"] > 0


def test_a_caller_from_the_network_needs_a_key(tls_cluster, certificate):
    address = own_address()
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    status, envelope = get(tls_cluster, certificate, "/api/v2/query/device.info", host=address)
    assert (status, envelope["error"]["code"]) == (401, "UNAUTHENTICATED")
    key = {"Authorization": "Bearer " + tls_cluster.new_key("read")}
    assert get(tls_cluster, certificate, "/api/v2/query/device.info", host=address, headers=key)[0] == 200


def left_running(cluster):
    """Command lines of the processes that name the cluster's directory."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if str(cluster.data_dir) in command:
            found.append(command)
    return found


@pytest.mark.parametrize("listener", ["api.listen_addr", "api.grpc_addr"])
def test_a_listener_for_the_network_is_refused_without_tls(listener):
    with Cluster({listener: f"0.0.0.0:{free_port()}"}, start=False) as cluster:
        flags = [flag for key, value in cluster.sets.items() for flag in ("--set", f"{key}={value}")]
        done = cluster.cli("start", *flags, check=False, timeout=120)
        assert done.returncode != 0
        assert f"{listener} is 0.0.0.0:" in done.stderr + done.stdout
        assert "api.tls_cert and api.tls_key" in done.stderr + done.stdout
        assert left_running(cluster) == []


def test_a_listener_for_the_network_is_refused_without_a_key(certificate, tmp_path):
    # `aima start` makes a key by itself; whoever runs the services in another way may have forgotten it.
    config = tmp_path / "aima.yaml"
    config.write_text(f"""
general: {{data_dir: {tmp_path}}}
api: {{listen_addr: "0.0.0.0:{free_port()}", grpc_addr: "", tls_cert: {certificate[0]}, tls_key: {certificate[1]}}}
""")
    done = subprocess.run([bin_dir() / "aima-gateway", "--config", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "which the network can reach: that needs a key (`aima key create`)" in done.stderr
