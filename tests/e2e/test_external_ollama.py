"""An Ollama server that runs on the machine already, played by one that replays what Ollama answers."""
import http.server
import json
import threading

import pytest

from support.cluster import Cluster, Failed, free_port

# As Ollama 0.17.4 answers.
VERSION = {"version": "0.17.4"}
TAGS = {"models": [{
    "name": "smollm2:135m", "model": "smollm2:135m", "modified_at": "2026-11-20T10:11:12.131415161Z", "size": 270898672,
    "digest": "9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907",
    "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
                "parameter_size": "134.52M", "quantization_level": "F16"}}]}


class Ollama(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = {"/api/version": VERSION, "/api/tags": TAGS}.get(self.path)
        body = json.dumps(answer).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.asked = self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"model": "smollm2:135m", "created_at": "2026-11-20T10:11:12Z",
                  "message": {"role": "assistant", "content": "Hello."}, "done": True, "done_reason": "stop",
                  "prompt_eval_count": 9, "eval_count": 2}
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def ollama(cluster):
    return cluster.execute("engine.get", {"name": "ollama"})


def test_an_ollama_server_of_the_machine_appears_and_disappears_by_itself():
    port = free_port()
    with Cluster({"engine.ollama_addr": f"localhost:{port}"}) as cluster:
        assert ollama(cluster)["instances"] == []
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Ollama)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = cluster.wait(lambda: ollama(cluster)["instances"], what="the server")[0]
        assert found["external"] and found["endpoint"] == f"localhost:{port}" and found["status"] == "running"
        assert ollama(cluster)["own_models"][0]["name"] == "smollm2:135m"
        assert [engine["name"] for engine in cluster.execute("engine.list", {"status": "running"})["items"]] == ["ollama"]
        # How its own clients want a model loaded, it is told.
        question = {"model": "smollm2:135m", "stream": False, "messages": [{"role": "user", "content": "Hi"}],
                    "options": {"num_ctx": 8192, "num_gpu": 20, "temperature": 0}}
        answer = cluster.http("POST", "/api/chat", question)
        assert answer.json()["message"]["content"] == "Hello.", answer.body
        path, asked = server.asked
        assert (path, asked["model"]) == ("/api/chat", "smollm2:135m")
        assert asked["options"] == {"num_ctx": 8192, "num_gpu": 20, "temperature": 0}
        for unit in ("engine.stop", "engine.restart"):
            with pytest.raises(Failed) as failed:
                cluster.execute(unit, {"name": "ollama"})
            assert failed.value.code == "ENGINE_EXTERNAL"
        server.shutdown()
        server.server_close()
        cluster.wait(lambda: not ollama(cluster)["instances"], what="its end")
        told = cluster.execute("event.query", {"domain": "engine"})["items"]
        assert [event["type"] for event in told] == ["engine.started", "engine.stopped"]
        assert told[1]["payload"]["reason"] == "gone"
