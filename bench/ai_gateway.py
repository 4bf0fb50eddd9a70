"""The goals of a gateway for AI: what lies between a client and an engine may cost this much."""
import json
import os
import pathlib
import statistics
import subprocess
import time

from goal import Goal, Row, micros
from measure import PROXY, ROOT, Nginx, cpu, pss, tree_cpu, wrk
from peers import LiteLlm, Portkey
from streams import IdleStreams, chat, open_loop, post, read_streams
from support.cluster import Cluster, models_dir

WHOLE_TOKENS = 150  # make an answer of 1.16 kB


class Hop:
    """Something between a client and the scripted engine: where it listens and what it has cost."""

    def __init__(self, port, model, cost, memory=None, headers=None):
        self.port, self.model, self.cost, self.memory, self.headers = port, model, cost, memory, headers or {}


def hops(bench, peers=()):
    """AIMA, nginx and the engine itself by name; some of the other gateways if asked for."""
    def make():
        for model in (bench.model_of("embedding"), bench.model):
            started = bench.cluster.execute("engine.start", {"name": "llamacpp", "model_id": model,
                                                             "config": {"parallel": 512, "context_length": 65536}})
        engine = int(started["endpoint"].rsplit(":", 1)[1])
        bench.cluster.execute("engine.start", {"name": "bench", "model_id": bench.model_of("llm", "whole"), "config": {"parallel": 512}})
        front = Nginx(bench.processes, "streams", PROXY + "proxy_buffering off;", engine)
        ours = [bench.pids["gateway"], bench.pids["inference"]]
        bench.records = lambda: cpu(bench.pids["event"]) + tree_cpu(bench.postgres.pid)
        return {"ours": Hop(bench.cluster.http_port, bench.model, lambda: sum(map(cpu, ours)), lambda: sum(map(pss, ours))),
                "nginx": Hop(front.port, "bench", lambda: cpu(front.pid), lambda: pss(front.pid)),
                "engine": Hop(engine, "bench", lambda: 0)}
    found = bench.once("hops", make)
    for kind in peers:
        if kind.name not in found:
            peer = kind(bench.processes, found["engine"].port)
            found[kind.name] = Hop(peer.port, "bench", lambda pid=peer.process.pid: tree_cpu(pid), headers=peer.headers)
    return {name: hop for name, hop in found.items() if name in ("ours", "nginx", "engine") or name in [kind.name for kind in peers]}


class G4(Goal):
    how = ("POST /v1/chat/completions for a whole answer of 150 tokens (1.16 kB), wrk with 32 connections: CPU of aima-gateway and "
           "aima-inference. Answers of engines that end their work when a caller leaves (vLLM, SGLang, Ollama) are passed on, as the peers "
           "do; llama.cpp ends only streams, so it is asked for one, and the answer is put together from its 150 events. "
           "POST /v1/embeddings (0.9 kB) is passed on. The events that tell of each request are a row of their own: the peers "
           "ran without a database.")

    def parts(self):
        for name, hop in hops(self.bench, (Portkey, LiteLlm)).items():
            if name == "engine":
                continue
            asked = {"chat": ("/v1/chat/completions", chat(hop.model, WHOLE_TOKENS, 0, stream=False))}
            if name == "ours":
                asked["whole"] = (asked["chat"][0], {**asked["chat"][1], "model": self.bench.model_of("llm", "whole")})
            if name in ("ours", "nginx"):
                asked["embed"] = ("/v1/embeddings", {"model": self.bench.model_of("embedding"), "input": "a text to embed"})
            for what, (path, body) in asked.items():
                script = self.bench.directory / f"{name.split()[0]}-{what}.lua"
                headers = {"Content-Type": "application/json", **hop.headers}
                script.write_text(f"wrk.method = 'POST'\nwrk.body = '{json.dumps(body)}'\n"
                                  + "".join(f"wrk.headers['{key}'] = '{value}'\n" for key, value in headers.items()))
                url = f"http://127.0.0.1:{hop.port}{path}"
                wrk(url, script, 1)
                yield f"{name} {what}", lambda url=url, script=script, hop=hop: self.costs(hop, url, script)

    def costs(self, hop, url, script):
        """CPU microseconds of the hop, and of those who keep the record of what was asked, per request."""
        hop_before, records_before = hop.cost(), self.bench.records()
        done = wrk(url, script, max(1, round(self.seconds)))
        time.sleep(0.5)  # records are written in batches
        return (hop.cost() - hop_before) * 1e6 / done, (self.bench.records() - records_before) * 1e6 / done

    def rows(self, value):
        value = {name: seen[0] for name, seen in value.items()} | {"records": value["ours whole"][1]}
        whole = value["ours whole"]
        yield Row("G4", "chat, passed on, CPU of both hops", "µs/request", whole, "nginx", value["nginx chat"], at_most=5)
        yield Row("G4", "the same", "µs/request", whole, Portkey.name, value[f"{Portkey.name} chat"], at_most=1 / 25)
        yield Row("G4", "the same", "µs/request", whole, LiteLlm.name, value[f"{LiteLlm.name} chat"], at_most=1 / 180)
        yield Row("G4", "chat, put together from a stream", "µs/request", value["ours chat"], "nginx, whole", value["nginx chat"],
                  at_most=5)
        yield Row("G4", "the two events of a chat, CPU of aima-event and PostgreSQL", "µs/request", value["records"], "the hops", whole,
                  remark="the peers keep no record here")
        yield Row("G4", "embedding, CPU of both hops", "µs/request", value["ours embed"], "nginx", value["nginx embed"], at_most=5)


class G5(Goal):
    how = ("The whole chat of G4 fifty times a second, begun at even distances: what the hop adds to the median and to the 99th "
           "percentile of the same round's requests to the engine itself.")

    def parts(self):
        found = hops(self.bench)
        requests = {name: post(hop.port, chat(hop.model, WHOLE_TOKENS, 0, stream=False)) for name, hop in found.items()}

        def quantiles(name):
            took = open_loop(found[name].port, requests[name], 50, max(4, self.seconds))
            return took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3

        def added():
            direct, ours, nginx = quantiles("engine"), quantiles("ours"), quantiles("nginx")
            return tuple(max(0.01, through - without) for hop in (ours, nginx) for through, without in zip(hop, direct))
        quantiles("ours")
        yield "added", added

    def rows(self, value):
        p50, p99, nginx50, nginx99 = value["added"]
        yield Row("G5", "added latency at 50/s, p50", "ms", p50, "nginx", nginx50, also=("≤ 0.9 ms", p50 <= 0.9))
        yield Row("G5", "added latency at 50/s, p99", "ms", p99, "nginx", nginx99, also=("≤ 1.7 ms", p99 <= 1.7))


class G13(Goal):
    how = ("32 streams of /v1/chat/completions at 50 tokens/s each, which do not tick together, from a scripted engine that the "
           "cluster runs in place of llama-server: CPU of aima-gateway and aima-inference per token, beside nginx with "
           "proxy_buffering off in front of the same engine, with the same client; and the median of what the hop adds to the time "
           "until the first token when all 32 begin at once.")

    def parts(self):
        found = hops(self.bench)
        tokens = max(50, round(self.seconds * 50))
        for name, hop in found.items():
            body = chat(hop.model, tokens)
            read_streams(hop.port, chat(hop.model, 5), 2)

            def both(hop=hop, body=body):
                firsts = []

                def load():
                    seen = read_streams(hop.port, body, 32)
                    firsts.extend(first for _, first in seen)
                    return sum(count for count, _ in seen)
                return micros(hop.cost, load), statistics.median(firsts) * 1e3
            yield name, both

    def rows(self, value):
        ours, nginx, engine = value["ours"], value["nginx"], value["engine"]
        yield Row("G13", "SSE token, CPU of all hops", "µs/token", ours[0], "nginx, proxy_buffering off", nginx[0], at_most=2.9)
        added = max(0.01, ours[1] - engine[1])
        yield Row("G13", "first token, 32 streams at once, added", "ms", added, "nginx", max(0.01, nginx[1] - engine[1]),
                  also=("≤ 4 ms", added <= 4))


class G14(Goal):
    how = ("400 streams that have said one token and then wait: growth of the PSS of aima-gateway and aima-inference, or of nginx, per "
           "stream: the larger of the first time that so many are opened and of a later one.")
    streams = 400

    def parts(self):
        for name, hop in hops(self.bench).items():
            if name == "engine":
                continue
            body = chat(hop.model, 2, 0.001)

            def grown(hop=hop, body=body):
                before = hop.memory()
                with IdleStreams(hop.port, body, self.streams):
                    return max(0.1, (hop.memory() - before) * 1e3 / self.streams)
            first = hop.memory()
            with IdleStreams(hop.port, body, self.streams):
                fresh = (hop.memory() - first) * 1e3 / self.streams
            yield name, lambda grown=grown, fresh=fresh: max(grown(), fresh)

    def rows(self, value):
        yield Row("G14", "memory per idle stream", "kB", value["ours"], "nginx", value["nginx"],
                  also=("≤ 60 kB", value["ours"] <= 60))


class RealEngine(Goal):
    how = ("llama.cpp with SmolLM2-135M behind a cluster of its own, asked through /v1 and directly: the median time until the first "
           "token of 40 streams one after the other, and the tokens per second of 8 streams at once.")

    def parts(self):
        bench = self.bench
        file = models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf"
        if not file.exists():
            subprocess.run([ROOT / "deploy/models/fetch", models_dir()], check=True)
        stand_in = str(bench.directory / "bin")
        os.environ["PATH"] = ":".join(part for part in os.environ["PATH"].split(":") if part != stand_in)
        cluster = bench.once("real", lambda: Cluster({"database.url": bench.postgres.database("real")}).__enter__())
        cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
        model = cluster.execute("model.import", {"path": str(file), "name": "smollm2"})["model_id"]
        started = cluster.execute("engine.start", {"name": "llamacpp", "model_id": model,
                                                        "config": {"parallel": 8, "context_length": 8192}}, timeout=120)
        engine = int(started["endpoint"].rsplit(":", 1)[1])
        pid = next(int(path.parent.name) for path in pathlib.Path("/proc").glob("[0-9]*/cmdline")
                   if str(engine).encode() in path.read_bytes().split(b"\0") and b"--alias" in path.read_bytes())
        key = next(line[14:] for line in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                   if line.startswith(b"LLAMA_API_KEY=")).decode()
        sides = {"direct": (engine, {"Authorization": f"Bearer {key}"}), "ours": (cluster.http_port, {})}
        for name, (port, headers) in sides.items():
            def both(port=port, headers=headers):
                one = [read_streams(port, self.question(model, 4), 1, headers)[0][1] for _ in range(40)]
                begin = time.perf_counter()
                read_streams(port, self.question(model, 48), 8, headers)
                return statistics.median(one) * 1e3, 8 * 48 / (time.perf_counter() - begin)
            both()
            yield name, both

    @staticmethod
    def question(model, tokens):
        return {**chat(model, tokens), "temperature": 0, "ignore_eos": True}

    def rows(self, value):
        ours, direct = value["ours"], value["direct"]
        added = max(0.01, ours[0] - direct[0])
        yield Row("TTFT", "first token of the real engine", "ms", ours[0], "asked directly", direct[0],
                  also=(f"+ ≤ 2 ms (+{added:.2g} ms)", added <= 2))
        yield Row("TTFT", "8 chats at once on the real engine", "tokens/s", ours[1], "asked directly", direct[1], at_least=0.97)
