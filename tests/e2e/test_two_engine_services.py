"""Two engine services on one data directory: the newer one counts, and the other ends without having done anything."""
import os
import pathlib
import signal
import subprocess
import time

import pytest

from support.cluster import Cluster, is_alive
from support.marked import marked_processes

PLAIN_ENGINE = pathlib.Path(__file__).resolve().parent.parent / "support" / "plain_engine"
START = {"timeout": "60s"}


@pytest.fixture
def cluster():
    """A cluster that knows the engine `plain`, whose instances hang when they are stopped for a second."""
    with Cluster(start=False) as cluster:
        (cluster.data_dir / "engines.d").mkdir()
        (cluster.data_dir / "engines.d" / "plain.yaml").write_text(
            "name: plain\ntype: plain\ndescription: Only counts.\ndialect: openai\nmodel_types: [llm]\nown_models: true\n"
            f"install: {{detect: [{PLAIN_ENGINE}]}}\nlaunch: {{args: ['{{port}}']}}\nmemory: 1MB\n"
            "health: {path: /health, hung_timeout: 1s}\nstop: {timeout: 2s}\n")
        cluster.start()
        yield cluster


def start(cluster, name):
    return cluster.execute("engine.start", {"name": "plain", "instance_id": name}, options=START, timeout=90)


def instances(cluster):
    return {one["instance_id"]: one for one in cluster.execute("engine.get", {"name": "plain"}).get("instances", [])}


def events(cluster, type):
    return cluster.execute("event.query", {"type": type, "limit": 1000})["items"]


class Second:
    """Another engine service, started exactly as the cluster's own."""

    def __init__(self, cluster, pid):
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        environment = dict(one.split(b"=", 1) for one in variables if b"=" in one)
        environment.pop(b"NOTIFY_SOCKET", None)
        self.log = cluster.data_dir / "second.log"
        self.process = subprocess.Popen(command, env=environment, stdout=self.log.open("wb"), stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def holder(cluster):
    return int((cluster.data_dir / "run" / "engine.tenure").read_text().split()[0])


def test_the_second_of_two_that_were_started_by_mistake_ends_and_says_why(cluster):
    pid = start(cluster, "one")["process_id"]
    first = cluster.processes()["engine"]
    with Second(cluster, first) as second:
        assert second.process.wait(timeout=60) != 0
        assert f"process id {first} looks after" in second.log.read_text()
    assert cluster.processes()["engine"] == first
    assert instances(cluster)["one"]["process_id"] == pid
    cluster.execute("engine.stop", {"name": "one"}, timeout=60)


def test_a_service_that_slept_while_another_took_over_starts_stops_and_writes_nothing(cluster):
    kept = start(cluster, "kept")
    doomed = start(cluster, "doomed")
    first = cluster.processes()["engine"]
    # It falls asleep when it is just about to kill an engine that hangs.
    os.kill(int(doomed["process_id"]), signal.SIGSTOP)
    time.sleep(0.7)
    os.kill(first, signal.SIGSTOP)
    os.kill(int(doomed["process_id"]), signal.SIGCONT)
    with Second(cluster, first) as second:
        cluster.wait(lambda: all(f"adopted instance={name} " in second.log.read_text() for name in ("kept", "doomed")),
                     seconds=60, what="adoption")
        assert holder(cluster) == second.process.pid
        os.kill(first, signal.SIGCONT)
        cluster.wait(lambda: not is_alive(first), what="the end of the one that was superseded")
        own_log = cluster.data_dir / "logs" / "engine.log"
        assert "another engine service has taken over" in own_log.read_text()
        # It comes back, is told who is in office, and leaves again.
        cluster.wait(lambda: f"process id {second.process.pid} looks after" in own_log.read_text(), what="the next try")
        now = cluster.wait(lambda: instances(cluster), what="an answer of the new one")
        assert {name: (one["status"], one["process_id"], int(one["generation"])) for name, one in now.items()} == {
            "kept": ("running", kept["process_id"], 1), "doomed": ("running", doomed["process_id"], 1)}
        assert all(is_alive(int(one["process_id"])) for one in now.values())
        assert len(marked_processes(cluster)) == 4, "two engines with their shims, and nothing else"
        assert len(events(cluster, "engine.started")) == 2
        assert events(cluster, "engine.error") == events(cluster, "engine.stopped") == []
        start(cluster, "added")
        cluster.execute("engine.stop", {"name": "doomed"}, timeout=60)
    # The cluster's own takes over again when the second is gone.
    cluster.wait(lambda: cluster.processes()["engine"] not in (None, first) and
                 {name for name, one in instances(cluster).items() if one["status"] == "running"} == {"kept", "added"},
                 seconds=90, what="the return")
    for name in ("kept", "added"):
        cluster.execute("engine.stop", {"name": name}, timeout=60)
    assert marked_processes(cluster) == []
