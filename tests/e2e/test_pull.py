"""model.pull through the shipped binaries, from real servers, over lines that fail."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import pty
import signal
import subprocess
import threading

import pytest

from support.cluster import Cluster, Failed, bin_dir, models_dir
from support.pulling import MIB, blobs, files_of, pull, sets_for, slow, through
from support.registries import COMMIT, Hub, Line, Registry, gguf, sha256


@pytest.fixture(scope="module")
def hub():
    with Hub() as running:
        yield running


@pytest.fixture(scope="module")
def registry():
    with Registry() as running:
        yield running


@pytest.fixture(scope="module")
def pulling(hub, registry):
    """A cluster whose sources are the servers of these tests."""
    with Cluster(sets_for(hub, registry)) as running:
        yield running


def test_a_gguf_repository_gives_one_packing_with_its_configuration(pulling, hub):
    weights = {packing: gguf(3, seed=packing) for packing in ("Q4_K_M", "Q8_0")}
    hub.publish("acme/Tiny-GGUF", {"tiny-Q8_0.gguf": weights["Q8_0"], "tiny-Q4_K_M.gguf": weights["Q4_K_M"],
                                   "config.json": b'{"model_type": "llama"}', "README.md": b"---\nlicense: mit\n---\n",
                                   ".gitattributes": b"*.gguf filter=lfs", "setup.py": b"print('no')"})
    done = pull(pulling, "acme/Tiny-GGUF")
    assert done["status"] == "ready"
    assert done["model_id"] == "tiny"
    assert done["revision"] == COMMIT
    model = pulling.execute("model.get", {"model_id": "tiny"})
    assert model["status"] == "ready" and model["source"] == "huggingface" and model["repo"] == "acme/Tiny-GGUF"
    files = files_of(pulling, "tiny")
    assert set(files) == {"tiny-Q4_K_M.gguf", "config.json", "README.md"}
    assert files["tiny-Q4_K_M.gguf"].read_bytes() == weights["Q4_K_M"]
    assert model["path"] == str(files["tiny-Q4_K_M.gguf"])
    assert pulling.execute("model.verify", {"model_id": "tiny"})["issues"] == []

    other = pull(pulling, "acme/Tiny-GGUF:Q8_0")
    assert other["model_id"] == "tiny-q8_0"
    assert files_of(pulling, "tiny-q8_0")["tiny-Q8_0.gguf"].read_bytes() == weights["Q8_0"]


def test_an_ollama_model_comes_with_its_layers(pulling, registry):
    weights = gguf(5, seed="ollama")
    registry.push("library/tinyllama", "1b", [("model", weights), ("template", b"{{ .Prompt }}"), ("params", b'{"stop": ["x"]}'),
                                              ("license", b"MIT")])
    done = pull(pulling, "tinyllama:1b", source="ollama")
    assert done["model_id"] == "tinyllama-1b"
    files = files_of(pulling, "tinyllama-1b")
    assert files["model.gguf"].read_bytes() == weights
    assert files["params.json"].read_bytes() == b'{"stop": ["x"]}'
    assert files["LICENSE"].read_bytes() == b"MIT"
    assert pulling.execute("model.verify", {"model_id": "tinyllama-1b"})["valid"]


def test_modelscope_serves_the_same(pulling, hub):
    weights = gguf(2, seed="modelscope")
    hub.publish_on_modelscope("acme/Scope-GGUF", {"scope-q4_0.gguf": weights, "config.json": b"{}"})
    done = pull(pulling, "acme/Scope-GGUF", source="modelscope")
    assert done["model_id"] == "scope"
    assert files_of(pulling, "scope")["scope-q4_0.gguf"].read_bytes() == weights


def safetensors(megabytes, seed):
    header = json.dumps({"weight": {"dtype": "F32", "shape": [megabytes * MIB // 4], "data_offsets": [0, megabytes * MIB]}})
    noise = gguf(1, seed=seed)[-MIB:]
    return len(header).to_bytes(8, "little") + header.encode() + noise * megabytes


def test_a_safetensors_repository_keeps_configuration_and_tokenizer_and_nothing_that_runs_code(pulling, hub):
    shards = [safetensors(2, seed) for seed in ("one", "two")]
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = json.dumps({"weight_map": {"a": names[0], "b": names[1]}}).encode()
    config = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32}).encode()
    files = {names[0]: shards[0], names[1]: shards[1], "model.safetensors.index.json": index, "config.json": config,
             "tokenizer.json": b"{}", "tokenizer_config.json": b"{}", "pytorch_model.bin": b"\x80" * 100,
             "pytorch_model.bin.index.json": b"{}", "modeling_x.py": b"evil()", "1_Pooling/config.json": b"{}",
             "onnx/model.onnx": b"x", "original/consolidated.00.pth": b"x"}
    hub.publish("acme/Shards", files)
    done = pull(pulling, "acme/Shards")
    got = files_of(pulling, done["model_id"])
    assert set(got) == {*names, "model.safetensors.index.json", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert [got[name].read_bytes() for name in names] == shards
    place = pathlib.Path(pulling.execute("model.get", {"model_id": done["model_id"]})["path"])
    assert (place / "1_Pooling" / "config.json").exists(), "subfolders are kept"


@pytest.mark.parametrize("harm", ["flip", "truncate", "swap", "remove", "extend"])
def test_verification_finds_each_kind_of_harm_and_a_new_pull_mends_it(pulling, hub, harm):
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    files = {name: safetensors(1, harm + name) for name in names}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": names[0], "b": names[1]}}).encode()
    files["config.json"] = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "harm": harm}).encode()
    hub.publish(f"acme/Harm-{harm}", files)
    model_id = pull(pulling, f"acme/Harm-{harm}")["model_id"]
    got = files_of(pulling, model_id)
    assert pulling.execute("model.verify", {"model_id": model_id})["valid"]
    first, second = (got[name] for name in names)
    first.chmod(0o644), second.chmod(0o644)
    if harm == "flip":
        with open(first, "r+b") as file:
            file.seek(700_001)
            byte = file.read(1)[0]
            file.seek(700_001)
            file.write(bytes([byte ^ 4]))
    elif harm == "truncate":
        os.truncate(first, MIB // 2)
    elif harm == "extend":
        with open(first, "ab") as file:
            file.write(b"x")
    elif harm == "remove":
        first.unlink()
    else:
        aside = first.with_name("aside")
        first.rename(aside), second.rename(first), aside.rename(second)
    found = pulling.execute("model.verify", {"model_id": model_id})
    assert not found["valid"]
    assert any(first.name in issue for issue in found["issues"])
    assert pulling.execute("model.get", {"model_id": model_id})["status"] == "error"

    assert pull(pulling, f"acme/Harm-{harm}")["status"] == "ready"
    assert pulling.execute("model.verify", {"model_id": model_id})["issues"] == []
    assert files_of(pulling, model_id)[names[0]].read_bytes() == files[names[0]]


def test_a_broken_line_costs_no_more_than_the_pieces_in_hand(pulling, hub):
    weights = gguf(48, seed="cut")
    hub.publish("acme/Cut-GGUF", {"cut-Q8_0.gguf": weights})
    cuts = 8
    with Line(hub.cdn_port, lambda number, sent: "cut" if number <= cuts and sent > 5 * MIB else "pass") as line:
        with through(hub, line):
            model_id = pull(pulling, "acme/Cut-GGUF")["model_id"]
        assert line.connections > cuts
        assert line.sent < len(weights) + cuts * 5 * MIB, "whole pieces were fetched again"
    assert files_of(pulling, model_id)["cut-Q8_0.gguf"].read_bytes() == weights


def test_a_line_that_stalls_is_replaced(pulling, hub):
    weights = gguf(24, seed="stall")
    hub.publish("acme/Stall-GGUF", {"stall-Q8_0.gguf": weights})
    with Line(hub.cdn_port, lambda number, sent: "stall" if number <= 3 else "pass") as line:
        with through(hub, line):
            model_id = pull(pulling, "acme/Stall-GGUF")["model_id"]
        assert line.connections > 3
    assert files_of(pulling, model_id)["stall-Q8_0.gguf"].read_bytes() == weights


def test_bytes_that_were_changed_on_their_way_are_fetched_anew(pulling, hub):
    weights = gguf(10, seed="once")
    hub.publish("acme/Once-GGUF", {"once-Q8_0.gguf": weights})
    flipped = threading.Event()

    def once(number, sent):
        if sent > MIB and not flipped.is_set():
            flipped.set()
            return "flip"
        return "pass"

    with Line(hub.cdn_port, once) as line:
        with through(hub, line):
            model_id = pull(pulling, "acme/Once-GGUF")["model_id"]
    assert flipped.is_set()
    assert files_of(pulling, model_id)["once-Q8_0.gguf"].read_bytes() == weights


def test_a_line_that_always_changes_bytes_never_gives_a_model(pulling, hub):
    weights = gguf(6, seed="always")
    hub.publish("acme/Always-GGUF", {"always-Q8_0.gguf": weights})
    with Line(hub.cdn_port, lambda number, sent: "flip" if sent > 100_000 else "pass") as line:
        with through(hub, line), pytest.raises(Failed) as failed:
            pull(pulling, "acme/Always-GGUF")
        assert failed.value.code == "MODEL_PULL_CORRUPT"
        assert pulling.execute("model.get", {"model_id": "always"})["status"] == "error"
        assert f"sha256-{sha256(weights)}" not in blobs(pulling)
    assert pull(pulling, "acme/Always-GGUF")["model_id"] == "always", "the same record, once the line is sound"


def test_a_source_that_does_not_know_ranges_is_read_from_the_beginning(pulling, hub):
    weights = gguf(20, seed="whole")
    hub.publish("acme/Whole-GGUF", {"whole-Q8_0.gguf": weights})
    config = hub.directory / "nginx.conf"
    text = config.read_text().replace("max_ranges 1;", "max_ranges 0;")
    hub.process.kill(), hub.process.wait()
    config.write_text(text)
    hub.launch("nginx", "-p", str(hub.directory), "-c", "nginx.conf")
    model_id = pull(pulling, "acme/Whole-GGUF")["model_id"]
    hub.restart()
    assert files_of(pulling, model_id)["whole-Q8_0.gguf"].read_bytes() == weights


@pytest.mark.parametrize("repo, source, code", [
    ("acme/Nothing", "huggingface", "MODEL_REPO_NOT_FOUND"),
    ("nothing:1b", "ollama", "MODEL_REPO_NOT_FOUND"),
    ("acme/Pickled", "huggingface", "MODEL_FORMAT_UNSAFE"),
    ("acme/Empty", "huggingface", "MODEL_FORMAT_UNSUPPORTED"),
    ("acme/Escape-GGUF", "huggingface", "MODEL_SOURCE_UNREACHABLE"),
    ("acme/Undigested-GGUF", "huggingface", "MODEL_SOURCE_UNREACHABLE"),
])
def test_what_cannot_be_pulled_is_told_with_its_reason(pulling, hub, repo, source, code):
    hub.publish("acme/Pickled", {"pytorch_model.bin": b"\x80\x02" * 50, "config.json": b"{}"})
    hub.publish("acme/Empty", {"README.md": b"nothing"})
    hub.publish("acme/Escape-GGUF", {"x.gguf": b"GGUF"}, lie={"x.gguf": {"rfilename": "../../../x.gguf"}})
    hub.publish("acme/Undigested-GGUF", {"x.gguf": b"GGUF"}, lie={"x.gguf": {"blobId": "abc"}})
    with pytest.raises(Failed) as failed:
        pull(pulling, repo, source=source)
    assert failed.value.code == code, failed.value


def models(cluster):
    return [model["id"] for model in cluster.execute("model.list")["items"]]


def test_what_no_source_has_confirmed_is_no_model_afterwards(pulling, hub):
    before = models(pulling)
    for repo, source in (("acme/Mistyped-GGUF", "huggingface"), ("mistyped:1b", "ollama")):
        with pytest.raises(Failed) as failed:
            pull(pulling, repo, source=source)
        assert failed.value.code == "MODEL_REPO_NOT_FOUND"
    with pytest.raises(Failed) as failed:
        pull(pulling, "acme/Unreachable-GGUF", mirror="http://127.0.0.1:1")
    assert failed.value.code == "MODEL_SOURCE_UNREACHABLE"
    assert models(pulling) == before
    assert not {"mistyped", "mistyped-1b", "unreachable"} & {item["model_id"] for item in pulling.execute("model.pulls")["items"]}
    assert told(pulling, "mistyped")[-1]["status"] == "failed", "who waits for it by its events learns of the end"
    hub.publish("acme/Mistyped-GGUF", {"right-Q8_0.gguf": gguf(2, seed="right")})
    assert pull(pulling, "acme/Mistyped-GGUF")["model_id"] == "mistyped", "its id is free"


def test_what_has_been_begun_keeps_its_record_when_its_source_is_away(pulling, hub):
    weights = gguf(6, seed="away")
    hub.publish("acme/Away-GGUF", {"away-Q8_0.gguf": weights})
    with Line(hub.cdn_port, lambda number, sent: "flip" if sent > 100_000 else "pass") as line:
        with through(hub, line), pytest.raises(Failed):
            pull(pulling, "acme/Away-GGUF")
    with pytest.raises(Failed) as failed:
        pull(pulling, "acme/Away-GGUF", mirror="http://127.0.0.1:1")
    assert failed.value.code == "MODEL_SOURCE_UNREACHABLE"
    assert pulling.execute("model.get", {"model_id": "away"})["status"] == "error", "it can be gone on with"
    assert pull(pulling, "acme/Away-GGUF")["model_id"] == "away"


@pytest.mark.parametrize("value, field", [
    ({"repo": "../etc/passwd"}, "repo"), ({"repo": "a/b/c"}, "repo"), ({"repo": "acme/x", "tag": "a b"}, "tag"),
    ({"repo": "acme/x", "mirror": "ftp://x"}, "mirror"), ({"repo": "acme/x", "mirror": "http://a@b/"}, "mirror"),
    ({"repo": "acme/Tiny-GGUF", "quantization": "Q2_K"}, "quantization"), ({"source": "myhub", "repo": "x"}, "source"),
])
def test_bad_input_names_its_field(pulling, value, field):
    with pytest.raises(Failed) as failed:
        pulling.execute("model.pull", {"source": "huggingface", **value})
    assert failed.value.code == "INVALID_INPUT"
    assert [entry["field"] for entry in failed.value.details["fields"]] == [field]


@pytest.mark.parametrize("mirror", ["https://localhost:1/", "http://169.254.169.254", "https://[::1]:9", "http://example.org"])
def test_mirrors_inside_of_the_machine_or_without_tls_are_refused(pulling, mirror):
    with pytest.raises(Failed) as failed:
        pull(pulling, "acme/Inside-GGUF", mirror=mirror)
    assert failed.value.code == "MODEL_MIRROR_REFUSED"


def told(cluster, model_id):
    events = cluster.execute("event.query", {"type": "model.pull_progress", "limit": 1000})["items"]
    return [event["payload"] for event in events if event["payload"]["model_id"] == model_id]


def test_many_who_want_the_same_share_one_download(pulling, hub):
    weights = gguf(24, seed="shared")
    hub.publish("acme/Shared-GGUF", {"shared-Q8_0.gguf": weights})
    hub.publish("acme/Same-GGUF", {"same-Q8_0.gguf": weights})
    with Line(hub.cdn_port, slow) as line:
        with through(hub, line), concurrent.futures.ThreadPoolExecutor(8) as pool:
            wanted = [pool.submit(pull, pulling, f"acme/{name}-GGUF") for name in ("Shared", "Same") * 4]
            ids = {done.result()["model_id"] for done in wanted}
        assert ids == {"shared", "same"}
        assert line.sent < len(weights) + 2 * MIB, "it was fetched more than once"
    files = [files_of(pulling, name)[f"{name}-Q8_0.gguf"] for name in ("shared", "same")]
    assert files[0].stat().st_ino == files[1].stat().st_ino, "they share the bytes on the disk"
    digest = f"sha256-{sha256(weights)}"
    pulling.execute("model.delete", {"model_id": "shared"})
    assert digest in blobs(pulling) and files[1].read_bytes() == weights
    freed = pulling.execute("model.delete", {"model_id": "same"})["freed_bytes"]
    assert freed >= len(weights) and digest not in blobs(pulling)


def test_progress_is_told_and_never_goes_back(pulling, hub):
    weights = gguf(40, seed="told")
    hub.publish("acme/Told-GGUF", {"told-Q8_0.gguf": weights, "config.json": b"{}"})
    with Line(hub.cdn_port, lambda number, sent: "cut" if number == 2 and sent > MIB else 0.02) as line, through(hub, line):
        steps = [data for _, data in pulling.stream("/api/v2/stream", {
            "unit": "model.pull", "input": {"source": "huggingface", "repo": "acme/Told-GGUF"}}) if data != "[DONE]"]
    steps = [step.get("data", step) for step in steps if isinstance(step, dict)]
    steps = [step for step in steps if "phase" in step]
    assert steps[-1]["result"]["status"] == "ready" and steps[-1]["percent"] == 100
    for key in ("percent", "done"):
        values = [step[key] for step in steps]
        assert values == sorted(values), f"{key} went back: {values}"
    arriving = [step for step in steps if step["phase"] == "downloading" and step["speed"] > 0]
    assert arriving, steps
    assert arriving[0]["size"] == len(weights) + 2 and arriving[0]["eta"] > 0
    assert {item["name"] for item in arriving[0]["items"]} == {"told-Q8_0.gguf", "config.json"}

    def events():
        told_events = told(pulling, "told")
        return told_events if told_events and told_events[-1]["status"] == "ready" else None

    happened = pulling.wait(events, what="the last event of the pull")
    assert [event["progress"] for event in happened] == sorted(event["progress"] for event in happened)
    assert {"resolving", "downloading", "verifying", "ready"} <= {event["status"] for event in happened}


def test_a_pull_goes_on_when_its_caller_leaves_and_pulling_again_attaches(pulling, hub):
    weights = gguf(32, seed="left")
    hub.publish("acme/Left-GGUF", {"left-Q8_0.gguf": weights})
    gone = threading.Event()

    def until_gone(number, sent):
        """Each connection gives some bytes, and the others when the caller has gone."""
        if sent > MIB:
            gone.wait(20)
        return "pass"

    with Line(hub.cdn_port, until_gone) as line:
        with through(hub, line):
            aima = subprocess.Popen([bin_dir() / "aima", "exec", "model.pull", "--source", "huggingface", "--repo", "acme/Left-GGUF"],
                                    env=pulling.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            pulling.wait(lambda: pulling.execute("model.get", {"model_id": "left"})["status"] == "pulling", what="the pull")
            pulling.wait(lambda: line.sent > MIB, what="the first bytes")
            aima.send_signal(signal.SIGINT)
            aima.wait(10)
            assert pulling.execute("model.get", {"model_id": "left"})["status"] == "pulling"
            assert pulling.execute("model.pulls")["items"][0]["progress"]["model_id"] == "left"
            gone.set()
            assert pull(pulling, "acme/Left-GGUF")["status"] == "ready"
        assert line.sent < len(weights) + MIB, "it was begun anew"
    assert files_of(pulling, "left")["left-Q8_0.gguf"].read_bytes() == weights


def test_a_cancelled_pull_leaves_nothing_behind(pulling, hub):
    weights = gguf(32, seed="cancelled")
    hub.publish("acme/Cancelled-GGUF", {"cancelled-Q8_0.gguf": weights})
    before = blobs(pulling)
    with Line(hub.cdn_port, slow) as line, through(hub, line), concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pull, pulling, "acme/Cancelled-GGUF")
        pulling.wait(lambda: line.sent > MIB, what="the first bytes")
        assert pulling.execute("model.cancel_pull", {"model_id": "cancelled"})["cancelled"]
        with pytest.raises(Failed) as failed:
            waiting.result()
        assert failed.value.code == "MODEL_PULL_CANCELLED"
    with pytest.raises(Failed) as failed:
        pulling.execute("model.get", {"model_id": "cancelled"})
    assert failed.value.code == "MODEL_NOT_FOUND"
    assert blobs(pulling) == before
    assert pull(pulling, "acme/Cancelled-GGUF")["status"] == "ready"


def test_a_pull_that_is_deleted_ends(pulling, hub):
    hub.publish("acme/Deleted-GGUF", {"deleted-Q8_0.gguf": gguf(32, seed="deleted")})
    before = blobs(pulling)
    with Line(hub.cdn_port, slow) as line, through(hub, line):
        assert pull(pulling, "acme/Deleted-GGUF", detach=True)["status"] != "ready"
        pulling.wait(lambda: line.sent > MIB, what="the first bytes")
        assert pulling.execute("model.delete", {"model_id": "deleted"})["success"]
    with pytest.raises(Failed):
        pulling.execute("model.get", {"model_id": "deleted"})
    assert blobs(pulling) == before


def test_a_name_that_is_pending_gets_the_files(pulling, hub):
    hub.publish("acme/Named-GGUF", {"named-Q8_0.gguf": gguf(2, seed="named")})
    pulling.execute("model.create", {"name": "My own name", "type": "llm"})
    assert pull(pulling, "acme/Named-GGUF", name="My own name")["model_id"] == "my-own-name"
    assert pulling.execute("model.get", {"model_id": "my-own-name"})["status"] == "ready"
    hub.publish("acme/Other-GGUF", {"other-Q8_0.gguf": gguf(2, seed="other")})
    with pytest.raises(Failed) as failed:
        pull(pulling, "acme/Other-GGUF", name="My own name")
    assert failed.value.code == "MODEL_EXISTS"


def test_search_asks_the_registry_and_the_sources(pulling, hub, registry):
    hub.write("api/models-index", "")
    registry.push("library/findable", "latest", [("model", gguf(1, seed="findable"))])
    found = pulling.execute("model.search", {"query": "findable", "source": "ollama"})
    assert [offer["repo"] for offer in found["offers"]] == ["findable"]
    pull(pulling, "findable", source="ollama")
    found = pulling.execute("model.search", {"query": "findable", "source": "ollama"})
    assert [model["id"] for model in found["results"]] == ["findable"]
    everywhere = pulling.execute("model.search", {"query": "findable"})
    assert {problem["source"] for problem in everywhere["problems"]} <= {"huggingface", "modelscope"}
    assert pulling.execute("model.search", {"query": "findable", "source": "local"})["offers"] == []


def test_an_update_at_the_source_replaces_the_files(pulling, registry):
    old, new = gguf(2, seed="old"), gguf(2, seed="new")
    registry.push("library/moving", "latest", [("model", old)])
    assert pull(pulling, "moving", source="ollama")["model_id"] == "moving"
    first = pulling.execute("model.get", {"model_id": "moving"})
    again = pull(pulling, "moving", source="ollama")
    assert again["revision"] == first["revision"]
    assert pulling.execute("model.get", {"model_id": "moving"})["path"] == first["path"], "nothing was to do"
    registry.push("library/moving", "latest", [("model", new)])
    assert pull(pulling, "moving", source="ollama")["revision"] != first["revision"]
    assert files_of(pulling, "moving")["model.gguf"].read_bytes() == new
    assert f"sha256-{sha256(old)}" not in blobs(pulling)


def test_the_command_line_shows_a_bar_and_interrupting_it_loses_nothing(pulling, hub):
    weights = gguf(24, seed="bar")
    hub.publish("acme/Bar-GGUF", {"bar-Q8_0.gguf": weights, "config.json": b"{}"})
    ours, theirs = pty.openpty()
    with Line(hub.cdn_port, slow) as line, through(hub, line):
        aima = subprocess.Popen([bin_dir() / "aima", "exec", "model.pull", "--source", "huggingface", "--repo", "acme/Bar-GGUF"],
                                env=pulling.environment(), stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL)
        os.close(theirs)
        shown = b""
        while b"/s" not in shown or b"bar-Q8_0.gguf" not in shown:
            shown += os.read(ours, 4096)
        aima.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the end of a terminal is an error
            while piece := os.read(ours, 4096):
                shown += piece
        assert aima.wait(10) == 130
        assert b"goes on" in shown and b"MB of 25.2 MB" in shown, shown[-2000:]
        assert pulling.execute("model.get", {"model_id": "bar"})["status"] == "pulling"
        again = pulling.cli("exec", "model.pull", "--source", "huggingface", "--repo", "acme/Bar-GGUF", "-o", "json")
        assert json.loads(again.stdout)["status"] == "ready"
    os.close(ours)


def test_a_pulled_model_answers(pulling, hub):
    """From a repository with two packings to a sentence of a real engine."""
    weights = (models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf").read_bytes()
    hub.publish("acme/SmolLM2-135M-Instruct-GGUF", {"SmolLM2-135M-Instruct.Q4_1.gguf": weights, "SmolLM2-135M-Instruct.F16.gguf": gguf(2)})
    model_id = pull(pulling, "acme/SmolLM2-135M-Instruct-GGUF")["model_id"]
    assert model_id == "smollm2-135m-instruct"
    before = pulling.execute("model.compatibility")["items"]
    fits = {fit["engine"]: fit for item in before if item["model_id"] == model_id for fit in item["engines"]}
    assert not fits["llamacpp"]["runs"] and "engine.install" in fits["llamacpp"]["reason"]
    pulling.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
    matrix = pulling.resource("asms://models/compatibility")["items"]
    fits = {fit["engine"]: fit for item in matrix if item["model_id"] == model_id for fit in item["engines"]}
    assert fits["llamacpp"]["runs"], fits
    answer = pulling.execute("inference.chat", {"model": model_id, "max_tokens": 8, "temperature": 0,
                                                "messages": [{"role": "user", "content": "Say hello."}]}, timeout=120)
    assert answer["usage"]["completion_tokens"] > 0
    assert pulling.execute("model.get", {"model_id": model_id})["size"] == len(weights)
    pulling.wait(lambda: pulling.execute("model.get", {"model_id": model_id}).get("use_time"), what="the time of use")
    with pytest.raises(Failed) as failed:
        pulling.execute("model.delete", {"model_id": model_id})
    assert failed.value.code == "MODEL_IN_USE"
