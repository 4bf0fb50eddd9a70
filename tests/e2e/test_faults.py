"""Processes die, PostgreSQL goes away: nothing acknowledged is lost and the rest keeps serving."""
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time

import pytest

from support.cluster import Failed, is_alive, models_dir

SERVICES = ["resource", "event", "gateway"]


def allocate(cluster, number):
    """Allocates under a key of its own, repeating until the outcome is known; returns the slot."""
    request = {"name": f"load-{number}", "type": "system_service", "memory_bytes": 4096, "idempotency_key": f"load-{number}"}
    end = time.monotonic() + 60
    while True:
        try:
            return cluster.execute("resource.allocate", request, key=cluster.admin_key)["slot_id"]
        except (Failed, OSError, json.JSONDecodeError) as failure:
            if isinstance(failure, Failed) and failure.status not in (429, 503, 504):
                raise
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("victim", SERVICES)
def test_a_killed_service_loses_nothing_and_comes_back(own_cluster, victim):
    cluster = own_cluster
    before = cluster.processes()[victim]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(allocate, cluster, number) for number in range(200)]
        done = concurrent.futures.as_completed(running)
        for _ in range(20):  # in the midst of the load: some are done, some under way, most to come
            next(done)
        cluster.kill(victim)
        slots = [future.result() for future in running]
    assert len(set(slots)) == 200, "a command with the same key was applied twice"
    cluster.wait(lambda: cluster.processes()[victim] not in (None, before), what=f"the return of {victim}")
    cluster.wait(lambda: cluster.http("GET", "/api/v2/health").status == 200, what="health")
    listed = set()
    token = ""
    while True:
        page = cluster.execute("resource.allocations", {"limit": 100, **({"page_token": token} if token else {})})
        listed |= {item["slot_id"] for item in page["allocations"]}
        token = page.get("next_page_token", "")
        if not token:
            break
    assert set(slots) <= listed, "an acknowledged allocation is gone"

    def all_told():
        told, after = set(), 0
        while True:
            page = cluster.execute("event.query", {"type": "resource.allocated", "after": after, "limit": 1000})
            told |= {event["payload"]["slot_id"] for event in page["items"]}
            assert len([e for e in page["items"]]) == len({e["id"] for e in page["items"]}), "an event is there twice"
            if not page["items"]:
                return set(slots) <= told
            after = page["next_after"]

    cluster.wait(all_told, what="the events of all allocations")


def test_services_serve_on_while_what_started_them_is_stopped(own_cluster):
    """As Ctrl-Z of `aima start` does it."""
    cluster = own_cluster
    pid = cluster.processes()["engine"]
    environment = dict(entry.split("=", 1) for entry in
                       pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().rstrip("\0").split("\0"))
    supervisor = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(supervisor, signal.SIGSTOP)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
            with pytest.raises(BlockingIOError):
                while True:  # until nobody's sign of life finds room
                    full.sendto(b"STATUS=", socket.MSG_DONTWAIT, environment["NOTIFY_SOCKET"])
        end = time.monotonic() + 12  # each service gives two signs of life in this time
        while time.monotonic() < end:
            for unit in ("engine.list", "model.list", "resource.status", "device.info"):
                cluster.execute(unit, options={"timeout": "4s"})
            time.sleep(0.2)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    cluster.wait(lambda: cluster.http("GET", "/api/v2/health").status == 200, what="health")


def postgres_of(cluster):
    """The private server and all that it has forked."""
    server = int((cluster.data_dir / "pg" / "postmaster.pid").read_text().split()[0])
    children = pathlib.Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [server, *map(int, children)]


def test_a_frozen_database_is_named_and_health_tells_of_it(own_cluster):
    """As on a machine whose disk hangs: no connection breaks, and nothing answers."""
    cluster = own_cluster
    cluster.wait(lambda: cluster.http("GET", "/health").status == 200, what="health")
    frozen = postgres_of(cluster)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Failed) as failed:
            cluster.execute("model.list", options={"timeout": "60s"}, timeout=90)
        assert failed.value.status == 503 and failed.value.code == "UNAVAILABLE"
        assert "the database" in failed.value.message
        health = cluster.http("GET", "/health")
        assert health.status == 503
        report = health.json()["data"]
        assert report["status"] == "degraded"
        assert report["services"]["model"] == "not serving: its database cannot be reached"
        assert "not everything serves" in cluster.cli("status", check=False).stdout
        hurried = cluster.cli("exec", "model.list", check=False)
        assert hurried.returncode != 0 and "the database" in hurried.stderr
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    cluster.wait(lambda: cluster.http("GET", "/health").status == 200, what="health")
    assert "items" in cluster.execute("model.list")


def test_a_gateway_that_is_started_by_mistake_takes_nothing_from_the_one_that_serves(own_cluster):
    cluster = own_cluster
    pid = cluster.processes()["gateway"]
    command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    second = subprocess.run(command, env=cluster.environment(), capture_output=True, text=True, timeout=60)
    assert second.returncode != 0
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(cluster.data_dir / "run" / "gateway.sock"))
    assert "operations" in cluster.execute("operation.list")


def test_the_others_keep_serving_while_one_is_away(own_cluster):
    cluster = own_cluster
    pid = cluster.processes()["model"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert cluster.execute("device.info")["memory"]["total"]
        with pytest.raises(Failed) as failed:
            cluster.execute("model.list", options={"timeout": "1s"})
        assert failed.value.status == 504
    finally:
        os.kill(pid, signal.SIGCONT)
    cluster.wait(lambda: "items" in cluster.execute("model.list"), what="model.list")


def test_a_running_engine_survives_the_death_of_its_service(own_cluster):
    cluster = own_cluster
    cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
    model = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf")})["model_id"]
    started = cluster.execute("engine.start", {"model_id": model}, options={"timeout": "60s"}, timeout=90)
    pid = int(started["process_id"])
    old = cluster.kill("engine")
    assert is_alive(pid)
    ask = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    assert cluster.execute("inference.chat", ask, timeout=60)["finish_reason"]
    cluster.wait(lambda: cluster.processes()["engine"] not in (None, old), what="the engine service's return")

    def adopted():
        instances = cluster.execute("engine.get", {"name": started["instance_id"]})
        return str(pid) in json.dumps(instances)

    cluster.wait(adopted, what="adoption")
    assert is_alive(pid), "the engine was restarted"
    cluster.execute("engine.stop", {"name": started["instance_id"]}, timeout=60)
    assert not is_alive(pid)


def test_a_dead_engine_is_reported_with_its_log(own_cluster):
    cluster = own_cluster
    cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
    model = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf")})["model_id"]
    started = cluster.execute("engine.start", {"model_id": model}, options={"timeout": "60s"}, timeout=90)
    os.kill(int(started["process_id"]), signal.SIGKILL)
    event = cluster.wait(lambda: cluster.execute("event.query", {"type": "engine.error"})["items"], seconds=5,
                         what="the event of the engine's death")[0]
    assert event["payload"]["instance_id"] == started["instance_id"]
    cluster.wait(lambda: cluster.execute("resource.allocations")["allocations"] == [], what="the slot's release")


def test_a_chat_whose_engine_dies_is_not_asked_again(own_cluster):
    cluster = own_cluster
    cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
    model = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf")})["model_id"]
    started = cluster.execute("engine.start", {"model_id": model}, options={"timeout": "60s"}, timeout=90)
    ask = {"model": model, "message": "Count to one thousand.", "max_tokens": 4000, "engine_options": {"ignore_eos": True}}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        chat = pool.submit(cluster.execute, "inference.chat", ask, options={"timeout": "120s"}, timeout=150)

        def requests(kind):
            return cluster.execute("event.query", {"type": f"inference.request_{kind}"})["items"]

        cluster.wait(lambda: requests("started"), what="the request")
        os.kill(int(started["process_id"]), signal.SIGKILL)
        with pytest.raises(Failed) as failed:
            chat.result()
    assert failed.value.code == "INFERENCE_ENGINE_LOST"
    # A repeated request would have started the engine anew and be answered by now, or be under way.
    assert len(requests("started")) == 1


def test_postgres_goes_away_and_comes_back(own_cluster):
    cluster = own_cluster
    cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
    model = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf")})["model_id"]
    ask = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    cluster.execute("inference.chat", ask, timeout=90, options={"timeout": "60s"})
    before = cluster.processes()
    cluster.kill("postgres", signal.SIGQUIT)
    # Running inference needs no database.
    assert cluster.execute("inference.chat", ask, timeout=60)["finish_reason"]

    def allocated():
        return cluster.execute("resource.allocate", {"name": "after", "type": "system_service", "memory_bytes": 4096})["slot_id"]

    assert cluster.wait(allocated, what="commands after the restart")
    # Each service finds its way back by itself; none needs a restart.
    cluster.wait(lambda: cluster.execute("model.get", {"model_id": model})["id"] == model, what="model.get")
    after = cluster.wait(cluster.processes, what="the word of all services that their database is back")
    assert {name: pid for name, pid in after.items() if name != "postgres"} == \
           {name: pid for name, pid in before.items() if name != "postgres"}


def test_every_service_gives_signs_of_life(own_cluster):
    """Without them whoever started it, such as systemd, kills it."""
    cluster = own_cluster
    wanted = {pid: name for name, pid in cluster.processes().items() if name != "postgres"}
    assert "gateway" in wanted.values()
    os.kill(int((cluster.data_dir / "run" / "supervisor.pid").read_text().split()[0]), signal.SIGKILL)
    path = cluster.data_dir / "run" / "notify.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.bind(str(path))
        ours.settimeout(60)
        while wanted:
            text, [(_, _, credentials)], _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(12))
            if b"WATCHDOG=1" in text:
                wanted.pop(struct.unpack("3i", credentials)[0], None)
