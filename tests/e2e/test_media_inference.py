"""Speech, pictures and ranks through the units and /v1, answered by real engines with real weights."""
import base64
import io
import json
import socket
import shutil
import struct
import wave

import pytest

from support.cluster import Failed
from support.media import SENTENCE, form, long_recording, photograph, words

MEDIA = ["hibari", "faster-whisper", "centernet", "terrain"]


@pytest.fixture(scope="module")
def media(engines):
    engines.install(*MEDIA)
    return engines.cluster


def ask(cluster, unit, **value):
    return cluster.execute(f"inference.{unit}", value, options={"timeout": "120s"}, timeout=150)


def spoken(cluster, text=SENTENCE, **more):
    answer = ask(cluster, "synthesize", model="hibari", text=text, **more)
    return {**answer, "audio": base64.b64decode(answer["audio"])}


def heard(cluster, audio, **more):
    return ask(cluster, "transcribe", model="whisper-tiny.en", audio=base64.b64encode(audio).decode(), **more)


# Speech.

def test_what_is_said_is_understood(media):
    said = spoken(media)
    assert (said["format"], said["sample_rate"], said["model"]) == ("wav", 24000, "hibari")
    with wave.open(io.BytesIO(said["audio"])) as file:
        assert said["duration"] == pytest.approx(file.getnframes() / file.getframerate(), abs=0.01)
    understood = heard(media, said["audio"], language="en")
    assert words(understood["text"]) == words(SENTENCE)
    assert understood["language"] == "en"
    assert understood["duration"] == pytest.approx(said["duration"], abs=0.1)
    assert words(" ".join(part["text"] for part in understood["segments"])) == words(SENTENCE)
    assert 0 <= understood["segments"][0]["start"] < understood["segments"][-1]["end"]


@pytest.mark.parametrize("form_of_sound, beginning", [("mp3", (b"ID3", b"\xff\xf3", b"\xff\xfb")), ("opus", (b"OggS",)),
                                                      ("flac", (b"fLaC",))])
def test_ffmpeg_writes_other_formats_which_are_understood_too(media, form_of_sound, beginning):
    said = spoken(media, format=form_of_sound)
    assert said["format"] == form_of_sound
    assert said["audio"].startswith(beginning)
    assert len(said["audio"]) < len(spoken(media)["audio"])
    assert words(heard(media, said["audio"])["text"]) == words(SENTENCE)


def test_without_ffmpeg_the_answer_says_so_and_wav_goes_on(media, engines):
    hidden = engines.programs / "ffmpeg"
    kept = hidden.readlink()
    hidden.unlink()
    try:
        if shutil.which("ffmpeg"):
            pytest.skip("this machine has an ffmpeg that cannot be hidden")
        with pytest.raises(Failed) as failed:
            spoken(media, format="mp3")
        assert failed.value.code == "INFERENCE_FORMAT_UNAVAILABLE"
        assert "apt-get install ffmpeg" in failed.value.message
        assert spoken(media)["format"] == "wav"
    finally:
        hidden.symlink_to(kept)


def test_a_recording_comes_in_pieces_as_it_is_made(media):
    text = "This is the first sentence. And this is the second one. Here is the third and last of them."
    request = {"unit": "inference.synthesize", "input": {"model": "hibari", "text": text, "format": "pcm"}}
    events = [data for event, data in media.stream("/api/v2/stream", request, timeout=120) if event == "data"]
    pieces, last = events[:-1], events[-1]
    assert len(pieces) > 2
    size = sum(len(base64.b64decode(piece["audio"])) for piece in pieces)
    assert (last["format"], last["sample_rate"]) == ("pcm", 24000)
    assert last["duration"] == pytest.approx(size / 2 / 24000, abs=0.01)


def test_speed_and_voices_are_those_that_the_engine_has(media):
    assert spoken(media, speed=2)["duration"] < 0.7 * spoken(media)["duration"]
    voices = media.execute("inference.voices", {"model": "hibari"})["voices"]
    assert [(voice["id"], voice["available"]) for voice in voices] == [("hibari", True)]
    for voice in [voices[0]["id"], "alloy"]:  # OpenAI's clients must name one of OpenAI's
        assert spoken(media, voice=voice)["audio"] == spoken(media)["audio"]
    with pytest.raises(Failed) as failed:
        spoken(media, voice="bob")
    assert failed.value.code == "INFERENCE_REQUEST_REFUSED"
    assert "hibari" in failed.value.message


def test_what_is_no_recording_or_no_picture_is_refused_as_such(media):
    noise = base64.b64encode(b"no file of any kind").decode()
    for unit, model, field in [("transcribe", "whisper-tiny.en", "audio"), ("detect", "centernet-coco", "image")]:
        with pytest.raises(Failed) as failed:
            ask(media, unit, **{"model": model, field: noise})
        assert (failed.value.code, failed.value.status) == ("INFERENCE_MEDIA_UNREADABLE", 400)
    with pytest.raises(Failed) as failed:
        ask(media, "detect", model="centernet-coco", image="this is not base64!")
    assert failed.value.code == "INVALID_INPUT"


def test_a_file_larger_than_accepted_is_refused(media):
    body = json.dumps({"unit": "inference.transcribe",
                       "input": {"model": "whisper-tiny.en", "audio": "A" * 11_000_000}})
    answer = media.http("POST", "/api/v2/execute", body, headers={"Content-Type": "application/json"})
    assert answer.status == 413
    assert answer.json()["error"]["code"] == "TOO_LARGE"


def test_a_small_file_that_holds_hours_is_refused_before_it_fills_the_memory(media):
    silence = long_recording(b"", minutes=61)
    with pytest.raises(Failed) as failed:
        ask(media, "transcribe", model="whisper-tiny.en", audio=base64.b64encode(silence).decode())
    assert failed.value.code == "TOO_LARGE"
    assert "60 minutes" in failed.value.message


def test_a_caller_that_leaves_ends_the_work(media, engines):
    sound = long_recording(spoken(media)["audio"], minutes=8)
    body, content_type = form({"model": "whisper-tiny.en"}, sound)
    before = engines.log("faster-whisper").count("the client has left")
    caller = socket.create_connection(("127.0.0.1", media.http_port))
    caller.sendall(f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def in_flight():
        listed = media.execute("inference.models", {"type": "asr"})["models"]
        return next(model["in_flight"] for model in listed if model["id"] == "whisper-tiny.en")

    media.wait(lambda: in_flight() == 1, what="the engine's work")
    caller.close()
    media.wait(lambda: in_flight() == 0, what="the place in the engine")
    media.wait(lambda: engines.log("faster-whisper").count("the client has left") > before, what="the end of the work")
    assert words(heard(media, spoken(media)["audio"])["text"]) == words(SENTENCE)


# Pictures.

def test_the_detector_finds_what_is_in_a_photograph(media):
    picture = base64.b64encode(photograph("coffee.png")).decode()
    found = ask(media, "detect", model="centernet-coco", image=picture)
    assert (found["width"], found["height"]) == (600, 400)
    surest = found["detections"][0]
    assert surest["label"] == "cup"
    edges = [surest["box"][edge] for edge in ("left", "top", "right", "bottom")]
    assert all(abs(value - wanted) < 20 for value, wanted in zip(edges, [168, 9, 414, 268])), surest
    assert all(one["score"] >= 0.05 for one in found["detections"])
    more = ask(media, "detect", model="centernet-coco", image=picture, min_score=0.05)["detections"]
    assert len(more) > len(found["detections"])
    assert len(ask(media, "detect", model="centernet-coco", image=picture, min_score=0.05, max_results=1)["detections"]) == 1


def test_a_landscape_is_drawn_and_the_answer_says_what_was_read_of_the_prompt(media):
    drawn = ask(media, "generate_image", model="terrain", prompt="a rugged mountain island", size="128x96", n=2)
    assert drawn["format"] == "png" and len(drawn["images"]) == 2
    pictures = [base64.b64decode(image) for image in drawn["images"]]
    assert [struct.unpack(">II", picture[16:24]) for picture in pictures] == [(128, 96), (128, 96)]
    assert pictures[0] != pictures[1]
    assert all("landscapes only" in text for text in drawn["revised_prompts"])
    again = ask(media, "generate_image", model="terrain", prompt="a rugged mountain island", size="128x96")
    assert again["images"][0] == drawn["images"][0]


def test_what_the_model_cannot_do_is_refused(media):
    for field in [{"steps": 20}, {"size": "100x100"}, {"negative_prompt": "trees"}]:
        with pytest.raises(Failed) as failed:
            ask(media, "generate_image", model="terrain", prompt="hills", **field)
        assert failed.value.code == "INFERENCE_REQUEST_REFUSED", field


def test_for_videos_the_answer_names_what_to_install(media):
    with pytest.raises(Failed) as failed:
        ask(media, "generate_video", model="wan2.1-t2v-1.3b", prompt="Waves on a beach.")
    assert failed.value.code == "INFERENCE_NO_ENGINE"
    assert "SGLang Diffusion" in failed.value.message
    with pytest.raises(Failed) as failed:
        media.execute("engine.install", {"name": "sglang-diffusion"})
    assert failed.value.code == "ENGINE_INSTALL_BY_HAND"
    assert "sglang[diffusion]" in failed.value.message


# Ranks.

PANDA = ["The bank is closed on Sundays.", "pandas is a library for tables in Python.",
         "The giant panda is a bear that lives in China.", "It is a bear."]


def test_documents_are_ordered_by_the_angle_of_their_vectors(cluster, embedding_model):
    ranked = cluster.execute("inference.rerank", {"model": embedding_model, "query": "What is a panda?", "documents": PANDA,
                                                  "top_n": 2, "return_documents": True}, timeout=120)
    assert ranked["method"] == "embedding-cosine"
    assert [result["index"] for result in ranked["results"]] == [2, 1]
    assert ranked["results"][0]["document"] == PANDA[2]
    assert 1 > ranked["results"][0]["relevance_score"] > ranked["results"][1]["relevance_score"] > 0
    assert ranked["usage"]["prompt_tokens"] > 10


def test_a_model_that_writes_text_does_not_rank(cluster, chat_model):
    with pytest.raises(Failed) as failed:
        cluster.execute("inference.rerank", {"model": chat_model, "query": "What is a panda?", "documents": PANDA})
    assert failed.value.code == "INFERENCE_WRONG_MODEL_TYPE"


def test_v1_ranks_in_the_form_that_others_have(cluster, embedding_model):
    answer = cluster.http("POST", "/v1/rerank", {"model": embedding_model, "query": "What is a panda?",
                                                 "documents": [{"text": text} for text in PANDA]}, timeout=120).json()
    assert answer["method"] == "embedding-cosine"
    assert [result["index"] for result in answer["results"]][0] == 2
    refused = cluster.http("POST", "/v1/rerank", {"model": embedding_model, "query": "x", "documents": []})
    assert refused.status == 400
    assert refused.json()["error"]["param"] == "documents"


# Models that come with engines.

def test_models_that_come_with_engines_are_listed_like_others(media):
    listed = {model["id"]: model for model in media.execute("inference.models")["models"]}
    types = {"hibari": "tts", "whisper-tiny.en": "asr", "centernet-coco": "detection", "terrain": "image"}
    assert {name: listed[name]["type"] for name in types} == types
    assert "80 classes" in listed["centernet-coco"]["description"]
    assert {model["id"] for model in media.http("GET", "/v1/models").json()["data"]} == set(listed)
    assert {model["id"] for model in media.resource("asms://inference/models")["models"]} == set(listed)
    assert [model["id"] for model in media.execute("inference.models", {"type": "asr"})["models"]] == ["whisper-tiny.en"]


def test_an_engine_that_was_stopped_is_started_when_its_model_is_asked(media, engines):
    media.execute("engine.stop", {"name": "hibari"}, timeout=60)
    assert engines.running("hibari") is None
    assert spoken(media)["duration"] > 1
    assert engines.running("hibari")


def test_without_the_engine_the_answer_has_the_command_that_installs_it(cluster):
    for unit, value in [("synthesize", {"model": "hibari", "text": "Hello."}),
                        ("detect", {"model": "centernet-coco", "image": "AAAA"})]:
        with pytest.raises(Failed) as failed:
            ask(cluster, unit, **value)
        assert failed.value.code == "INFERENCE_ENGINE_NOT_INSTALLED"
        assert f"aima exec engine.install --name {failed.value.details['engine']}" in failed.value.message
    assert "hibari" not in {model["id"] for model in cluster.execute("inference.models")["models"]}
    assert not any(voice["available"] for voice in cluster.execute("inference.voices")["voices"])


def test_a_model_of_another_type_is_refused(media):
    with pytest.raises(Failed) as failed:
        ask(media, "synthesize", model="whisper-tiny.en", text="Hello.")
    assert failed.value.code == "INFERENCE_WRONG_MODEL_TYPE"
    assert "tts" in failed.value.message
    answer = media.http("POST", "/v1/audio/speech", {"model": "centernet-coco", "input": "Hello."})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "inference_wrong_model_type")


def test_each_example_of_these_units_gets_an_answer(media):
    units = media.units()
    for name in ["transcribe", "synthesize", "generate_image", "detect", "voices"]:
        for example in units[f"inference.{name}"]["examples"]:
            assert media.execute(f"inference.{name}", example["input"], timeout=120), (name, example["title"])


def test_events_tell_of_these_requests(media):
    after = media.execute("event.query", {"limit": 1})["latest"]
    heard(media, spoken(media)["audio"])

    def told():
        events = media.execute("event.query", {"type": "inference.request_completed", "after": after})["items"]
        # Events of requests before these may still be on their way.
        return [event["payload"]["type"] for event in events][-2:] == ["synthesize", "transcribe"]

    media.wait(told, what="events of both requests")


# /v1.

def test_v1_says_and_understands_with_bytes_as_they_are(media):
    said = media.http("POST", "/v1/audio/speech", {"model": "hibari", "input": SENTENCE, "voice": "alloy", "response_format": "wav"},
                      timeout=120)
    assert (said.status, said.headers["content-type"]) == (200, "audio/wav")
    assert said.body == spoken(media)["audio"]
    body, content_type = form({"model": "whisper-tiny.en", "response_format": "text"}, said.body)
    understood = media.http("POST", "/v1/audio/transcriptions", body, headers={"Content-Type": content_type}, timeout=120)
    assert understood.headers["content-type"].startswith("text/plain")
    assert words(understood.body.decode()) == words(SENTENCE)


def test_v1_answers_errors_in_openais_form(media):
    body, content_type = form({"model": "whisper-tiny.en"}, b"noise")
    for answer, status, code in [
            (media.http("POST", "/v1/audio/transcriptions", body, headers={"Content-Type": content_type}), 400,
             "inference_media_unreadable"),
            (media.http("POST", "/v1/audio/transcriptions", {"model": "whisper-tiny.en"}), 400, "invalid_input"),
            (media.http("POST", "/v1/audio/speech", {"input": "x"}), 400, "invalid_input"),
            (media.http("POST", "/v1/images/generations", {"model": "terrain", "prompt": "x", "size": "1x1"}), 400,
             "inference_request_refused"),
            (media.http("POST", "/v1/images/edits", {"model": "terrain"}), 404, "resource_not_found"),
            (media.http("POST", "/v1/audio/speech", {"model": "nobody", "input": "x"}), 404, "model_not_found")]:
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (status, code), error
        assert error["message"] and error["type"]


def test_v1_draws(media):
    answer = media.http("POST", "/v1/images/generations", {"model": "terrain", "prompt": "a calm beach", "size": "64x64"},
                        timeout=120).json()
    assert base64.b64decode(answer["data"][0]["b64_json"]).startswith(b"\x89PNG")
    assert "landscapes only" in answer["data"][0]["revised_prompt"]
