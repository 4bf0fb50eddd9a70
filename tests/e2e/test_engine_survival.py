"""Engines and their streams outlive the services around them; nothing is started twice, and nothing is left behind."""
import concurrent.futures
import errno
import os
import pathlib
import signal
import socket
import time

import pytest

from support.cluster import Cluster, is_alive, models_dir
from support.marked import marked_processes

PLAIN_ENGINE = pathlib.Path(__file__).resolve().parent.parent / "support" / "plain_engine"
CYCLES = int(os.environ.get("AIMA_CYCLES", "50"))
ENGINES = int(os.environ.get("AIMA_ENGINES", "50"))


@pytest.fixture
def plain_cluster():
    """A cluster that also knows the engine `plain`, of which many can run."""
    with Cluster(start=False) as cluster:
        (cluster.data_dir / "engines.d").mkdir()
        (cluster.data_dir / "engines.d" / "plain.yaml").write_text(
            "name: plain\ntype: plain\ndescription: Only counts.\ndialect: openai\nmodel_types: [llm]\nown_models: true\n"
            f"install: {{detect: [{PLAIN_ENGINE}]}}\nlaunch: {{args: ['{{port}}']}}\nmemory: 1MB\n"
            "health: {path: /health, hung_timeout: 1s}\nstop: {timeout: 20s}\n")
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def home():
    """A cluster with a real engine on it and the chat model, `home.chat_id`."""
    with Cluster() as cluster:
        cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
        path = models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf"
        cluster.chat_id = cluster.execute("model.import", {"path": str(path)})["model_id"]
        yield cluster


@pytest.fixture
def chat_cluster(home):
    """The same, serving."""
    start_chat = {"model_id": home.chat_id}
    home.wait(lambda: home.execute("engine.start", start_chat, options={"timeout": "60s"}, timeout=90), what="the start")
    yield home
    home.wait(lambda: home.execute("engine.stop", {"name": home.chat_id}, timeout=60), what="the stop")
    assert marked_processes(home) == []


def instance(cluster, name):
    return cluster.execute("engine.get", {"name": name})["instances"][0]


def instances(cluster):
    return {one["instance_id"]: one for one in cluster.execute("engine.get", {"name": "plain"}).get("instances", [])}


def start(cluster, name):
    return cluster.execute("engine.start", {"name": "plain", "instance_id": name}, options={"timeout": "120s"}, timeout=150)


def runs_of(cluster):
    return {path.name for path in (cluster.data_dir / "run" / "engines").glob("*")}


def events(cluster, type):
    return cluster.execute("event.query", {"type": type, "limit": 1000})["items"]


def wait_for_return(cluster, name, old):
    cluster.wait(lambda: cluster.processes()[name] not in (None, old), what=f"the return of {name}")


# All that a stream does not pass through.
BYSTANDERS = ["engine", "device", "model", "resource", "event", "postgres"]


@pytest.mark.parametrize("victims, sent", [(["engine"], signal.SIGKILL), (["engine"], signal.SIGTERM),
                                           (BYSTANDERS, signal.SIGKILL)], ids=["killed", "upgraded", "all_killed"])
def test_a_stream_goes_on_while_services_die_and_its_engine_is_adopted(chat_cluster, victims, sent):
    cluster = chat_cluster
    before = instance(cluster, cluster.chat_id)
    tokens = 300
    stream = cluster.stream("/v1/chat/completions", {
        "model": cluster.chat_id, "stream": True, "max_tokens": tokens, "ignore_eos": True,
        "messages": [{"role": "user", "content": "Count."}], "stream_options": {"include_usage": True}}, timeout=120)
    pieces = [next(stream)[1] for _ in range(5)]
    old = {name: pid for name, pid in cluster.processes().items() if name in victims}
    for pid in old.values():
        os.kill(pid, sent)
    for name, pid in old.items():
        wait_for_return(cluster, name, pid)
    cluster.wait(lambda: instance(cluster, cluster.chat_id)["status"] == "running", seconds=60, what="adoption")
    pieces += [piece for _, piece in stream]
    assert pieces[-1] == "[DONE]"
    usage = [piece["usage"] for piece in pieces[:-1] if piece.get("usage")][-1]
    assert usage["completion_tokens"] == tokens, "the stream was cut short"

    after = instance(cluster, cluster.chat_id)
    assert (after["process_id"], after["generation"]) == (before["process_id"], before["generation"]), "it was restarted"
    ask = {"model": cluster.chat_id, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    cluster.wait(lambda: cluster.execute("inference.chat", ask, timeout=60)["finish_reason"], what="the next answer")


def test_a_real_engine_that_dies_is_started_again(chat_cluster):
    cluster = chat_cluster
    before = instance(cluster, cluster.chat_id)
    os.kill(int(before["process_id"]), signal.SIGKILL)

    def again():
        now = instance(cluster, cluster.chat_id)
        return now["status"] == "running" and int(now["generation"]) == int(before["generation"]) + 1

    cluster.wait(again, what="the next start")
    told = events(cluster, "engine.error")[0]["payload"]
    assert "signal 9" in told["error"]
    ask = {"model": cluster.chat_id, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    assert cluster.execute("inference.chat", ask, timeout=60)["finish_reason"]


def test_a_hung_engine_is_killed_and_started_again(plain_cluster):
    cluster = plain_cluster
    pid = int(start(cluster, "stuck")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    cluster.wait(lambda: instances(cluster)["stuck"].get("generation") == 2 and
                 instances(cluster)["stuck"]["status"] == "running", seconds=60, what="the next start")
    assert not is_alive(pid)
    told = events(cluster, "engine.error")[0]["payload"]
    assert "gave no answer for 1s and was killed" in told["error"]


def test_many_engines_are_adopted_after_a_kill_and_none_is_restarted(plain_cluster):
    cluster = plain_cluster
    names = [f"plain-{number}" for number in range(ENGINES)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        pids = {name: reply["process_id"] for name, reply in zip(names, pool.map(lambda name: start(cluster, name), names))}
    assert len(set(pids.values())) == ENGINES
    old = cluster.kill("engine")
    begun = time.monotonic()

    def adopted():
        now = instances(cluster)
        return all(now[name]["status"] == "running" and now[name]["health"] == "healthy" for name in names)

    cluster.wait(adopted, what="adoption")
    print(f"{ENGINES} engines adopted {time.monotonic() - begun:.2f} s after kill -9, restart of the service included")
    assert cluster.processes()["engine"] not in (None, old)
    now = instances(cluster)
    assert {name: now[name]["process_id"] for name in names} == pids
    assert {one["generation"] for one in now.values()} == {1}
    cluster.wait(lambda: len(events(cluster, "engine.started")) == ENGINES, what="one event of each start")
    assert events(cluster, "engine.error") == []
    # Each is still in hand: it can be stopped, and then nothing is left.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: cluster.execute("engine.stop", {"name": name}, timeout=120), names))
    assert marked_processes(cluster) == []
    assert cluster.execute("resource.allocations")["allocations"] == []


def test_starts_and_stops_leave_nothing_behind(plain_cluster):
    cluster = plain_cluster
    runs = set()

    def cycle(number):
        started = start(cluster, "again")
        runs.update(runs_of(cluster))
        host, port = started["endpoint"].split(":")
        cluster.execute("engine.stop", {"name": "again", "force": number % 2 == 0}, timeout=120)
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) == errno.ECONNREFUSED, "somebody listens still"

    def leftovers():
        service = pathlib.Path(f"/proc/{cluster.processes()['engine']}")
        return {
            "processes": marked_processes(cluster),
            "slots": cluster.execute("resource.allocations")["allocations"],
            "runs": runs_of(cluster),
            "cgroups": [path for path in pathlib.Path("/sys/fs/cgroup").glob("**/aima-run*") if path.name[5:] in runs],
            "zombies": [entry.name for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit() and
                        is_zombie_of(entry, service.name)],
        }

    def open_files():
        return len(list(pathlib.Path(f"/proc/{cluster.processes()['engine']}/fd").iterdir()))

    cycle(0)
    files = open_files()
    for number in range(CYCLES):
        cycle(number)
    assert len(runs) == CYCLES + 1
    assert all(not left for left in leftovers().values()), leftovers()
    cluster.wait(lambda: open_files() <= files, what=f"no more than {files} open files")


def is_zombie_of(entry, parent):
    try:
        state, ppid = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return False
    return state == "Z" and ppid == parent
