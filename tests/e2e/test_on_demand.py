"""Models that are loaded when they are needed, on a machine whose memory is enough for one at a time."""
import concurrent.futures
import threading
import time

import pytest

from support.cluster import Cluster, Failed, models_dir
from support.marked import marked_processes

# Enough for the chat model or the embedding model, not for both.
ROOM = 300_000_000


def budget(room):
    """Settings by which inference engines get so many bytes, whatever the machine has."""
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    to_give = total - min(10240 << 20, total // 4)
    return {"resource.inference_pool_pct": "0", "resource.container_pool_pct": f"{1 - room / to_give:.12f}"}


@pytest.fixture(scope="module")
def small():
    """A cluster with both models, `chat_id` and `embedding_id`."""
    with Cluster({**budget(ROOM), "engine.idle_timeout": "10m"}) as cluster:
        cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
        files = {"chat_id": "SmolLM2-135M-Instruct.Q4_1.gguf", "embedding_id": "all-MiniLM-L6-v2.Q8_0.gguf"}
        for name, file in files.items():
            setattr(cluster, name, cluster.execute("model.import", {"path": str(models_dir() / file)})["model_id"])
        needs = [int(cluster.execute("model.estimate_resources", {"model_id": model, "parallel": 2})["memory_recommended"])
                 for model in (cluster.chat_id, cluster.embedding_id)]
        assert max(needs) < ROOM < sum(needs), f"the test needs another ROOM: {needs}"
        yield cluster


@pytest.fixture(autouse=True)
def nothing_runs(request):
    cluster = request.getfixturevalue("small")
    yield
    for model in (cluster.chat_id, cluster.embedding_id):
        try:
            before, ran = cluster.wait(lambda: (latest(cluster), model in running(cluster)), what="the engine service")
            cluster.wait(lambda: cluster.execute("engine.stop", {"name": model}, timeout=60), what="the stop")
            if ran:  # events come a moment later, and the next test looks at those from its own beginning on
                cluster.wait(lambda: events(cluster, "engine.stopped", before), what="the event of the stop")
        except AssertionError:
            pass
    assert marked_processes(cluster) == []
    assert cluster.execute("resource.allocations")["allocations"] == []


def chat(cluster, timeout=120, **more):
    request = {"model": cluster.chat_id, "message": "Say hello.", "max_tokens": 4, **more}
    return cluster.execute("inference.chat", request, options={"timeout": f"{timeout}s"}, timeout=timeout + 30)


def embed(cluster, timeout=120):
    return cluster.execute("inference.embed", {"model": cluster.embedding_id, "input": ["A sentence."]},
                           options={"timeout": f"{timeout}s"}, timeout=timeout + 30)


def events(cluster, type, after=0):
    return cluster.execute("event.query", {"type": type, "after": after, "limit": 1000})["items"]


def latest(cluster):
    return cluster.execute("event.query", {"limit": 1})["latest"]


def running(cluster):
    engine = cluster.execute("engine.get", {"name": "llamacpp"})
    return {one["instance_id"]: one for one in engine["instances"] if one["status"] == "running"}


def test_forty_interleaved_requests_for_two_models_cost_few_loads(small):
    before = latest(small)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(chat if number % 2 == 0 else embed, small) for number in range(40)]
        answers = [one.result() for one in asked]
    assert all(answer["content"] for answer in answers[::2])
    assert all(len(answer["embeddings"]) == 1 for answer in answers[1::2])
    small.wait(lambda: events(small, "engine.started", before), what="the events")
    started = [event["payload"]["model_id"] for event in events(small, "engine.started", before)]
    print(f"40 requests: {len(started)} loads, {started}")
    assert set(started) == {small.chat_id, small.embedding_id}
    assert len(started) <= 4
    reasons = {event["payload"]["reason"] for event in events(small, "engine.stopped", before)}
    assert reasons == {"room"}
    assert events(small, "engine.error", before) == [], "finding no memory for a moment is no failure"


def test_a_stream_is_never_cut_off_for_another_model(small):
    tokens = 200
    stream = small.stream("/v1/chat/completions", {
        "model": small.chat_id, "stream": True, "max_tokens": tokens, "ignore_eos": True,
        "messages": [{"role": "user", "content": "Count."}], "stream_options": {"include_usage": True}}, timeout=120)
    pieces = [next(stream)[1]]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(embed, small)
        pieces += [piece for _, piece in stream]
        assert other.result()["embeddings"]
    usage = [piece["usage"] for piece in pieces[:-1] if piece.get("usage")][-1]
    assert usage["completion_tokens"] == tokens
    assert set(running(small)) == {small.embedding_id}


def test_who_finds_no_memory_learns_who_holds_it(small):
    stream = small.stream("/v1/chat/completions", {
        "model": small.chat_id, "stream": True, "max_tokens": 3000, "ignore_eos": True,
        "messages": [{"role": "user", "content": "Count."}]}, timeout=120)
    next(stream)
    with pytest.raises(Failed) as failed:
        embed(small, timeout=3)
    assert failed.value.code == "INFERENCE_NO_ROOM"
    assert f"'{small.chat_id}'" in failed.value.message and "requests in hand" in failed.value.message
    stream.close()
    assert embed(small)["embeddings"]


def test_what_somebody_pinned_stays(small):
    before = latest(small)
    started = small.execute("engine.start", {"model_id": small.chat_id, "pinned": True}, options={"timeout": "60s"}, timeout=90)
    with pytest.raises(Failed) as failed:
        embed(small, timeout=20)
    assert failed.value.code == "INFERENCE_NO_ROOM"
    assert "pinned" in failed.value.message
    now = running(small)[small.chat_id]
    assert now["pinned"] and now["process_id"] == started["process_id"]
    # From now on it may go.
    small.execute("engine.start", {"model_id": small.chat_id, "idle_timeout": "500ms"}, options={"timeout": "60s"}, timeout=90)
    small.wait(lambda: events(small, "engine.stopped", before), what="the end of an idle engine")
    assert [event["payload"]["reason"] for event in events(small, "engine.stopped", before)] == ["idle"]
    assert running(small) == {}
    assert embed(small)["embeddings"]


def test_who_starts_an_engine_learns_who_could_make_room_and_may_have_it_made(small):
    before = latest(small)
    embed(small)
    start = {"model_id": small.chat_id, "config": {"parallel": 2}}
    with pytest.raises(Failed) as failed:
        small.execute("engine.start", start, options={"timeout": "60s"}, timeout=90)
    assert failed.value.code == "RESOURCE_INSUFFICIENT"
    held = running(small)[small.embedding_id]["memory_bytes"]
    assert f"'{small.embedding_id}' ({held} bytes); evict_idle" in failed.value.message
    assert set(running(small)) == {small.embedding_id}, "it was only asked"
    small.execute("engine.start", {**start, "evict_idle": True}, options={"timeout": "60s"}, timeout=90)
    assert set(running(small)) == {small.chat_id}
    small.wait(lambda: events(small, "engine.stopped", before), what="the events")
    assert [event["payload"]["reason"] for event in events(small, "engine.stopped", before)] == ["room"]
    # What somebody has started stays, whoever asks for room.
    with pytest.raises(Failed) as failed:
        small.execute("engine.start", {"model_id": small.embedding_id, "evict_idle": True}, options={"timeout": "60s"}, timeout=90)
    assert "no engine that is idle" in failed.value.message
    assert set(running(small)) == {small.chat_id}


def test_ollamas_clients_say_how_a_model_is_loaded(small):
    def ask(context):
        body = {"model": small.chat_id, "stream": False, "options": {"num_ctx": context, "num_predict": 4},
                "messages": [{"role": "user", "content": "Say hello."}]}
        answer = small.http("POST", "/api/chat", body, timeout=120)
        assert answer.status == 200 and answer.json()["message"]["content"], answer.body
        return running(small)[small.chat_id]["config"]

    embed(small)  # which makes room
    config = ask(768)
    assert (config["context_length"], config["parallel"]) == (768, 1)
    assert running(small)[small.chat_id]["on_demand"]
    before = latest(small)
    assert ask(512)["context_length"] == 768, "what has more context serves"
    assert ask(2048)["context_length"] == 2048, "what has less is loaded again"
    small.wait(lambda: events(small, "engine.stopped", before), what="the event of the stop")
    assert [event["payload"]["reason"] for event in events(small, "engine.stopped", before)] == ["reload"]
    assert small.http("GET", "/api/ps").json()["models"][0]["context_length"] == 2048

    def in_flight():
        return sum(model["in_flight"] for model in small.execute("inference.models")["models"])

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        long = pool.submit(chat, small, max_tokens=200, engine_options={"ignore_eos": True})
        small.wait(lambda: in_flight() == 1, what="a request in hand")
        assert ask(4096)["context_length"] == 2048, "nobody's answer is cut off"
        assert long.result()["usage"]["completion_tokens"] == 200
    assert ask(4096)["context_length"] == 4096


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.4])
def test_the_engine_service_may_be_killed_in_the_middle_of_an_eviction(small, delay):
    chat(small)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(embed, small)
        time.sleep(delay)  # somewhere in the middle: every moment must do
        old = small.kill("engine")
        assert asked.result()["embeddings"], "whoever waits is served when the service is back"
    small.wait(lambda: small.processes()["engine"] not in (None, old), what="the return of the engine service")
    small.wait(lambda: set(running(small)) == {small.embedding_id}, what="one engine")
    assert len(marked_processes(small)) == 2, "its shim and itself"
    small.wait(lambda: len(small.execute("resource.allocations")["allocations"]) == 1, what="one slot")


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.5])
def test_the_inference_service_may_be_killed_in_the_middle_of_an_eviction(small, delay):
    chat(small)

    def ask():
        try:
            embed(small)
        except (Failed, OSError):
            pass  # its answer died with the service

    asked = threading.Thread(target=ask)
    asked.start()
    time.sleep(delay)
    old = small.kill("inference")
    asked.join()
    small.wait(lambda: small.processes()["inference"] not in (None, old), what="the return of inference")
    small.wait(lambda: embed(small)["embeddings"], seconds=60, what="the next answer")
    small.wait(lambda: set(running(small)) == {small.embedding_id}, what="one engine")
    assert len(marked_processes(small)) == 2
    assert len(small.execute("resource.allocations")["allocations"]) == 1


def test_a_model_that_cannot_be_loaded_is_not_started_in_a_storm(small, tmp_path):
    whole = (models_dir() / "all-MiniLM-L6-v2.Q8_0.gguf").read_bytes()
    path = tmp_path / "broken.gguf"
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    model = small.execute("model.import", {"path": str(path), "name": "broken"})["model_id"]
    path.write_bytes(whole[: len(whole) // 2])
    before = latest(small)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        def ask(_):
            with pytest.raises(Failed) as failed:
                small.execute("inference.embed", {"model": model, "input": ["x"]}, options={"timeout": "60s"}, timeout=90)
            return failed.value.code
        assert set(pool.map(ask, range(60))) == {"ENGINE_START_FAILED"}
    small.execute("model.delete", {"model_id": model, "force": True})
    failures = [event for event in events(small, "engine.error", before) if event["payload"]["model_id"] == model]
    print(f"60 requests for a broken model: {len(failures)} starts")
    assert 1 <= len(failures) <= 3
