"""A real cluster: `aima start` in a temporary data directory, on free ports, and `aima stop` at the end."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def bin_dir():
    return pathlib.Path(os.environ.get("AIMA_BIN", ROOT / "build" / "release" / "bin"))


def models_dir():
    return pathlib.Path(os.environ.get("AIMA_MODELS", ROOT / "build" / "models"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def own_address():
    """An address of this machine that is not loopback; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


class Failed(Exception):
    """A unit answered with an error."""

    def __init__(self, status, error):
        super().__init__(f"{status} {error}")
        self.status = status
        self.code = error.get("code")
        self.message = error.get("message", "")
        self.details = error.get("details") or {}


class Answer:
    """One HTTP answer."""

    def __init__(self, response, body):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = body

    def json(self):
        return json.loads(self.body)


class Cluster:
    """Used with `with`; `sets` are configuration keys such as {"engine.auto_start": "false"}."""

    def __init__(self, sets=None, start=True):
        self.data_dir = pathlib.Path(tempfile.mkdtemp(prefix="aima-", dir="/tmp"))
        # The private PostgreSQL runs as another user when the tests run as root.
        self.data_dir.chmod(0o711)
        self.http_port = free_port()
        self.grpc_port = free_port()
        self.sets = {
            "api.listen_addr": f"127.0.0.1:{self.http_port}",
            "api.grpc_addr": f"127.0.0.1:{self.grpc_port}",
            **(sets or {}),
        }
        self._start = start

    def __enter__(self):
        if self._start:
            try:
                self.start()
            except BaseException as failure:
                self.__exit__(type(failure))
                raise
        return self

    def __exit__(self, kind, *_):
        self.cli("stop", check=False, timeout=90)
        if kind is not None or os.environ.get("AIMA_KEEP"):
            print(f"the cluster's directory is kept: {self.data_dir}")
        else:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def start(self):
        flags = [flag for key, value in self.sets.items() for flag in ("--set", f"{key}={value}")]
        return self.cli("start", *flags, timeout=120)

    # Command line.

    def environment(self, **more):
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        kept.update({name: value for name, value in os.environ.items()
                     if name.startswith(("PIP_", "SSL_", "ASAN_", "UBSAN_", "LSAN_"))})
        return {**kept, "AIMA_DATA_DIR": str(self.data_dir), "AIMA_SERVER": f"http://127.0.0.1:{self.http_port}", **more}

    def cli(self, *arguments, check=True, timeout=60, stdin=None, **environment):
        done = subprocess.run([bin_dir() / "aima", *map(str, arguments)], env=self.environment(**environment),
                              capture_output=True, text=True, timeout=timeout, input=stdin)
        if check and done.returncode != 0:
            raise AssertionError(f"aima {' '.join(map(str, arguments))} ended with {done.returncode}\n"
                                 f"{done.stdout}\n{done.stderr}\n{self.log_tails()}")
        return done

    def log_tails(self, lines=15):
        tails = []
        for path in sorted((self.data_dir / "logs").glob("*.log")):
            tails.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]))
        return "\n".join(tails)

    # HTTP.

    @property
    def admin_key(self):
        return (self.data_dir / "keys" / "admin.key").read_text().strip()

    def new_key(self, role):
        created = self.cli("key", "create", "--role", role, "-o", "json")
        return json.loads(created.stdout)["key"]

    def http(self, method, path, body=None, key=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        headers = dict(headers or {})
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            connection.close()

    def execute(self, unit, value=None, options=None, key=None, timeout=60, type=""):
        request = {"unit": unit, "input": value or {}, "options": options or {}}
        if type:
            request["type"] = type
        answer = self.http("POST", "/api/v2/execute", request, key=key, timeout=timeout)
        envelope = answer.json()
        if not envelope["success"]:
            raise Failed(answer.status, envelope["error"])
        return envelope["data"]

    def stream(self, path, body=None, key=None, timeout=60, headers=None, method="POST"):
        """Yields (event, data) of a text/event-stream answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        headers = {"Content-Type": "application/json", **(headers or {})}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(response.status, json.loads(response.read()).get("error", {}))
        try:
            event, data = "message", []
            for raw in response:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("event:"):
                    event = line[6:].strip()
                elif line.startswith("data:"):
                    data.append(line[5:].lstrip(" "))
                elif not line and data:
                    text = "\n".join(data)
                    yield event, (text if text == "[DONE]" else json.loads(text))
                    event, data = "message", []
        finally:
            connection.close()

    def resource(self, uri, key=None):
        answer = self.http("GET", "/api/v2/resource/" + urllib.parse.quote(uri, safe=""), key=key)
        envelope = answer.json()
        if not envelope["success"]:
            raise Failed(answer.status, envelope["error"])
        return envelope["data"]

    def units(self):
        return {unit["name"]: unit for unit in self.http("GET", "/api/v2/units").json()["data"]["units"]}

    # Processes.

    def processes(self):
        """Name and pid of each process of the cluster, as `aima status` tells."""
        status = json.loads(self.cli("status", "-o", "json").stdout)
        return {process["name"]: process["pid"] for process in status["processes"]}

    def kill(self, name, sent=signal.SIGKILL):
        pid = self.processes()[name]
        os.kill(pid, sent)
        return pid

    def wait(self, condition, seconds=30, what="the condition"):
        """Waits until `condition` returns something true, and returns it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                value = condition()
                if value:
                    return value
            except (Failed, OSError, KeyError, AssertionError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come true in {seconds} s\n{self.log_tails()}")


@contextlib.contextmanager
def supervisor_asleep(cluster):
    """What dies meanwhile stays dead."""
    supervisor = int((cluster.data_dir / "run" / "supervisor.pid").read_text().split()[0])
    os.kill(supervisor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
