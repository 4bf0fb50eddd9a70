"""Real servers that publish models: nginx laid out as a Hub, Docker's registry as Ollama's, and a line between that fails."""
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

from support.cluster import free_port

COMMIT = "5f0b02c75b57c5855da9ae460ce51323ea669d8a"


def gguf(megabytes, name="Tiny", seed=1):
    """A whole small language model as a GGUF file: what it says of itself is right, its weights are noise."""
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    keys = []
    for key, value in {"general.architecture": "llama", "general.type": "model", "general.name": name,
                       "tokenizer.ggml.model": "gpt2"}.items():
        keys.append(text(key) + struct.pack("<I", 8) + text(value))
    for key, value in {"general.file_type": 0, "llama.block_count": 2, "llama.context_length": 256,
                       "llama.embedding_length": 32, "llama.feed_forward_length": 64, "llama.attention.head_count": 4,
                       "llama.attention.head_count_kv": 2}.items():
        keys.append(text(key) + struct.pack("<II", 4, value))
    words = b"".join(text(f"t{i}") for i in range(100))
    keys.append(text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 100) + words)
    tensors, size = [], 0
    for tensor, shape in {"token_embd.weight": (32, 100), "output_norm.weight": (32,),
                          "filler.weight": (1024, max(1, megabytes * 256))}.items():
        tensors.append(text(tensor) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape)
                       + struct.pack("<IQ", 0, size))
        count = 4
        for n in shape:
            count *= n
        size += (count + 31) // 32 * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)
    head += bytes(-len(head) % 32)
    noise = hashlib.shake_128(str(seed).encode()).digest(1 << 20)
    return head + (noise * (size // len(noise) + 1))[:size]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Server:
    """A process that serves on a port until the end of the `with`."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="aima-hub-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.port = free_port()
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"http://{self.address}"

    def launch(self, *command):
        log = open(self.directory / "server.log", "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError((self.directory / "server.log").read_text())
                time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Hub(Server):
    """nginx with files and ranges, laid out as Hugging Face and ModelScope do. Large files are behind a redirect to a
    second port, as a Hub's are behind its CDN."""

    def __init__(self):
        super().__init__()
        self.root = self.directory / "root"
        self.cdn_port = free_port()
        self.redirects = {}
        for name in ("root/lfs", "temporary"):
            (self.directory / name).mkdir(parents=True)
        self.cdn = f"127.0.0.1:{self.cdn_port}"  # where the redirects lead

    def __enter__(self):
        self.configure()
        self.launch("nginx", "-p", str(self.directory), "-c", "nginx.conf")
        return self

    def configure(self):
        temporary = "\n".join(f"  {kind}_temp_path temporary;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        redirects = "\n".join(f"    location = {path} {{ return 302 http://{self.cdn}{target}; }}"
                              for path, target in self.redirects.items())
        (self.directory / "nginx.conf").write_text(f"""
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
  log_format asked '$server_port $request_uri $status $body_bytes_sent "$http_range" "$http_authorization"';
  access_log access.log asked;
{temporary}
  default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{self.port};
    root {self.root};
    location /api/ {{ default_type application/json; }}
    location ~ ^/api/v1/models/(.*)/repo$ {{ try_files /modelscope/$1/$arg_FilePath =404; }}
{redirects}
  }}
  server {{ listen 127.0.0.1:{self.cdn_port}; root {self.root}; max_ranges 1; }}
}}
""")

    def restart(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.configure()
        self.launch("nginx", "-p", str(self.directory), "-c", "nginx.conf")

    def asked(self):
        """What was asked for: (port, path, status, bytes, range, authorization)."""
        lines = (self.directory / "access.log").read_text().splitlines() if (self.directory / "access.log").exists() else []
        asked = []
        for line in lines:
            head, ranges, _, authorization, _ = line.split('"')
            port, path, status, size = head.split()
            asked.append((int(port), path, int(status), int(size), ranges, authorization))
        return asked

    def forget(self):
        (self.directory / "access.log").write_text("")

    def downloaded(self):
        """Bytes of files that were sent from the CDN."""
        return sum(size for port, _, status, size, _, _ in self.asked() if port == self.cdn_port and status in (200, 206))

    def write(self, path, data):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data if isinstance(data, bytes) else data.encode())

    def publish(self, repo, files, revision="main", commit=COMMIT, large=1 << 20, lie=None, task="text-generation"):
        """A repository of `files` {name: bytes}. `lie` {name: {...}} replaces what is told of a file."""
        siblings = []
        for name, data in files.items():
            entry = {"rfilename": name, "size": len(data), "blobId": git_id(data)}
            if len(data) >= large:
                entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
                self.write(f"lfs/{sha256(data)}", data)
                self.redirects[f"/{repo}/resolve/{commit}/{name}"] = f"/lfs/{sha256(data)}"
            else:
                self.write(f"{repo}/resolve/{commit}/{name}", data)
            entry.update((lie or {}).get(name, {}))
            siblings.append(entry)
        self.write(f"api/models/{repo}/revision/{revision}",
                   json.dumps({"id": repo, "sha": commit, "pipeline_tag": task, "siblings": siblings}))
        if self.process:
            self.restart()

    def publish_on_modelscope(self, repo, files):
        entries = [{"Name": name.rsplit("/", 1)[-1], "Path": name, "Size": len(data), "Sha256": sha256(data), "Type": "blob"}
                   for name, data in files.items()]
        self.write(f"api/v1/models/{repo}/repo/files", json.dumps({"Code": 200, "Data": {"Files": entries}, "Success": True}))
        for name, data in files.items():
            self.write(f"modelscope/{repo}/{name}", data)


class Registry(Server):
    """Docker's registry with models as Ollama keeps them."""

    def __enter__(self):
        config = self.directory / "config.yml"
        config.write_text(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: "
                          f"{{rootdirectory: {self.directory}/data}}}}\nhttp: {{addr: '{self.address}'}}\n")
        self.launch("docker-registry", "serve", str(config))
        return self

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status < 300, (method, path, answer.status, data)
        return answer

    def push_blob(self, repo, data):
        digest = "sha256:" + sha256(data)
        place = self.call("POST", f"/v2/{repo}/blobs/uploads/").getheader("Location")
        place = place[place.index("/v2/"):]
        self.call("PUT", f"{place}&digest={digest}", data, {"Content-Type": "application/octet-stream"})
        return digest

    def push(self, repo, tag, layers):
        """`layers` are (kind, bytes), such as ("model", …)."""
        config = json.dumps({"model_format": "gguf"}).encode()
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config),
                       "digest": self.push_blob(repo, config)},
            "layers": [{"mediaType": f"application/vnd.ollama.image.{kind}", "size": len(data), "digest": self.push_blob(repo, data)}
                       for kind, data in layers],
        }
        self.call("PUT", f"/v2/{repo}/manifests/{tag}", json.dumps(manifest).encode(), {"Content-Type": manifest["mediaType"]})


class Line:
    """A TCP proxy in front of a server. Each connection is treated as `treat(number, sent)` says of the piece that follows
    after `sent` bytes of the answers: "pass", "cut", "stall", "flip", or a number of seconds to wait."""

    def __init__(self, port, treat=lambda number, sent: "pass"):
        self.target = port
        self.treat = treat
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = set()
        self.closed = False
        self.sent = 0  # bytes of answers, over all connections

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"http://{self.address}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closed = True
        self.listener.close()
        self.cut_all()

    def cut_all(self):
        for one in list(self.open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(client, self.connections), daemon=True).start()

    def serve(self, client, number):
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=10)
            server.settimeout(None)
        except OSError:
            client.close()
            return
        self.open |= {client, server}
        threading.Thread(target=self.pump, args=(client, server), daemon=True).start()
        sent = 0
        try:
            while data := server.recv(65536):
                what = self.treat(number, sent)
                if what == "cut":
                    break
                if what == "stall":
                    while not self.closed and client in self.open and client.recv(1, socket.MSG_PEEK):
                        time.sleep(0.05)
                    break
                if what == "flip":
                    data = data[:-1] + bytes([data[-1] ^ 1])
                elif what != "pass":
                    time.sleep(what)
                client.sendall(data)
                sent += len(data)
                self.sent += len(data)
        except OSError:
            pass
        for one in (client, server):
            self.open.discard(one)
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    @staticmethod
    def pump(client, server):
        try:
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass
