"""An engine dies in the middle of a stream: each official client raises an error rather than end as if all were well."""
import json
import os
import signal

import pytest

from node_clients import clients_folder, start_program
from support.cluster import Cluster, models_dir

STORY = "Tell me a very long story about many animals, at least five thousand words."
PROGRAMS = {
    "anthropic": """
import Anthropic from "@anthropic-ai/sdk";
const client = new Anthropic({ baseURL: settings.url, apiKey: settings.key, maxRetries: 0 });
const stream = await client.messages.create({ model: settings.model, max_tokens: 1500, stream: true, messages: [{ role: "user", content: settings.story }] });
""",
    "chat": """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: settings.url + "/v1", apiKey: settings.key, maxRetries: 0 });
const stream = await client.chat.completions.create({ model: settings.model, max_tokens: 1500, stream: true, messages: [{ role: "user", content: settings.story }] });
""",
    "responses": """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: settings.url + "/v1", apiKey: settings.key, maxRetries: 0 });
const stream = await client.responses.create({ model: settings.model, max_output_tokens: 1500, stream: true, input: settings.story });
""",
    "ollama": """
import { Ollama } from "ollama";
const client = new Ollama({ host: settings.url });
const stream = await client.chat({ model: settings.model, options: { num_predict: 1500 }, stream: true, messages: [{ role: "user", content: settings.story }] });
""",
}
READ = """
try {
  let pieces = 0;
  for await (const piece of stream) if (++pieces === 8) tell("begun");
  tell({ class: "none: it ended as if all were well" });
} catch (error) {
  tell({ class: error.constructor.name, message: error.message });
}
"""


@pytest.fixture(scope="module")
def fragile():
    """A cluster of its own, with the model and a key."""
    with Cluster() as cluster:
        cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
        model = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf")})["model_id"]
        yield cluster, model, cluster.new_key("operate")


def running(cluster):
    """Process id of the engine; None if it does not run."""
    for instance in cluster.execute("engine.get", {"name": "llamacpp"})["instances"]:
        if instance["status"] == "running":
            return int(instance["process_id"])


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_stream_whose_engine_dies_raises(fragile, name):
    cluster, model, key = fragile
    pid = int(cluster.execute("engine.start", {"model_id": model}, options={"timeout": "60s"}, timeout=90)["process_id"])
    settings = {"url": f"http://localhost:{cluster.http_port}", "model": model, "key": key, "story": STORY}
    with start_program(clients_folder(), "broken-" + name, PROGRAMS[name] + READ, settings) as process:
        try:
            assert process.stdout.readline().strip() == '"begun"', process.stderr.read()
            os.kill(pid, signal.SIGKILL)
            output, errors = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            raise
    cluster.wait(lambda: running(cluster) not in (None, pid), seconds=60, what="the engine's next start")
    raised = json.loads(output.splitlines()[-1])
    assert raised["class"] in ("APIError", "Error"), raised
    assert "went away" in raised["message"], raised
