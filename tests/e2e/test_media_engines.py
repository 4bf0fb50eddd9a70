"""The engines for speech, sound and pictures that install from package registries, with their real weights."""
import base64
import difflib
import hashlib
import http.client
import io
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import wave
import zipfile

import pytest

from support.cluster import Cluster, Failed

SENTENCE = "The capital of France is Paris."


@pytest.fixture(scope="module")
def engines():
    with Cluster() as cluster:
        yield Engines(cluster)
        # More than a gigabyte that is on its way to the disk; the database would wait for it when it stops.
        shutil.rmtree(cluster.data_dir / "engines", ignore_errors=True)


class Engines:
    """Installs and starts engines as they are needed, and calls them as the inference service does."""

    def __init__(self, cluster):
        self.cluster = cluster
        self._started = {}

    def instance(self, name):
        if name not in self._started:
            self.cluster.cli("exec", "engine.install", "--name", name, timeout=400)
            self.cluster.execute("engine.start", {"name": name}, options={"timeout": "120s"}, timeout=150)
            self._started[name] = self.cluster.execute("engine.get", {"name": name})["instances"][0]
        return self._started[name]

    def call(self, name, path, body, content_type="application/json", key=None):
        instance = self.instance(name)
        if key is None:
            variables = pathlib.Path(f"/proc/{instance['process_id']}/environ").read_bytes().split(b"\0")
            key = next(one for one in variables if one.startswith(b"AIMA_API_KEY=")).decode().split("=", 1)[1]
        host, port = instance["endpoint"].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=120)
        connection.request("POST", path, json.dumps(body) if content_type == "application/json" else body,
                           {"Content-Type": content_type, "Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data

    def transcribe(self, audio):
        status, data = self.call("faster-whisper", "/v1/audio/transcriptions", audio, "audio/wav")
        assert status == 200, data
        return json.loads(data)["text"]


def words(text):
    return "".join(c for c in text.lower() if c.isalpha() or c == " ").split()


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


def test_things_in_a_photograph_are_found(engines, tmp_path):
    # A cup of coffee, from the sample pictures of scikit-image.
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", tmp_path,
                    "scikit-image==0.26.0"], check=True, timeout=300)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        photograph = archive.read("skimage/data/coffee.png")
    status, data = engines.call("centernet", "/v1/detections", photograph, "image/png")
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
    for name in ["hibari", "centernet", "terrain"]:
        engines.instance(name)
    pids = [int(one["process_id"]) for one in engines._started.values()]
    for name in list(engines._started):
        engines.cluster.execute("engine.stop", {"name": name}, timeout=60)
    assert not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]
    assert engines.cluster.execute("resource.allocations")["allocations"] == []
