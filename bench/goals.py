"""The measured goals: what each does in a round, and what its row of the table says."""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent / "tests")]
import grpc  # noqa: E402

from ai_gateway import G4, G5, G13, G14, RealEngine  # noqa: E402
from goal import Goal, Row, micros  # noqa: E402
from jetstream import Publisher  # noqa: E402
from measure import (BUILT, PROXY, ROOT, Load, Nginx, Postgres, Processes, accepts, cpu, field, free_port, pss,  # noqa: E402
                     tree_cpu, wait, wrk)
from notes import LIMITS  # noqa: E402
from support.cluster import Cluster, bin_dir  # noqa: E402

# The scripted engine as one that ends its work on whole answers, too, when the caller leaves.
BENCH_ENGINE = f"""
name: bench
type: bench
description: bench/engine.cc
dialect: openai
formats: [gguf]
model_types: [llm]
features: {{supports_streaming: true, supports_cancellation: true, supports_whole_cancellation: true, max_concurrent: 512}}
install:
  detect: [{BUILT}/bench/bench_engine]
launch:
  args: [--port, "{{port}}"]
health: {{path: /health}}
stop: {{signal: TERM, timeout: 5s}}
"""

PAYLOAD = "a row of the benchmark, about as long as a short event"


class Bench:
    """What the goals share: servers, started when a goal first needs them."""

    def __init__(self, processes, seconds):
        self.processes = processes
        self.directory = processes.directory
        self.seconds = seconds
        self.made = {}

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    @property
    def postgres(self):
        return self.once("postgres", lambda: Postgres(self.processes))

    @property
    def database(self):
        return self.once("database", lambda: self.postgres.database("bench"))

    @property
    def cluster(self):
        def make():
            cluster = Cluster({"database.url": self.database}, start=False).__enter__()
            engines = cluster.data_dir / "engines.d"
            engines.mkdir()
            (engines / "bench.yaml").write_text(BENCH_ENGINE)
            cluster.start()
            return cluster
        return self.once("cluster", make)

    @property
    def pids(self):
        return self.once("pids", self.cluster.processes)

    def socket_of(self, service):
        return f"unix:{self.cluster.data_dir}/run/{service}.sock"

    @property
    def model(self):
        """Id of a model that the scripted engine serves."""
        return self.model_of("llm")

    def model_of(self, kind, name="bench"):
        def make():
            path = self.directory / f"{name}-{kind}.gguf"
            path.write_bytes(tiny_gguf(f"{name} {kind}"))
            return self.cluster.execute("model.import", {"path": str(path), "name": f"{name}-{kind}", "type": kind})["model_id"]
        return self.once(f"model {name} {kind}", make)

    def echo_service(self):
        """bench_echo: a service on libs/runtime. Its process and address."""
        def make():
            home = self.directory / "echo"
            share = home / "share"
            (share / "migrations").mkdir(parents=True)
            (share / "migrations" / "bench").symlink_to(ROOT / "bench" / "migrations")
            process = self.processes.start("echo", BUILT / "bench" / "bench_echo", "--share-dir", share, "--set",
                                           f"general.data_dir={home}", "--set", f"database.url={self.database}")
            log = self.directory / "echo.log"
            wait(lambda: "serving address=" in log.read_text() or process.poll() is not None, "bench_echo")
            if process.poll() is not None:
                raise SystemExit(f"bench: bench_echo ended: {log.read_text()}")
            return process, f"unix:{home}/run/bench.sock"
        return self.once("echo", make)

    def peer(self, name="peer"):
        """bench_peer: plain grpc++."""
        def make():
            path = self.directory / f"{name}.sock"
            process = self.processes.start(name, BUILT / "bench" / "bench_peer", f"unix:{path}")
            wait(lambda: accepts(path), "bench_peer")
            return process, f"unix:{path}"
        return self.once(name, make)

    def close(self):
        self.made.pop("pids", None)
        for name in [name for name, made in self.made.items() if isinstance(made, Cluster)]:
            self.made.pop(name).__exit__(None)


def tiny_gguf(name):
    """A model file that is right but holds next to nothing."""
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()
    keys = [text("general.architecture") + struct.pack("<I", 8) + text("llama"),
            text("general.name") + struct.pack("<I", 8) + text(name)]
    numbers = {"context_length": 65536, "embedding_length": 32, "block_count": 2, "feed_forward_length": 64,
               "attention.head_count": 4, "attention.head_count_kv": 2}
    keys += [text(f"llama.{name}") + struct.pack("<II", 4, value) for name, value in numbers.items()]
    tensor = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 32, 8, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(keys)) + b"".join(keys) + tensor
    return head + bytes(-len(head) % 32 + 4 * 32 * 8)


class G1(Goal):
    how = ("EchoService.Echo (20 bytes) over a Unix socket: bench_echo on libs/runtime, with rules, metrics and the line in "
           "the log that each call leaves, beside the same proto on a grpc++ completion queue with one thread. Same "
           "client, 64 calls outstanding on 4 connections; CPU of the server's process.")

    def parts(self):
        request = field(1, "hello, who is there?") + field(2, 42)
        sides = {"ours": self.bench.echo_service(), "peer": self.bench.peer()}
        for name, (process, address) in sides.items():
            load = Load(self.bench.directory, f"g1-{name}", address, "/aima.bench.v1.EchoService/Echo", request, 64, 4)
            load.run(0.3)
            yield name, lambda load=load, pid=process.pid: micros(lambda: cpu(pid), lambda: load.run(self.seconds)[0])

    def rows(self, value):
        yield Row("G1", "unary gRPC hop, server CPU", "µs/call", value["ours"], "grpc++ CQ echo", value["peer"], at_most=1.6)


class G3(Goal):
    how = ("POST /api/v2/query/model.get of one model, wrk with 32 connections: CPU of aima-gateway alone, beside an "
           "nginx that passes the same request to another nginx, which answers with the same body.")

    def parts(self):
        bench = self.bench
        body = '{"model_id":"%s"}' % bench.model
        answer = bench.cluster.http("POST", "/api/v2/query/model.get", body, headers={"Content-Type": "application/json"})
        if answer.status != 200:
            raise SystemExit(f"bench: /api/v2/query/model.get answered {answer.status} {answer.body[:300]}")
        script = bench.directory / "post.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n")
        fixed = answer.body.decode().replace("\\", "\\\\").replace("'", "\\'").replace("$", "")
        behind = Nginx(bench.processes, "behind", f"default_type application/json; return 200 '{fixed}';")
        front = Nginx(bench.processes, "front", PROXY, behind.port)
        sides = {"ours": (bench.pids["gateway"], bench.cluster.http_port), "peer": (front.pid, front.port)}
        for name, (pid, port) in sides.items():
            url = f"http://127.0.0.1:{port}/api/v2/query/model.get"
            wrk(url, script, 1)
            yield name, lambda url=url, pid=pid: micros(lambda: cpu(pid), lambda: wrk(url, script, max(1, round(self.seconds))))

    def rows(self, value):
        yield Row("G3", "gateway, CPU without the backend", "µs/call", value["ours"], "nginx proxy_pass", value["peer"],
                  at_most=5)


class G6(Goal):
    how = ("model.get over gRPC on the model service's Unix socket, 32 calls outstanding on 4 connections, beside "
           "`pgbench -S -M prepared -c 32` on the same PostgreSQL over its Unix socket. The second row is the CPU of "
           "PostgreSQL's processes per read.")

    def parts(self):
        bench = self.bench
        load = Load(bench.directory, "g6", bench.socket_of("model"), "/aima.model.v1.ModelService/Get",
                    field(1, bench.model), 32, 4)
        load.run(0.3)
        subprocess.run(["pgbench", "-i", "-q", "-h", bench.postgres.home, "-U", "aima", "bench"], check=True, capture_output=True)
        yield "ours", lambda: self.rate(lambda: load.run(self.seconds)[0])
        yield "peer", lambda: self.rate(lambda: bench.postgres.pgbench(
            "-n", "-S", "-M", "prepared", "-c", 32, "-T", max(1, round(self.seconds))) * max(1, round(self.seconds)))

    def rate(self, run):
        before, start = tree_cpu(self.bench.postgres.pid), time.monotonic()
        done = run()
        seconds = time.monotonic() - start
        time.sleep(0.3)  # until PostgreSQL has reaped the processes of clients that left
        return done / seconds, (tree_cpu(self.bench.postgres.pid) - before) * 1e6 / done

    def rows(self, value):
        yield Row("G6", "model.get, gRPC to PostgreSQL", "calls/s", value["ours"][0], "pgbench -S", value["peer"][0], at_least=0.3)
        yield Row("G6", "the same, CPU of PostgreSQL", "µs/read", value["ours"][1], "pgbench -S", value["peer"][1],
                  remark="goes with the row above: ≤ 0.6x would do as well")


class G8(Goal):
    how = ("EchoService.Insert of bench_echo, one row by libs/pg Write per call, 128 calls outstanding on 4 connections, "
           "beside pgbench with the single INSERT into the same table, -M prepared, 8 and 32 clients. fsync is on.")

    def parts(self):
        bench = self.bench
        _, address = bench.echo_service()
        load = Load(bench.directory, "g8", address, "/aima.bench.v1.EchoService/Insert", field(1, PAYLOAD), 128, 4)
        load.run(0.3)
        script = bench.directory / "insert.sql"
        script.write_text(f"INSERT INTO bench.rows (text) VALUES ('{PAYLOAD}');\n")

        def ours():
            done, seconds = load.run(self.seconds)
            return done / seconds
        yield "ours", ours
        for clients in (8, 32):
            yield f"c{clients}", lambda clients=clients: bench.postgres.pgbench(
                "-n", "-M", "prepared", "-c", clients, "-T", max(1, round(self.seconds)), "-f", script)

    def rows(self, value):
        for clients in (8, 32):
            yield Row("G8", "durable write", "rows/s", value["ours"], f"pgbench INSERT, {clients} clients", value[f"c{clients}"],
                      at_least=1)


class G9(Goal):
    how = ("EventService.Publish over the event service's Unix socket, 100 unary calls outstanding, or one call with 100 "
           "events at a time: CPU of aima-event and all processes of PostgreSQL (fsync on), per event; beside nats-server, "
           "JetStream file storage as it comes (no fsync per message), 100 publishes outstanding, the same bytes.")

    def parts(self):
        bench = self.bench
        event = (field(2, "@" * 16) + field(3, "bench.happened") + field(4, "bench") + field(5, field(1, 1_790_000_000))
                 + field(7, field(1, "type.googleapis.com/aima.bench.v1.InsertRequest") + field(2, field(1, PAYLOAD))))

        def cost():
            return cpu(bench.pids["event"]) + tree_cpu(bench.postgres.pid)
        for name, events, outstanding in (("unary", 1, 100), ("batch", 100, 1)):
            load = Load(bench.directory, f"g9-{name}", bench.socket_of("event"), "/aima.event.v1.EventService/Publish",
                        field(1, event) * events, outstanding, min(outstanding, 4))
            load.run(0.3)
            yield name, lambda load=load, events=events: micros(cost, lambda: load.run(self.seconds)[0] * events)
        port = free_port()
        program = ROOT / "build" / "nats" / "nats-server"
        self.how = self.how.replace("nats-server", subprocess.run([program, "-v"], capture_output=True, text=True).stdout.strip().replace(": v", " "), 1)
        server = bench.processes.start("nats", program, "-js", "-a", "127.0.0.1", "-p", port, "-sd",
                                       bench.directory / "nats")
        wait(lambda: accepts(port), "nats-server")
        publisher = Publisher(port)
        publisher.create_stream("bench", "bench.happened")
        yield "peer", lambda: micros(lambda: cpu(server.pid), lambda: publisher.publish("bench.happened", event, 100, self.seconds))

    def rows(self, value):
        yield Row("G9", "event publish, unary, CPU with PostgreSQL", "µs/event", value["unary"], "JetStream file", value["peer"],
                  at_most=15)
        yield Row("G9", "event publish, batches of 100", "µs/event", value["batch"], "JetStream file", value["peer"], at_most=3)


class G19G20(Goal):
    how = ("`aima start` with an empty data directory on a PostgreSQL that is up and migrated, from exec until it returns, "
           "which is when every service serves (G20); 1.5 s later the sum of PSS of the services, without PostgreSQL and "
           "supervisor (G19). Beside as many bench_peer processes, until grpc's health service of each says SERVING. "
           "The benchmark runs nothing else of AIMA meanwhile.")

    def parts(self):
        bench = self.bench
        bench.close()
        database = bench.postgres.database("start")
        self.services = []

        def ours():
            with Cluster({"database.url": database}, start=False) as cluster:
                start = time.monotonic()
                cluster.start()
                took = time.monotonic() - start
                time.sleep(1.5)
                self.services = {name: pid for name, pid in cluster.processes().items() if name not in ("postgres", "supervisor")}
                return took, sum(map(pss, self.services.values()))

        def peer():
            paths = [bench.directory / f"bare-{i}.sock" for i in range(len(self.services))]
            start = time.monotonic()
            bare = [bench.processes.start("bare", BUILT / "bench" / "bench_peer", f"unix:{path}") for path in paths]
            for path in paths:
                wait(lambda: accepts(path), "bench_peer")
                with grpc.insecure_channel(f"unix:{path}") as channel:
                    if channel.unary_unary("/grpc.health.v1.Health/Check")(b"", wait_for_ready=True) != b"\x08\x01":
                        raise SystemExit("bench: bench_peer does not serve")
            took = time.monotonic() - start
            time.sleep(1.5)
            memory = sum(pss(process.pid) for process in bare)
            for process in bare:
                bench.processes.end(process)
            return took, memory

        ours()  # migrates
        yield "ours", ours
        yield "peer", peer

    def rows(self, value):
        count = len(self.services)
        yield Row("G19", f"memory of {count} idle services", "MB PSS", value["ours"][1], f"{count} bare grpc++ servers",
                  value["peer"][1], at_most=2.5, also=("≤ 96 MB", value["ours"][1] <= 96))
        yield Row("G20", "start", "s", value["ours"][0], f"{count} bare grpc++ servers", value["peer"][0],
                  also=("≤ 1 s", value["ours"][0] <= 1))


class G24(Goal):
    how = ("ModelService.List of 20 models from the middle of the list, and Search for a word that one model has, 32 calls "
           "outstanding: CPU of aima-model and all processes of PostgreSQL per call, with 100 000 models beside 100.")

    def parts(self):
        bench = self.bench
        for models in (100, 100_000):
            database = bench.postgres.database(f"models_{models}")
            cluster = bench.once(f"models {models}", lambda database=database: Cluster({"database.url": database}).__enter__())
            bench.postgres.psql(
                "SET search_path = model; INSERT INTO models (id, name, type, format, status, source, path, size_bytes, digest, "
                "stored, architecture, details, files, create_time, update_time) SELECT 'model-' || n, 'Model ' || md5(n::text), 1, "
                "1, 2, 'local', '/models/' || n, 1000000, md5(n::text), false, 'llama', '', '', now(), now() "
                f"FROM generate_series(1, {models}) n", f"models_{models}")
            bench.postgres.psql("VACUUM FULL ANALYZE model.models, model.model_counts", f"models_{models}")
            pid = cluster.processes()["model"]
            word = subprocess.run(["md5sum"], input=b"77", capture_output=True, check=True).stdout[:12]
            for what, method, request in (("list", "List", field(4, 20) + field(6, "model-5")),
                                          ("search", "Search", field(1, word) + field(2, "local"))):
                load = Load(bench.directory, f"g24-{what}-{models}", f"unix:{cluster.data_dir}/run/model.sock",
                            f"/aima.model.v1.ModelService/{method}", request, 32, 4)
                load.run(0.3)
                yield f"{what} {models}", lambda load=load, pid=pid: micros(
                    lambda: cpu(pid) + tree_cpu(bench.postgres.pid), lambda: load.run(self.seconds)[0])

    def rows(self, value):
        for what in ("list", "search"):
            yield Row("G24", f"{what} of 100 000 models", "µs/call", value[f"{what} 100000"], "of 100", value[f"{what} 100"],
                      at_most=1.5)


class G23(Goal):
    how = ("tools/call of model_get over /mcp, in the era of requests that stand alone, beside POST /api/v2/query/model.get of "
           "the same model: wrk with 32 connections, CPU of aima-gateway. tools/list, whose answer is the same bytes for all, with 512 "
           "connections beside 8.")

    def parts(self):
        bench = self.bench
        plain = {"model_id": bench.model}
        version, name = "2026-07-28", "model_get"
        meta = {"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": plain, "_meta": meta}}
        mirrored = {"MCP-Protocol-Version": version, "Mcp-Method": "tools/call", "Mcp-Name": name,
                    "Accept": "application/json, text/event-stream"}
        listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
        asks = {"MCP-Protocol-Version": version, "Mcp-Method": "tools/list", "Accept": mirrored["Accept"]}
        for side, path, body, headers, clients in (("mcp", "/mcp", call, mirrored, 32),
                                                   ("http", "/api/v2/query/model.get", plain, {}, 32),
                                                   ("list 8", "/mcp", listing, asks, 8), ("list 512", "/mcp", listing, asks, 512)):
            headers = {"Content-Type": "application/json", **headers}
            body = json.dumps(body)
            answer = bench.cluster.http("POST", path, body, headers=headers)
            if answer.status != 200 or b'"isError":true' in answer.body:
                raise SystemExit(f"bench: {path} answered {answer.status} {answer.body[:300]}")
            script = bench.directory / f"{side.replace(' ', '-')}.lua"
            script.write_text(f"wrk.method = 'POST'\nwrk.body = '{body}'\n"
                              + "".join(f"wrk.headers['{key}'] = '{value}'\n" for key, value in headers.items()))
            url = f"http://127.0.0.1:{bench.cluster.http_port}{path}"
            wrk(url, script, 1, clients)
            yield side, lambda url=url, script=script, clients=clients: micros(
                lambda: cpu(bench.pids["gateway"]), lambda: wrk(url, script, max(1, round(self.seconds)), clients))

    def rows(self, value):
        yield Row("G23", "MCP tools/call, CPU of the gateway", "µs/call", value["mcp"], "the same call over HTTP", value["http"],
                  at_most=1.5)
        yield Row("G23", "tools/list with 512 clients", "µs/call", value["list 512"], "with 8", value["list 8"], at_most=1.5)


HEAD = ["goal", "what", "AIMA", "peer", "AIMA / peer", "minimum", "met"]
GOALS = {"G1": G1, "G3": G3, "G6": G6, "G8": G8, "G9": G9, "G4": G4, "G5": G5, "G13": G13, "G14": G14, "TTFT": RealEngine, "G24": G24, "G23": G23, "G19": G19G20, "G20": G19G20}


def median(values):
    if isinstance(values[0], tuple):
        return tuple(map(statistics.median, zip(*values)))
    return statistics.median(values)


def measure(goals, rounds):
    """Medians of each goal's values: all goals in every round, and each goal's parts close together."""
    parts = {goal: list(goal.parts()) for goal in goals}
    seen = {goal: {} for goal in goals}
    for round_ in range(rounds):
        for goal in goals:
            for name, part in parts[goal] if round_ % 2 == 0 else reversed(parts[goal]):
                value = part()
                seen[goal].setdefault(name, []).append(value)
                print(f"round {round_ + 1} {type(goal).__name__} {name}: {value}", flush=True)
    return [(goal, row) for goal in goals for row in goal.rows({name: median(values) for name, values in seen[goal].items()})]


def machine():
    with open("/proc/meminfo") as meminfo:
        memory = int(meminfo.readline().split()[1]) / 1e6
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB of memory, Linux, loopback and Unix sockets only"


def write_results(results, rounds, seconds, load):
    lines = ["# Measured beside peers", "", "Written by `bench/run`. Only ratios of one run mean something; absolute figures "
             "move with the machine.", "",
             f"{datetime.date.today()}, {machine()}. Medians of {rounds} interleaved rounds of {seconds:g} s each. "
             f"{load:.1f} tasks were runnable on average when the run began: what else runs raises all figures and times.", "",
             "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(row.cells) + " |" for _, row in results]
    lines += ["", "## How", ""]
    for goal in dict.fromkeys(goal for goal, _ in results):
        names = ", ".join(dict.fromkeys(row.goal for owner, row in results if owner is goal))
        lines.append(f"* {names}: {goal.how}")
    missed = dict.fromkeys(row.goal for _, row in results if row.met is False)
    lines += ["", "## What limits what is missed", ""]
    lines += [f"* {goal}: {LIMITS.get(goal, 'not looked into yet.')}" for goal in missed] or ["Nothing is missed."]
    lines += ["", "## Not measured", "", "Growth of cost with work (the last column of the goals), and the goals that are not "
              "in the table."]
    (ROOT / "bench" / "results.md").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    parser.add_argument("--only", help=f"some of {','.join(GOALS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else list(GOALS)
    if unknown := [name for name in chosen if name not in GOALS]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(GOALS)}")
    if not (bin_dir() / "aima").exists():
        raise SystemExit(f"bench: {bin_dir()}/aima is missing: cmake --preset release && cmake --build --preset release")
    load = os.getloadavg()[0]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="aima-bench-", dir="/tmp"))
    directory.chmod(0o711)
    engine = directory / "bin" / "llama-server"
    engine.parent.mkdir()
    engine.write_text(f'#!/bin/sh\nexec {BUILT}/bench/bench_engine "$@"\n')
    engine.chmod(0o755)
    os.environ["PATH"] = f"{engine.parent}:{os.environ['PATH']}"
    with Processes(directory) as processes:
        bench = Bench(processes, arguments.seconds)
        try:
            kinds = list(dict.fromkeys(GOALS[name] for name in chosen))
            results = measure([kind(bench) for kind in kinds if kind is not G19G20], arguments.rounds)
            if G19G20 in kinds:  # stops the cluster that the others share
                results += measure([G19G20(bench)], arguments.rounds)
        finally:
            bench.close()
    shutil.rmtree(directory, ignore_errors=True)
    if not arguments.only:
        write_results(results, arguments.rounds, arguments.seconds, load)
    widths = [max(len(row[i]) for row in [HEAD, *(row.cells for _, row in results)]) for i in range(len(HEAD))]
    for cells in [HEAD, *(row.cells for _, row in results)]:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)))


if __name__ == "__main__":
    main()
