"""What a pull leaves behind when the process, the disk or the machine's room gives out. Never a wrong model.

AIMA_KILL_POINTS=all tries every call that changes the disk, one after another; without it, some of them.
"""
import contextlib
import os
import pathlib
import signal
import shutil
import subprocess
import time

import pytest

from support.cluster import Cluster, Failed
from support.pulling import MIB, blobs, files_of, pull, sets_for, slow, through
from support.registries import Hub, Line, gguf, sha256

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@pytest.fixture(scope="module")
def hub():
    with Hub() as running:
        yield running


class OwnModelService:
    """The model service of a cluster, started by the test rather than by the cluster's supervisor, which is held still."""

    def __init__(self, cluster):
        self.cluster = cluster
        pid = cluster.processes()["model"]
        self.command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self.environment = dict(entry.split("=", 1) for entry in
                                pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().rstrip("\0").split("\0"))
        self.environment.pop("NOTIFY_SOCKET", None)
        self.supervisor = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        self.process = None
        self.log = cluster.data_dir / "logs" / "own-model.log"

    def __enter__(self):
        os.kill(self.supervisor, signal.SIGSTOP)
        os.kill(self.cluster_pid(), signal.SIGKILL)
        return self

    def cluster_pid(self):
        children = pathlib.Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children").read_text().split()
        for child in children:
            if pathlib.Path(f"/proc/{child}/cmdline").read_bytes().decode().rstrip("\0").split("\0") == self.command:
                return int(child)
        raise AssertionError("the supervisor has no model service")

    def __exit__(self, *_):
        self.stop()
        os.kill(self.supervisor, signal.SIGCONT)

    def start(self, *before):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*before, *self.command], env=self.environment, stdout=log, stderr=log)

    def stop(self):
        if self.process and self.process.poll() is None:
            # Under strace, the service is its child, and strace ends with it.
            pid = self.process.pid
            traced = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            service = int(traced[0]) if self.process.args[0] == "strace" else pid
            os.kill(service, signal.SIGTERM)
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                os.kill(service, signal.SIGKILL)
                raise

    def answers(self):
        try:
            self.cluster.execute("model.list", options={"timeout": "2s"})
            return True
        except Failed as failed:
            return failed.status not in (503, 504)

    def await_answers(self):
        """True once it answers; False if it has ended before."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            if self.answers():
                return True
            time.sleep(0.02)
        raise AssertionError(self.log.read_text()[-3000:])


@pytest.fixture(scope="module")
def own(hub):
    with Cluster(sets_for(hub)) as cluster, OwnModelService(cluster) as service:
        yield service


def state_of(cluster, model_id):
    try:
        return cluster.execute("model.get", {"model_id": model_id})["status"]
    except Failed:
        return "none"


def check_blobs(cluster):
    for path in (cluster.data_dir / "models" / "blobs").glob("sha256-*"):
        assert path.name == f"sha256-{sha256(path.read_bytes())}", f"{path} has a blob's name and is none"


CALLS = ["pwrite64", "write", "fsync", "rename", "link", "unlink", "ftruncate", "fallocate", "mkdir", "fchmod"]
ALL = os.environ.get("AIMA_KILL_POINTS") == "all"


@needs_strace
@pytest.mark.parametrize("call", CALLS)
def test_a_pull_that_is_killed_at_a_call_goes_on_and_is_right(own, hub, call):
    cluster = own.cluster
    weights = gguf(10, seed=call)
    repo = f"acme/Kill-{call}-GGUF"
    model_id = f"kill-{call}"
    hub.publish(repo, {"weights-Q8_0.gguf": weights, "config.json": call.encode()})
    killed = 0
    for count in range(1, 200) if ALL else (1, 2, 3, 5, 9):
        own.start("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={count}")
        if own.await_answers():
            with contextlib.suppress(Failed, OSError):
                pull(cluster, repo)
        was_killed = own.process.poll() is not None
        if was_killed:
            killed += 1
        else:
            own.stop()
        check_blobs(cluster)
        # Whoever reads the state after the crash sees no ready model that is not right, and the pull ends well.
        own.start()
        assert own.await_answers(), own.log.read_text()[-3000:]
        if state_of(cluster, model_id) == "none":
            pull(cluster, repo, detach=True)
        end = time.monotonic() + 30
        while (state := state_of(cluster, model_id)) != "ready":
            assert state == "pulling", (state, cluster.execute("model.get", {"model_id": model_id}))
            assert time.monotonic() < end
            time.sleep(0.02)
        assert files_of(cluster, model_id)["weights-Q8_0.gguf"].read_bytes() == weights
        assert cluster.execute("model.verify", {"model_id": model_id})["issues"] == []
        cluster.execute("model.delete", {"model_id": model_id, "force": True})
        assert blobs(cluster) == set(), "something is left in the store"
        assert not list((cluster.data_dir / "models" / "pulled").glob("*/*/*")), "something is left of a model"
        own.stop()
        if not was_killed:
            break
    assert killed, f"{call} was never called"


@needs_strace
@pytest.mark.parametrize("call, error", [("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fsync", "EIO"), ("rename", "EIO"),
                                         ("fallocate", "ENOSPC"), ("link", "EIO"), ("ftruncate", "ENOSPC")])
def test_a_disk_that_fails_ends_the_pull_at_once_and_the_next_one_is_right(own, hub, call, error):
    cluster = own.cluster
    weights = gguf(10, seed=call + error)
    repo = f"acme/Disk-{call}-{error}-GGUF"
    hub.publish(repo, {"weights-Q8_0.gguf": weights})
    own.start("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}")
    assert own.await_answers()
    hub.forget()
    with pytest.raises(Failed) as failed:
        pull(cluster, repo)
    assert failed.value.code == ("MODEL_STORAGE_FULL" if error == "ENOSPC" else "MODEL_STORAGE_FAILED"), failed.value
    asked = [entry for entry in hub.asked() if entry[0] == hub.cdn_port]
    assert len(asked) <= 4, "it went on fetching for a disk that fails"
    model_id = cluster.execute("model.pulls")["items"][0]["model_id"]
    assert state_of(cluster, model_id) == "error"
    check_blobs(cluster)
    own.stop()
    own.start()
    assert own.await_answers()
    assert state_of(cluster, model_id) == "error", "what has failed is not tried again by itself"
    assert pull(cluster, repo)["model_id"] == model_id
    assert files_of(cluster, model_id)["weights-Q8_0.gguf"].read_bytes() == weights
    cluster.execute("model.delete", {"model_id": model_id, "force": True})
    assert blobs(cluster) == set()
    own.stop()


def test_a_killed_service_goes_on_with_its_pull_without_being_asked(hub):
    weights = gguf(48, seed="restart")
    hub.publish("acme/Restart-GGUF", {"restart-Q8_0.gguf": weights})
    with Cluster(sets_for(hub)) as cluster, Line(hub.cdn_port, slow) as line, through(hub, line):
        pull(cluster, "acme/Restart-GGUF", detach=True)
        cluster.wait(lambda: line.sent > 20 * MIB, what="the first half")
        cluster.kill("model")
        before = line.sent
        cluster.wait(lambda: cluster.execute("model.get", {"model_id": "restart"})["status"] == "ready", what="the model", seconds=60)
        assert line.sent - before < len(weights) - before + 5 * 4 * MIB, "whole pieces were fetched again"
        assert files_of(cluster, "restart")["restart-Q8_0.gguf"].read_bytes() == weights


def test_a_pull_survives_an_orderly_stop_of_the_cluster(hub):
    weights = gguf(32, seed="orderly")
    hub.publish("acme/Orderly-GGUF", {"orderly-Q8_0.gguf": weights})
    with Cluster(sets_for(hub)) as cluster:
        with Line(hub.cdn_port, slow) as line, through(hub, line):
            pull(cluster, "acme/Orderly-GGUF", detach=True)
            cluster.wait(lambda: line.sent > 8 * MIB, what="the first bytes")
            cluster.cli("stop", timeout=30)
        cluster.start()
        cluster.wait(lambda: cluster.execute("model.get", {"model_id": "orderly"})["status"] == "ready", what="the model")
        assert files_of(cluster, "orderly")["orderly-Q8_0.gguf"].read_bytes() == weights


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_what_does_not_fit_on_the_disk_is_refused_before_a_byte_is_fetched(hub, tmp_path_factory):
    hub.publish("acme/Big-GGUF", {"big-Q8_0.gguf": gguf(64, seed="big")})
    small = tmp_path_factory.mktemp("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", small], check=True)
    try:
        with Cluster(sets_for(hub, storage_dir=str(small))) as cluster:
            hub.forget()
            with pytest.raises(Failed) as failed:
                pull(cluster, "acme/Big-GGUF")
            assert failed.value.code == "MODEL_STORAGE_FULL"
            assert hub.downloaded() == 0
            assert cluster.http("GET", "/api/v2/health").status == 200
    finally:
        subprocess.run(["umount", small], check=True)


def test_room_is_made_by_removing_what_was_not_used_for_longest(hub):
    models = {name: gguf(300, seed=name) for name in ("first", "second", "third", "fourth")}
    for name, weights in models.items():
        hub.publish(f"acme/{name}-GGUF", {f"{name}-Q8_0.gguf": weights})
    with Cluster(sets_for(hub, max_cache_gb="1")) as cluster:
        for name in ("first", "second", "third"):
            pull(cluster, f"acme/{name}-GGUF")
        assert cluster.execute("model.pin", {"model_id": "first"})["pinned"]
        pull(cluster, "acme/fourth-GGUF")
        assert {model["id"] for model in cluster.execute("model.list")["items"]} == {"first", "third", "fourth"}
        assert f"sha256-{sha256(models['second'])}" not in blobs(cluster)
        for name in ("third", "fourth"):
            cluster.execute("model.pin", {"model_id": name})
        with pytest.raises(Failed) as failed:
            pull(cluster, "acme/second-GGUF")
        assert failed.value.code == "MODEL_STORAGE_FULL"
        assert state_of(cluster, "third") == "ready", "nothing is removed for what does not fit anyway"
