"""`aima stop`, `status` and `doctor` when the supervisor was killed, or engines were left running."""
import json
import os
import signal

import pytest

from support.cluster import Cluster, is_alive, models_dir


@pytest.fixture
def serving():
    """A cluster of its own with an engine that runs, and the process id of that."""
    with Cluster() as cluster:
        cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
        path = models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf"
        cluster.execute("model.import", {"path": str(path), "name": "talker"})
        started = cluster.execute("engine.start", {"model_id": "talker"}, options={"timeout": "60s"}, timeout=90)
        yield cluster, int(started["process_id"])


def parent(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[1])


def kill(cluster, *names):
    """Kills the supervisor and, after it, these services."""
    report = json.loads(cluster.cli("status", "-o", "json").stdout)
    pids = {process["name"]: process["pid"] for process in report["processes"]}
    for pid in [report["supervisor_pid"], *(pids[name] for name in names)]:
        os.kill(pid, signal.SIGKILL)
        cluster.wait(lambda: not is_alive(pid), what="its end")
    return [pid for name, pid in pids.items() if name not in names]


def processes_check(cluster):
    report = json.loads(cluster.cli("doctor", "processes", "-o", "json", check=False).stdout)
    return report["checks"][0]


@pytest.mark.parametrize("gone", [[], ["gateway"], ["engine", "model"]], ids=["none", "gateway", "engine"])
def test_stop_ends_engines_also_after_the_supervisor_was_killed(serving, gone):
    cluster, engine = serving
    shim = parent(engine)
    left = kill(cluster, *gone)
    done = cluster.cli("stop", timeout=90)
    assert not is_alive(engine) and not is_alive(shim), done.stderr
    assert not [pid for pid in left if is_alive(pid)]
    assert "engine talker" in done.stderr
    assert "not running" in processes_check(cluster)["message"]
    assert json.loads(cluster.cli("status", "-o", "json", check=False).stdout)["left_engines"] == []
    assert "Nothing of AIMA runs" in cluster.cli("stop").stderr


def test_engines_that_are_kept_are_told_by_stop_status_and_doctor_and_ended_by_the_next_stop(serving):
    cluster, engine = serving
    kill(cluster)
    named = f"talker (pid {engine})"
    assert named in cluster.cli("stop", "--keep-engines", timeout=90).stderr
    assert is_alive(engine)
    status = cluster.cli("status", check=False)
    assert status.returncode == 5 and named in status.stdout and "`aima stop` ends" in status.stderr
    assert json.loads(cluster.cli("status", "-o", "json", check=False).stdout)["left_engines"] == [{"name": "talker", "pid": engine}]
    found = processes_check(cluster)
    assert found["verdict"] == "warn" and named in found["message"] and any("aima stop" in line for line in found["mend"])

    cluster.start()
    again = cluster.execute("engine.start", {"model_id": "talker"}, options={"timeout": "60s"}, timeout=90)
    assert int(again["process_id"]) == engine, "it was not taken over"
    assert named in cluster.cli("stop", "--keep-engines", timeout=90).stderr, "a supervised stop says it, too"
    done = cluster.cli("stop")
    assert not is_alive(engine) and f"stopped engine {named}" in done.stderr
