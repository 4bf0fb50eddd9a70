"""Runs programs in JavaScript that use the official npm clients of OpenAI, Anthropic and Ollama, unchanged."""
import json
import subprocess

from tools import node_environment, node_packages


def clients_folder():
    """A folder with node and these clients."""
    return node_packages("node-clients")


def start_program(folder, name, text, settings):
    """A program that finds `settings`, and prints JSON with `tell(value)`."""
    program = folder / f"{name}.mjs"
    program.write_text(f"const settings = {json.dumps(settings)};\nconst tell = (value) => console.log(JSON.stringify(value ?? null));\n{text}")
    return subprocess.Popen(["node", program], text=True, env=node_environment(folder),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run_program(folder, name, text, settings, timeout=180):
    """What the program prints as its last line, as JSON."""
    with start_program(folder, name, text, settings) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0, output[-2000:] + errors[-4000:]
    return json.loads(output.splitlines()[-1])


def abandoned(cluster, leave):
    """True once the request that `leave` begins and abandons has ended at the engine, which is then free again."""
    cluster.wait(lambda: busy(cluster) == 0, what="the end of earlier requests")
    latest = cluster.execute("event.query", {"limit": 1})["latest"]
    leave()

    def failed():
        told = cluster.execute("event.query", {"type": "inference.request_failed", "after": latest})["items"]
        return [event["payload"]["reason"] for event in told] == ["CANCELLED"]

    cluster.wait(failed, what="the end of the abandoned request")
    return cluster.wait(lambda: busy(cluster) == 0, what="an engine that is free")


def busy(cluster):
    return sum(model["in_flight"] for model in cluster.execute("inference.models")["models"])
