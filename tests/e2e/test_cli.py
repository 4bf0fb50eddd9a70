"""The everyday verbs of `aima`, by what they do to the world."""
import json
import pathlib
import signal
import subprocess
import threading

import pytest

from support.cluster import Cluster, bin_dir, is_alive, models_dir
from support.pulling import MIB, files_of, sets_for, slow, through
from support.registries import Hub, Line, gguf


def instances(cluster, model):
    return [instance for engine in cluster.execute("engine.list")["items"] for instance in engine["instances"]
            if instance["model_id"] == model and instance["status"] == "running"]


class Follower:
    """An `aima` that goes on until it is interrupted; its output as lines."""

    def __init__(self, cluster, *arguments):
        self.process = subprocess.Popen([bin_dir() / "aima", *arguments], env=cluster.environment(), text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines, self.errors = [], []
        self.news = threading.Condition()
        for stream, kept in ((self.process.stdout, self.lines), (self.process.stderr, self.errors)):
            threading.Thread(target=self.keep, args=(stream, kept), daemon=True).start()

    def keep(self, stream, kept):
        for line in stream:
            with self.news:
                kept.append(line.rstrip("\n"))
                self.news.notify_all()

    def wait_for(self, condition, seconds=30):
        with self.news:
            assert self.news.wait_for(condition, seconds), (self.lines[-5:], self.errors[-5:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def test_run_starts_an_engine_and_prints_the_answer_and_nothing_else(cluster, chat_model):
    cluster.cli("stop", chat_model, check=False)
    done = cluster.cli("run", chat_model, "Name three colours.", "--temperature", "0", "--max-tokens", "12", timeout=120)
    running = instances(cluster, chat_model)
    assert len(running) == 1 and is_alive(running[0]["process_id"])
    assert done.stdout.strip() and "%" not in done.stdout, "progress belongs to standard error"
    again = cluster.cli("run", chat_model, "Name three colours.", "--temperature", "0", "--max-tokens", "12")
    assert again.stdout == done.stdout
    assert instances(cluster, chat_model)[0]["process_id"] == running[0]["process_id"], "it was started anew"


def test_what_is_piped_in_follows_the_prompt(cluster, chat_model):
    answer = cluster.cli("run", chat_model, "--temperature", "0", "--max-tokens", "16", "-o", "ndjson",
                         stdin="What is the capital of France? One sentence.\n", timeout=120)
    text = "".join(json.loads(line).get("content", "") for line in answer.stdout.splitlines())
    assert "Paris" in text


def test_ls_shows_what_is_there_and_what_runs(cluster, chat_model):
    cluster.cli("run", chat_model, timeout=120, stdin="")
    rows = {line.split()[0]: line for line in cluster.cli("ls").stdout.splitlines()}
    assert "running" in rows[chat_model] and "llm" in rows[chat_model] and "MB" in rows[chat_model]
    assert chat_model in cluster.cli("ls", "-o", "name").stdout.split()
    assert str(models_dir()) in cluster.cli("ls", "-o", "wide").stdout
    assert cluster.cli("ls", "--type", "embedding", "-o", "name").stdout.split().count(chat_model) == 0


def test_ls_says_when_there_are_more(own_cluster):
    for name in ("first", "second", "third"):
        own_cluster.execute("model.create", {"name": name, "type": "llm"})
    page = own_cluster.cli("ls", "--type", "llm", "--limit", "2")
    assert len(page.stdout.splitlines()) == 3
    assert "These are 2 of 3." in page.stderr
    command = page.stderr.split("The next: ")[1].split()
    assert command[:2] == ["aima", "ls"] and "--type" in command
    rest = own_cluster.cli(*command[1:])
    assert "third" in rest.stdout and "first" not in rest.stdout and rest.stderr == ""


def test_json_is_the_answer_of_the_unit(cluster, chat_model):
    assert json.loads(cluster.cli("ls", "-o", "json").stdout) == cluster.execute("model.list")
    assert json.loads(cluster.cli("show", chat_model, "-o", "json").stdout) == cluster.execute("model.get", {"model_id": chat_model})


def test_ps_shows_an_engine_and_stop_ends_it_but_not_the_cluster(cluster, chat_model):
    cluster.cli("run", chat_model, timeout=120, stdin="")
    pid = instances(cluster, chat_model)[0]["process_id"]
    heading, *rows = cluster.cli("ps").stdout.splitlines()
    row = next(line for line in rows if line.startswith(chat_model))
    assert heading.split()[:8] == ["NAME", "MODEL", "ENGINE", "STATE", "MEMORY", "PORT", "PID", "UPTIME"]
    assert str(pid) in row.split() and "running" in row
    assert json.loads(cluster.cli("stop", chat_model, "-o", "json").stdout) == {"success": True, "instance_id": chat_model}
    assert not is_alive(pid)
    assert chat_model not in cluster.cli("ps", "-o", "name").stdout.split()
    assert cluster.processes()["gateway"]
    assert cluster.cli("stop", chat_model).stdout.strip() == chat_model, "what has stopped is stopped"
    assert cluster.cli("stop", "no-such-engine", check=False).returncode == 3


def imported_copy(cluster, name):
    model = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf"), "name": name, "copy": True})
    return model["model_id"], pathlib.Path(model["model"]["path"])


@pytest.fixture
def own_models(tmp_path):
    """A cluster whose models may be deleted, with an engine."""
    with Cluster() as running:
        running.cli("install", "llamacpp", timeout=300)
        yield running


def test_rm_deletes_the_record_and_the_files_and_asks_when_it_runs(own_models):
    cluster = own_models
    model, file = imported_copy(cluster, "doomed")
    cluster.cli("run", model, timeout=120, stdin="")
    pid = instances(cluster, model)[0]["process_id"]
    refused = cluster.cli("rm", model, check=False, stdin="")
    assert refused.returncode == 1 and "it runs" in refused.stderr and "--force" in refused.stderr
    assert is_alive(pid) and file.exists()
    assert "freed" in cluster.cli("rm", "--force", model, timeout=90).stdout
    assert not is_alive(pid) and not file.exists()
    assert cluster.cli("show", model, check=False).returncode == 3

    pinned, _ = imported_copy(cluster, "kept")
    cluster.execute("model.pin", {"model_id": pinned})
    assert "pinned" in cluster.cli("rm", pinned, check=False, stdin="").stderr
    several = cluster.cli("rm", "-y", pinned, "nothing-here", check=False)
    assert several.returncode == 3 and f"deleted {pinned}" in several.stdout and "nothing-here" in several.stderr


def test_models_go_by_their_names_wherever_they_go_by_their_ids(own_models):
    cluster = own_models
    model, _ = imported_copy(cluster, "Our Own Model")
    assert model == "our-own-model"
    assert json.loads(cluster.cli("show", "Our Own Model", "-o", "json").stdout)["id"] == model
    assert cluster.cli("run", "Our Own Model", "Say hello.", "--max-tokens", "4", timeout=120).stdout.strip()
    assert cluster.cli("stop", "Our Own Model").stdout == f"{model}\n"
    nothing = cluster.cli("cancel", "Our Own Model", "-o", "json", check=False)
    assert nothing.returncode == 0 and json.loads(nothing.stdout)["cancelled"] is False

    assert f"deleted {model}" in cluster.cli("rm", "--force", "Our Own Model").stdout
    assert cluster.cli("show", "Our Own Model", check=False).returncode == 3

    # Files may call themselves alike.
    twins = []
    for seed in (1, 2):
        file = cluster.data_dir / f"twin-{seed}" / "Twin Model.gguf"
        file.parent.mkdir()
        file.write_bytes(gguf(1, seed=seed))
        twins.append(cluster.execute("model.import", {"path": str(file)})["model_id"])
    assert len(set(twins)) == 2
    for words in (["show"], ["rm", "--force"], ["cancel"], ["run"]):
        refused = cluster.cli(*words, "Twin Model", check=False, stdin="")
        assert refused.returncode == 1 and ", ".join(sorted(twins)) in refused.stderr, (words, refused.stderr)


def test_errors_are_json_where_the_output_is(cluster):
    done = cluster.cli("show", "nope", "-o", "json", check=False)
    report = json.loads(done.stderr)
    assert done.stdout == "" and done.returncode == report["exit_status"] == 3
    assert report["error"]["code"] == "MODEL_NOT_FOUND" and report["error"]["details"]["model_id"] == "nope"
    down = cluster.cli("ls", "-o", "json", check=False, AIMA_SERVER="http://127.0.0.1:1")
    assert down.returncode == 5 and json.loads(down.stderr)["error"]["code"] == "UNAVAILABLE"
    usage = cluster.cli("ls", "--typ", "llm", check=False)
    assert usage.returncode == 2 and "--type" in usage.stderr
    denied = cluster.cli("rm", "x", check=False, AIMA_KEY=cluster.new_key("read"))
    assert denied.returncode in (3, 4)


def test_logs_are_shown_followed_and_kept_while_nothing_runs(own_models):
    cluster = own_models
    model, _ = imported_copy(cluster, "loud")
    cluster.cli("run", model, timeout=120, stdin="")
    assert cluster.cli("logs", model, "--tail", "5").stdout.count("\n") == 5
    assert "unit=model.import" in cluster.cli("logs", "gateway", "--since", "10m").stdout
    assert "unit=model.import" not in cluster.cli("logs", "gateway", "--since", "2020-01-01T00:00:00Z", "--tail", "0").stdout
    with Follower(cluster, "logs", "gateway", "-f", "--tail", "0") as follower:
        cluster.wait(lambda: cluster.execute("device.info") and any("unit=device.info" in line for line in follower.lines),
                     what="the call in the log")
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(timeout=20) == 130
    missing = cluster.cli("logs", "gatewy", check=False)
    assert missing.returncode == 3 and "did you mean gateway" in missing.stderr
    cluster.cli("stop", timeout=90)
    assert all(json.loads(line) for line in cluster.cli("logs", "gateway", "-o", "json", "--tail", "3").stdout.splitlines())
    assert "stopped" in cluster.cli("logs", "supervisor").stdout
    everything = [json.loads(line) for line in cluster.cli("logs", "-o", "json", "--since", "1h").stdout.splitlines()]
    assert {"postgres", "supervisor", "gateway"} <= {line["process"] for line in everything}


def test_watch_prints_changes_and_goes_on_after_the_gateway_was_away(own_cluster):
    cluster = own_cluster
    with Follower(cluster, "watch", "asms://models/registry", "-o", "json") as watcher:
        watcher.wait_for(lambda: watcher.lines)
        assert json.loads(watcher.lines[0])["items"] == []
        cluster.execute("model.create", {"name": "first", "type": "llm"})
        watcher.wait_for(lambda: [item["id"] for item in json.loads(watcher.lines[-1])["items"]] == ["first"])
        cluster.kill("gateway")
        watcher.wait_for(lambda: any("waiting" in line for line in watcher.errors))
        cluster.wait(lambda: cluster.execute("model.create", {"name": "second", "type": "llm"}), what="the gateway's return")
        watcher.wait_for(lambda: len(json.loads(watcher.lines[-1])["items"]) == 2)
        watcher.process.send_signal(signal.SIGINT)
        assert watcher.process.wait(timeout=20) == 130
    assert len(watcher.lines) == 3, "a value that did not change was printed again"
    with Follower(cluster, "watch", "model/first") as people:
        people.wait_for(lambda: any("pinned" in line for line in people.lines))
        shown = len(people.lines)
        cluster.execute("model.delete", {"model_id": "first"})
        people.wait_for(lambda: people.process.poll() is not None or len(people.lines) > shown, 30)
    assert cluster.cli("watch", "asms://nothing/here", check=False).returncode == 3


@pytest.fixture(scope="module")
def hub():
    with Hub() as running:
        yield running


@pytest.fixture(scope="module")
def pulling(hub):
    with Cluster(sets_for(hub)) as running:
        yield running


def test_pull_takes_its_source_before_a_colon_and_tells_progress_in_lines(pulling, hub):
    weights = gguf(3, seed="cli")
    hub.publish("acme/Cli-GGUF", {"cli-q4_0.gguf": weights})
    done = pulling.cli("pull", "hf:acme/Cli-GGUF", "-o", "json")
    assert json.loads(done.stdout)["model_id"] == "cli"
    assert "100%" in done.stderr and "\x1b" not in done.stderr and "\r" not in done.stderr
    assert files_of(pulling, "cli")["cli-q4_0.gguf"].read_bytes() == weights
    assert pulling.cli("pull", "huggingface:acme/Nothing", check=False).returncode == 3


def test_a_detached_pull_goes_on_and_can_be_cancelled(pulling, hub):
    hub.publish("acme/Detached-GGUF", {"detached-q4_0.gguf": gguf(24, seed="detached")})
    with Line(hub.cdn_port, slow) as line, through(hub, line):
        done = pulling.cli("pull", "-d", "hf:acme/Detached-GGUF", "-o", "json")
        model = json.loads(done.stdout)["model_id"]
        assert json.loads(done.stdout)["status"] != "ready"
        assert "pulling" in pulling.cli("ls").stdout
        pulling.cli("cancel", model)
        pulls = {pull["model_id"]: pull["status"] for pull in pulling.execute("model.pulls")["items"]}
        assert pulls.get(model, "cancelled") == "cancelled"
        assert "pulling" not in pulling.cli("ls").stdout
        sent = line.sent
        assert pulling.cli("cancel", model, check=False).returncode in (0, 3)
        assert line.sent - sent < 2 * MIB, "it is fetched still"


def test_run_fetches_a_model_that_is_not_here_and_can_be_told_not_to(pulling, hub):
    refused = pulling.cli("run", "--no-pull", "hf:acme/Absent-GGUF", check=False, stdin="")
    assert refused.returncode == 3 and "aima pull" in refused.stderr
    hub.publish("acme/Runs-GGUF", {"runs-q4_0.gguf": gguf(2, seed="runs")})
    done = pulling.cli("run", "hf:acme/Runs-GGUF", check=False, stdin="")
    assert "runs" in pulling.cli("ls", "-o", "name").stdout.split()
    # The weights are noise and no engine is here: it says which one, and how to get it.
    assert done.returncode == 1 and "aima install llamacpp" in done.stderr


def test_every_unit_is_run_without_an_entry_of_its_own(cluster):
    for name in cluster.units():
        assert cluster.cli("exec", name, "--help").returncode == 0
    assert cluster.cli("help", "nonsense", check=False).returncode == 2
