"""The main job: a real model answers through CLI, gateway, inference and engine."""
import http.client
import json
import math
import time

import pytest

from support.cluster import Failed, is_alive, models_dir

QUESTION = [{"role": "user", "content": "What is the capital of France? One sentence."}]


def chat(cluster, model, **more):
    return cluster.execute("inference.chat", {"model": model, "messages": QUESTION, "max_tokens": 24, "temperature": 0, **more},
                           timeout=120, options={"timeout": "90s"})


def test_a_model_answers_and_its_engine_is_started_on_demand(cluster, chat_model):
    answer = chat(cluster, chat_model)
    assert answer["content"].strip()
    assert answer["finish_reason"] in ("stop", "length")
    assert answer["usage"]["prompt_tokens"] > 10
    assert answer["usage"]["completion_tokens"] > 0
    engine = cluster.execute("engine.get", {"name": "llamacpp"})
    assert engine["models"], "no engine instance runs the model"


def test_the_same_question_at_temperature_zero_has_the_same_answer(cluster, chat_model):
    assert chat(cluster, chat_model)["content"] == chat(cluster, chat_model)["content"]


def test_a_chat_is_streamed_token_by_token_with_its_usage(cluster, chat_model):
    request = {"unit": "inference.chat", "input": {"model": chat_model, "messages": QUESTION, "max_tokens": 24, "temperature": 0}}
    events = list(cluster.stream("/api/v2/stream", request, timeout=120))
    assert events[-1][0] == "done"
    chunks = [data for event, data in events if event == "data"]
    assert len(chunks) > 3
    text = "".join(chunk.get("content", "") for chunk in chunks)
    assert text == chat(cluster, chat_model)["content"]
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert not [chunk for chunk in chunks if "tool_calls" in chunk], "a piece tells only what it brings"


def test_a_chat_is_asked_once_for_one_idempotency_key(cluster, chat_model):
    assert cluster.units()["inference.chat"]["idempotent"] is False, "a caller may not repeat it unasked"
    request = {"temperature": 1, "max_tokens": 24, "idempotency_key": f"chat-{time.time_ns()}"}
    first = chat(cluster, chat_model, **request)
    assert chat(cluster, chat_model, **request) == first


def test_the_command_line_asks_a_question(cluster, chat_model):
    done = cluster.cli("exec", "inference.chat", "--model", chat_model, "--message", "Say hello.", "--max-tokens", "8",
                       "-o", "json", timeout=120)
    assert json.loads(done.stdout)["content"]


def test_the_terminal_shows_the_streamed_answer(cluster, chat_model):
    done = cluster.cli("chat", chat_model, "--temperature", "0", "--max-tokens", "24", QUESTION[0]["content"], timeout=120)
    assert done.stdout.strip() == chat(cluster, chat_model)["content"].strip()


def test_embeddings_put_related_sentences_close(cluster, embedding_model):
    sentences = ["A man is playing a guitar.", "Someone plays a musical instrument.", "The bank raised its interest rate."]
    answer = cluster.execute("inference.embed", {"model": embedding_model, "input": sentences}, timeout=120)
    vectors = [item.get("values", item.get("embedding")) if isinstance(item, dict) else item for item in answer["embeddings"]]
    assert len(vectors) == 3 and len(vectors[0]) == 384

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    assert cosine(vectors[0], vectors[1]) > 0.5 > cosine(vectors[0], vectors[2])
    assert answer["usage"]["prompt_tokens"] > 0


def test_an_unknown_model_is_named(cluster, chat_model):
    with pytest.raises(Failed) as failed:
        chat(cluster, "no-such-model")
    assert failed.value.status == 404
    assert "no-such-model" in failed.value.message


def test_a_chat_model_makes_no_embeddings(cluster, chat_model):
    with pytest.raises(Failed) as failed:
        cluster.execute("inference.embed", {"model": chat_model, "input": ["x"]})
    assert failed.value.status in (400, 409)


def test_the_models_are_listed_and_addressable(cluster, chat_model):
    chat(cluster, chat_model)
    listed = {model.get("id") or model.get("model_id"): model for model in cluster.execute("inference.models")["models"]}
    assert chat_model in listed
    assert cluster.resource("asms://inference/models")["models"]


def test_requests_are_told_as_events(cluster, chat_model):
    latest = cluster.execute("event.query", {"limit": 1})["latest"]
    chat(cluster, chat_model)

    def told():
        types = [event["type"] for event in cluster.execute("event.query", {"domain": "inference", "after": latest})["items"]]
        return "inference.request_started" in types and "inference.request_completed" in types

    cluster.wait(told, what="the events of a request")


def test_the_openai_surface_answers_and_streams(cluster, chat_model):
    request = {"model": chat_model, "messages": QUESTION, "max_tokens": 16, "temperature": 0}
    answer = cluster.http("POST", "/v1/chat/completions", request, timeout=120)
    assert answer.status == 200, answer.body
    whole = answer.json()
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"]["content"]
    assert whole["usage"]["total_tokens"] > 0
    pieces = [data for _, data in cluster.stream("/v1/chat/completions", {**request, "stream": True}, timeout=120)]
    assert pieces[-1] == "[DONE]"
    text = "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces[:-1] if piece["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    models = cluster.http("GET", "/v1/models").json()
    assert chat_model in [model["id"] for model in models["data"]]
    wrong = cluster.http("POST", "/v1/chat/completions", {**request, "model": "nope"})
    assert wrong.status == 404
    assert "nope" in wrong.json()["error"]["message"]


def test_a_client_that_leaves_ends_its_request(cluster, chat_model):
    chat(cluster, chat_model)
    cluster.wait(lambda: not unfinished(cluster), what="the end of earlier requests")
    latest = cluster.execute("event.query", {"limit": 1})["latest"]
    request = {"unit": "inference.chat",
               "input": {"model": chat_model, "messages": QUESTION, "max_tokens": 4000,
                         "engine_options": {"ignore_eos": True}}}  # the model may not end it by itself
    stream = cluster.stream("/api/v2/stream", request, timeout=60)
    next(stream)
    stream.close()

    def failed():
        told = cluster.execute("event.query", {"type": "inference.request_failed", "after": latest})["items"]
        return len(told) == 1

    cluster.wait(failed, what="the end of the abandoned request")
    assert chat(cluster, chat_model, max_tokens=1)["usage"]["completion_tokens"] == 1


def unfinished(cluster):
    """Ids of requests that began and of whose end nothing is told yet."""
    events = cluster.execute("event.query", {"domain": "inference", "limit": 1000})["items"]
    ids = {kind: {event["payload"]["request_id"] for event in events if event["type"] == f"inference.request_{kind}"}
           for kind in ("started", "completed", "failed")}
    return ids["started"] - ids["completed"] - ids["failed"]


def test_a_hundred_streams_one_after_the_other_all_succeed(cluster, chat_model):
    request = {"model": chat_model, "messages": QUESTION, "max_tokens": 2, "temperature": 0, "stream": True}
    for _ in range(100):
        assert list(cluster.stream("/v1/chat/completions", request, timeout=60))[-1][1] == "[DONE]"


def test_stopping_an_engine_ends_its_process_and_frees_its_slot(own_cluster):
    cluster = own_cluster
    cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
    model = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf")})["model_id"]
    started = cluster.execute("engine.start", {"model_id": model}, options={"timeout": "60s"}, timeout=90)
    pid = int(started["process_id"])
    assert is_alive(pid)
    assert len(cluster.execute("resource.allocations")["allocations"]) == 1
    cluster.execute("engine.stop", {"name": started["instance_id"]}, timeout=60)
    assert not is_alive(pid)
    assert cluster.execute("resource.allocations")["allocations"] == []


def test_an_engine_that_cannot_load_its_model_says_why(cluster, chat_model, tmp_path):
    whole = (models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf").read_bytes()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Failed) as failed:
        cluster.execute("model.import", {"path": str(broken)})
    assert failed.value.code == "MODEL_FILE_CORRUPT"
    # A file that breaks after it was imported is found by the engine, which says so with its log.
    later = tmp_path / "later.gguf"
    later.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # a model of its own: the same bytes are the same model
    model = cluster.execute("model.import", {"path": str(later), "name": "later-broken"})["model_id"]
    later.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Failed) as failed:
        cluster.execute("engine.start", {"model_id": model}, options={"timeout": "60s"}, timeout=90)
    assert failed.value.code == "ENGINE_START_FAILED"
    assert failed.value.details.get("log_tail")
    cluster.execute("model.delete", {"model_id": model, "force": True})


def test_a_thousand_streams_in_a_row_all_end_well(cluster, chat_model):
    # llama.cpp's server closes each connection after a stream although it announces to keep it.
    body = json.dumps({"model": chat_model, "max_tokens": 1, "temperature": 0, "stream": True,
                       "messages": [{"role": "user", "content": "Hi"}]})
    connection = http.client.HTTPConnection("127.0.0.1", cluster.http_port, timeout=60)
    failed = []
    for number in range(1000):
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200 or not answer.endswith(b"data: [DONE]\n\n"):
            failed.append((number, response.status, answer[-300:]))
    connection.close()
    assert not failed
