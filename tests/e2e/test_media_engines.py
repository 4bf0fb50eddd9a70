"""The engines for speech, sound and pictures that install from package registries, with their real weights."""
import base64
import difflib
import hashlib
import io
import json
import pathlib
import struct
import wave

import pytest

from support.cluster import Failed
from support.media import SENTENCE, photograph, words


@pytest.mark.parametrize("voice", ["hibari", "piper"])
def test_what_a_voice_says_is_understood(engines, voice):
    status, data = engines.call(voice, "/v1/audio/speech", {"input": SENTENCE, "response_format": "wav"})
    assert status == 200, data
    with wave.open(io.BytesIO(data)) as audio:
        assert audio.getnframes() > audio.getframerate(), "more than a second"
    heard = words(engines.transcribe(data))
    if voice == "hibari":  # says the same sentence the same way each time
        assert heard == words(SENTENCE)
    assert difflib.SequenceMatcher(None, heard, words(SENTENCE)).ratio() > 0.6, heard


def test_things_in_a_photograph_are_found(engines):
    status, data = engines.call("centernet", "/v1/detections", photograph("coffee.png"), "image/png")
    assert status == 200, data
    found = json.loads(data)
    assert (found["width"], found["height"]) == (600, 400)
    first = found["detections"][0]
    assert first["label"] == "cup"
    assert all(abs(value - wanted) < 20 for value, wanted in zip(first["box"], [168, 9, 414, 268])), first


def test_a_landscape_is_drawn_and_the_same_prompt_gives_the_same(engines):
    def draw(prompt):
        status, data = engines.call("terrain", "/v1/images/generations", {"prompt": prompt, "size": "128x96"})
        assert status == 200, data
        return base64.b64decode(json.loads(data)["data"][0]["b64_json"])

    picture = draw("rugged mountain island")
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (128, 96)
    assert hashlib.sha256(draw("rugged mountain island")).digest() == hashlib.sha256(picture).digest()
    assert draw("a calm beach") != picture


def test_bad_requests_are_refused_with_the_field(engines):
    for body, field in [({}, "input"), ({"input": "x", "speed": 9}, "speed"),
                        ({"input": "x", "response_format": "ogg"}, "response_format")]:
        status, data = engines.call("hibari", "/v1/audio/speech", body)
        assert status == 400 and field in json.loads(data)["error"]["message"]
    assert engines.call("hibari", "/v1/audio/speech", {"input": "x"}, key="wrong")[0] == 401
    assert engines.call("faster-whisper", "/v1/audio/transcriptions", b"noise", "audio/wav")[0] == 415
    assert engines.call("centernet", "/v1/detections", b"noise", "image/png")[0] == 415


def test_what_engines_bring_along_is_told_with_them(engines):
    listed = {engine["name"]: engine for engine in engines.cluster.execute("engine.list")["items"]}
    assert [model["type"] for model in listed["faster-whisper"]["own_models"]] == ["asr"]
    assert [model["name"] for model in listed["centernet"]["own_models"]] == ["centernet-coco"]


def test_an_engine_that_cannot_be_installed_names_the_command(engines):
    for name, command in [("vllm", "pip install vllm"), ("sglang", "pip install sglang"), ("ollama", "ollama")]:
        if engines.cluster.execute("engine.get", {"name": name})["status"] != "not_installed":
            continue
        with pytest.raises(Failed) as failed:
            engines.cluster.execute("engine.install", {"name": name})
        assert failed.value.code == "ENGINE_INSTALL_BY_HAND"
        assert command in failed.value.message


def test_all_of_them_stop_at_once(engines):
    names = ["hibari", "centernet", "terrain"]
    pids = [int(engines.instance(name)["process_id"]) for name in names]
    for name in ["hibari", "centernet", "terrain", "faster-whisper", "piper"]:
        engines.cluster.execute("engine.stop", {"name": name}, timeout=60)
    assert not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]
    assert engines.cluster.execute("resource.allocations")["allocations"] == []
