"""CPU time and memory of processes, and the servers that a benchmark needs."""
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "release"
TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    """CPU seconds that a process has used, its ended threads included."""
    if len(os.listdir(f"/proc/{pid}/task")) == 1:  # has no ended threads, as nginx: exact instead of in ticks
        return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def tree_cpu(pid):
    """CPU seconds of a process, of its children, and of those children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    total = sum(map(int, fields[11:15])) / TICK
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            total += tree_cpu(int(child))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def pss(pid):
    """Proportional share of memory, in MB."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    raise ValueError(f"/proc/{pid}/smaps_rollup has no Pss")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} did not come up in {seconds} s")
        time.sleep(0.002)


def accepts(address):
    """Whether something listens on a path or a port."""
    with socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX) as probe:
        try:
            probe.connect(("127.0.0.1", address) if isinstance(address, int) else str(address))
        except OSError:
            return False
    return True


class Processes:
    """What the benchmark has started; all of it ends with the `with` block."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.running = []

    def start(self, name, *command, stop=signal.SIGTERM, **environment):
        log = open(self.directory / f"{name}.log", "ab")
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env={**os.environ, **environment})
        process.stop_signal = stop
        self.running.append(process)
        return process

    def end(self, process):
        self.running.remove(process)
        if process.poll() is None:
            process.send_signal(process.stop_signal)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running[:]):
            self.end(process)


class Postgres:
    """A PostgreSQL with the settings that `aima start` gives its own, fsync included."""

    SETTINGS = ["listen_addresses=", "unix_socket_permissions=0777", "port=5432", "fsync=on", "full_page_writes=on",
                "wal_level=minimal", "max_wal_senders=0", "max_connections=200", "shared_buffers=64MB", "jit=off"]

    def __init__(self, processes):
        self.home = processes.directory / "postgres"
        self.home.mkdir()
        newest = max(pathlib.Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name)) / "bin"
        user = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            owner = pwd.getpwnam("postgres")
            os.chown(self.home, owner.pw_uid, owner.pw_gid)
            user = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        data = self.home / "data"
        subprocess.run([*user, newest / "initdb", "-D", data, "-U", "aima", "--auth=trust", "-E", "UTF8", "--locale=C"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/")
        flags = [word for setting in [*self.SETTINGS, f"unix_socket_directories={self.home}"] for word in ("-c", setting)]
        self.process = processes.start("postgres", *user, newest / "postgres", "-D", data, *flags, stop=signal.SIGINT)
        wait(lambda: self.psql("SELECT 1", check=False).returncode == 0, "PostgreSQL")

    @property
    def pid(self):
        return self.process.pid

    def psql(self, sql, database="postgres", check=True):
        done = subprocess.run(["psql", "-q", "-h", self.home, "-U", "aima", "-d", database, "-c", sql], capture_output=True,
                              text=True)
        if check and done.returncode != 0:
            raise SystemExit(f"bench: {done.stderr}")
        return done

    def database(self, name):
        self.psql(f"CREATE DATABASE {name}")
        return f"host='{self.home}' port=5432 user=aima dbname={name}"

    def pgbench(self, *arguments):
        """Transactions per second."""
        done = subprocess.run(["pgbench", "-h", self.home, "-U", "aima", *map(str, arguments), "bench"], check=True,
                              capture_output=True, text=True)
        for line in done.stdout.splitlines():
            if line.startswith("tps ="):
                return float(line.split()[2])
        raise SystemExit(f"bench: pgbench did nothing:\n{done.stdout}")


class Nginx:
    """One nginx process, so that its CPU time is all of what a request costs there."""

    def __init__(self, processes, name, server, upstream=None):
        self.port = free_port()
        home = processes.directory / name
        home.mkdir()
        (home / "nginx.conf").write_text(f"""
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  {f"upstream behind {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}" if upstream else ""}
  server {{ listen 127.0.0.1:{self.port}; location / {{ {server} }} }}
}}
""")
        self.process = processes.start(name, shutil.which("nginx") or "/usr/sbin/nginx", "-p", home, "-c", home / "nginx.conf")
        wait(lambda: accepts(self.port), name)

    @property
    def pid(self):
        return self.process.pid


PROXY = ('proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; ')


def field(number, value):
    """One field of a protobuf message: bytes and texts, or an integer."""
    def varint(left):
        out = b""
        while left > 127:
            out += bytes([left & 127 | 128])
            left >>= 7
        return out + bytes([left])
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


class Load:
    """A closed loop of one gRPC call."""

    def __init__(self, directory, name, address, method, request, outstanding, channels=1):
        self.file = pathlib.Path(directory) / f"{name}.request"
        self.file.write_bytes(request)
        self.arguments = [BUILT / "bench" / "bench_load", address, method, self.file, str(outstanding), str(channels)]

    def run(self, seconds):
        """Calls done and the seconds that they took."""
        done = json.loads(subprocess.run([*self.arguments, str(seconds)], check=True, capture_output=True).stdout)
        if done["failed"] or not done["done"]:
            raise SystemExit(f"bench: {self.arguments[2]}: {done['failed']} calls failed: {done['error']}")
        return done["done"], done["seconds"]


def wrk(url, script, seconds, connections=32):
    """Requests done."""
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, url], check=True,
                         capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(f"bench: wrk on {url}:\n{out}")
    return next(int(line.split()[0]) for line in out.splitlines() if " requests in " in line)
