"""Who may do what: a matrix over every unit, three faces and four keys, computed from what each unit declares."""
import concurrent.futures
import json
import os
import subprocess
import sys

import pytest

from support.cluster import Cluster
from support.grpc_client import GrpcClient

ROLES = ["none", "read", "operate", "admin"]
NEEDS = {"read": 1, "operate": 2, "admin": 3}
# On loopback a caller without a key may read and operate.
RANK = {"none": 2, "read": 1, "operate": 2, "admin": 3}


@pytest.fixture(scope="module")
def cluster():
    """A cluster that lets a key ask for every unit, over and over."""
    with Cluster({"security.rate_limit_per_min": 0}) as running:
        yield running


@pytest.fixture(scope="module")
def keys(cluster):
    return {"none": None, "read": cluster.new_key("read"), "operate": cluster.new_key("operate"), "admin": cluster.admin_key}


def unusable_input(unit):
    """Input that every unit refuses before it does anything: a field that does not exist."""
    return {"no_such_field": 1}


def test_the_http_matrix_matches_what_units_declare(cluster, keys):
    wrong = []
    for name, unit in cluster.units().items():
        for role in ROLES:
            answer = cluster.http("POST", "/api/v2/execute", {"unit": name, "input": unusable_input(unit)}, key=keys[role])
            denied = answer.status in (401, 403)
            allowed = RANK[role] >= NEEDS[unit["access"]]
            if denied == allowed:
                wrong.append((name, unit["access"], role, answer.status))
            if denied and answer.status != (401 if role == "none" else 403):
                wrong.append((name, role, answer.status))
    assert wrong == []


def test_the_grpc_matrix_matches_what_units_declare(cluster, keys):
    wrong = []
    with GrpcClient(cluster.grpc_port) as client:
        for name, unit in cluster.units().items():
            for role in ROLES:
                # Bytes that are no message: refused before any handler, but only after the key was looked at.
                code = client.call_raw(unit["rpc"], b"\xff\xff\xff", key=keys[role])
                denied = code in ("UNAUTHENTICATED", "PERMISSION_DENIED")
                allowed = RANK[role] >= NEEDS[unit["access"]]
                if denied == allowed:
                    wrong.append((name, unit["access"], role, code))
                if not denied and code in ("UNIMPLEMENTED", "UNAVAILABLE", "OK"):
                    wrong.append((name, role, code))
    assert wrong == []


def test_the_command_line_matrix_matches_what_units_declare(cluster, keys, tmp_path):
    def denied(name, role):
        # Without a key: the command line finds none in this data directory, where no cluster is.
        key = {"AIMA_KEY": keys[role]} if keys[role] else {"AIMA_DATA_DIR": str(tmp_path)}
        done = cluster.cli("exec", name, "--input", '{"no_such_field": 1}', check=False, **key)
        assert done.returncode in (2, 4), (name, role, done.returncode, done.stderr)
        return done.returncode == 4

    asked = [(name, unit["access"], role) for name, unit in cluster.units().items() for role in ROLES]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outcomes = pool.map(lambda one: denied(one[0], one[2]), asked)
        wrong = [one for one, was_denied in zip(asked, outcomes) if was_denied != (RANK[one[2]] < NEEDS[one[1]])]
    assert wrong == []


def test_the_command_line_is_told_that_its_key_is_wrong(cluster):
    done = cluster.cli("exec", "device.info", "--key", "none", check=False)
    assert done.returncode == 4, "a wrong key is refused, on loopback too"
    assert "key" in done.stderr


def test_wrong_and_revoked_keys_are_refused(cluster):
    assert cluster.http("GET", "/api/v2/units", key="aima_nobody_" + "0" * 64).status == 401
    assert cluster.http("GET", "/api/v2/units", headers={"Authorization": "Basic YTpi"}).status == 401
    created = json.loads(cluster.cli("key", "create", "--role", "read", "-o", "json").stdout)
    assert cluster.http("GET", "/api/v2/units", key=created["key"]).status == 200
    cluster.cli("key", "revoke", created["id"])
    assert cluster.http("GET", "/api/v2/units", key=created["key"]).status == 401


def test_nobody_is_who_his_headers_say(cluster):
    """The header by which services tell each other who asks is no word of a caller's."""
    created = json.loads(cluster.cli("key", "create", "--role", "admin", "-o", "json").stdout)
    answer = cluster.http("POST", "/api/v2/execute", {"unit": "device.info", "options": {"async": True}}, key=created["key"])
    operation = answer.json()["data"]["id"]
    with GrpcClient(cluster.grpc_port) as client:
        def ask(key=None, metadata=()):
            return client.call("aima.gateway.v1.AIMAService.Execute", key=key, metadata=metadata, unit="operation.get",
                               input={"operation_id": operation})
        assert ask(key=created["key"]).success
        claimed = ask(metadata=[("aima-principal", created["id"])])
        assert claimed.error.code == "OPERATION_NOT_FOUND"
        claimed = ask(key=cluster.new_key("operate"), metadata=[("aima-principal", created["id"])])
        assert claimed.error.code == "OPERATION_NOT_FOUND"


def test_no_secret_is_stored_or_logged(cluster):
    secret = cluster.new_key("operate")
    cluster.http("GET", "/api/v2/units", key=secret)
    for path in [*cluster.data_dir.glob("logs/*"), *cluster.data_dir.glob("keys/keys.json"), *cluster.data_dir.glob("run/*.yaml")]:
        if path.is_file():
            assert secret not in path.read_text(errors="replace"), path
    assert (cluster.data_dir / "keys" / "admin.key").stat().st_mode & 0o077 == 0


def test_the_operators_key_is_not_told_to_somebody_else_who_has_the_port(own_cluster):
    """While the cluster is down, anybody on this machine may take its port."""
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    cluster = own_cluster
    cluster.cli("stop")
    listen = ("import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('ready', flush=True)\n"
              "c, _ = s.accept(); print(c.recv(65536).decode(), flush=True)")

    def heard(user):
        with subprocess.Popen([sys.executable, "-c", listen, str(cluster.http_port)], stdout=subprocess.PIPE, text=True,
                              user=user, extra_groups=[]) as server:
            try:
                assert server.stdout.readline() == "ready\n"
                cluster.cli("ls", check=False)
                return server.stdout.read()
            finally:
                server.kill()

    assert cluster.admin_key in heard(0)
    asked = heard(65534)
    assert "GET " in asked or "POST " in asked
    assert cluster.admin_key not in asked
