"""The official TypeScript SDKs of MCP, the one of sessions (v1) and the one of both eras (v2), run a scenario over HTTP
and over standard input and output: find a model, ask it, watch a resource."""
import json
import subprocess

import pytest

from support.cluster import bin_dir
from tools import node_environment, node_packages


V1 = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
const newClient = () => new Client({ name: "test", version: "1" });
const call = (client, name, args, options) => client.callTool({ name, arguments: args }, undefined, options);
const onUpdate = (client, heard) => client.setNotificationHandler(ResourceUpdatedNotificationSchema, (n) => heard(n.params.uri));
"""

V2 = """
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
const newClient = () => new Client({ name: "test", version: "1" }, { versionNegotiation: { mode: settings.mode } });
const call = (client, name, args, options) => client.callTool({ name, arguments: args }, options);
const onUpdate = (client, heard) => client.setNotificationHandler("notifications/resources/updated", (n) => heard(n.params.uri));
"""

SCENARIO = """
const client = newClient();
const updated = new Promise((heard) => onUpdate(client, heard));
await client.connect(settings.url ? new StreamableHTTPClientTransport(new URL(settings.url))
                                  : new StdioClientTransport({ command: settings.command[0], args: settings.command.slice(1), env: settings.env }));
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const models = (await call(client, "model_list", { type: "llm" })).structuredContent.items.map((model) => model.id);
const progress = [];
const answer = await call(client, "inference_chat", { model: models[0], max_tokens: 8, messages: [{ role: "user", content: "Say hello." }] },
                          { onprogress: (told) => progress.push(told.progress) });
const uri = "asms://models/registry";
const modern = settings.mode === "auto";
const subscription = modern ? await client.listen({ resourceSubscriptions: [uri] }) : await client.subscribeResource({ uri });
await call(client, "model_create", { name: settings.name, type: "llm" });
const changed = await updated;
if (modern) await subscription.close();
const wrong = await call(client, "model_get", { model: "x" });
await client.close();
console.log(JSON.stringify({ tools, models, content: answer.structuredContent.content, progress, changed, wrong: wrong.isError }));
process.exit(0);
"""


@pytest.fixture(scope="session")
def folder():
    return node_packages("mcp-typescript")


@pytest.mark.parametrize("transport", ["http", "stdio"])
@pytest.mark.parametrize("sdk,mode", [("v1", "legacy"), ("v2", "legacy"), ("v2", "auto")])
def test_it_finds_a_model_asks_it_and_watches_a_resource(folder, cluster, chat_model, sdk, mode, transport):
    settings = {"mode": mode, "name": f"typescript-{sdk}-{mode}-{transport}", "env": cluster.environment()}
    if transport == "http":
        settings["url"] = f"http://127.0.0.1:{cluster.http_port}/mcp"
    else:
        settings["command"] = [str(bin_dir() / "aima"), "mcp", "serve"]
    program = folder / f"{settings['name']}.mjs"
    program.write_text((V1 if sdk == "v1" else V2) + f"const settings = {json.dumps(settings)};\n" + SCENARIO)
    done = subprocess.run(["node", program], capture_output=True, text=True, timeout=120,
                          env=node_environment(folder), stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert 20 <= len(told["tools"]) <= 40 and "model_list" in told["tools"]
    assert chat_model in told["models"]
    assert told["content"].strip()
    assert told["progress"] and told["progress"] == sorted(set(told["progress"]))
    assert told["changed"] == "asms://models/registry"
    assert told["wrong"] is True
