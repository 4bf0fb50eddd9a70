"""What `model.estimate_resources` says beside what the real engine takes."""
import pathlib

import pytest

from support.cluster import Cluster, models_dir

CONTEXTS = [512, 2048, 8192]


@pytest.fixture(scope="module")
def serving():
    with Cluster() as cluster:
        cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
        for name, file in {"chat": "SmolLM2-135M-Instruct.Q4_1.gguf", "embedding": "all-MiniLM-L6-v2.Q8_0.gguf"}.items():
            setattr(cluster, name, cluster.execute("model.import", {"path": str(models_dir() / file)})["model_id"])
        yield cluster


def resident_bytes(pid):
    """Of the process: its own memory and the pages of the model's file that it has mapped."""
    for line in (pathlib.Path("/proc") / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")


def fill(cluster, model, tokens):
    """Has the model read whole batches, so that what it reserves is also in memory."""
    text = "one " * min(1200, tokens - (60 if model == cluster.chat else 20))
    if model == cluster.chat:
        request = {"model": model, "message": text, "max_tokens": 8}
        cluster.execute("inference.chat", request, options={"timeout": "200s"}, timeout=230)
    else:
        cluster.execute("inference.embed", {"model": model, "input": [text]}, options={"timeout": "200s"}, timeout=230)


@pytest.mark.parametrize("kind, context", [("chat", context) for context in CONTEXTS] + [("embedding", 512)])
def test_the_estimate_is_within_a_tenth_of_what_the_engine_takes(serving, kind, context):
    model = getattr(serving, kind)
    estimate = serving.execute("model.estimate_resources", {"model_id": model, "context_length": context, "parallel": 1})
    assert estimate["engine"] == "llamacpp"
    started = serving.execute("engine.start", {"model_id": model, "config": {"context_length": context, "parallel": 1}},
                              options={"timeout": "60s"}, timeout=90)
    try:
        assert int(serving.execute("resource.allocations")["allocations"][0]["memory_limit"]) == int(
            estimate["memory_recommended"]), "what is reserved is what was estimated"
        idle = resident_bytes(started["process_id"])
        fill(serving, model, context)
        used = resident_bytes(started["process_id"])
    finally:
        serving.execute("engine.stop", {"name": started["instance_id"]}, timeout=60)
    said = int(estimate["memory_recommended"])
    print(f"{kind}, context {context}: estimate {said / 1e6:.0f} MB, engine {idle / 1e6:.0f} MB when ready, "
          f"{used / 1e6:.0f} MB after whole batches ({said / used - 1:+.1%}); {estimate['breakdown']}")
    assert abs(said - used) <= used / 10
