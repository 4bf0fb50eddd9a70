"""The official Python SDK of MCP runs a scenario in both eras and over both transports: find a model, ask it, watch a
resource. The client is a program of its own, which knows nothing of this repository."""
import json
import subprocess

import pytest

from support.cluster import bin_dir
from tools import python_packages

BEGIN = """
import asyncio, json, sys
import jsonschema, mcp
from mcp import Client, StdioServerParameters

async def main():
    settings = json.loads(sys.stdin.read())
    target = settings["target"]
    if isinstance(target, list):
        target = StdioServerParameters(command=target[0], args=target[1:], env=settings["env"])
    heard = asyncio.Queue()
    async def on_message(message):
        heard.put_nowait(message)
    async with Client(target, mode=settings["mode"], message_handler=on_message, read_timeout_seconds=120) as client:
        print(json.dumps(await scenario(client, settings, heard)))
"""

END = """
asyncio.run(main())
"""


@pytest.fixture(scope="session")
def python():
    """A Python that has the SDK, and nothing of this repository."""
    return python_packages("mcp-python")


@pytest.fixture(params=[("http", "legacy"), ("http", "auto"), ("stdio", "legacy"), ("stdio", "auto")],
                ids=lambda chosen: "-".join(chosen))
def client(request, python, cluster):
    """Runs a coroutine `scenario(client, settings, heard)` and returns what it returned."""
    transport, mode = request.param
    target = f"http://127.0.0.1:{cluster.http_port}/mcp" if transport == "http" else [str(bin_dir() / "aima"), "mcp", "serve"]

    def start(scenario, **settings):
        settings = {"target": target, "mode": mode, "env": cluster.environment(), **settings}
        done = subprocess.run([python, "-c", BEGIN + scenario + END], input=json.dumps(settings), capture_output=True,
                              text=True, timeout=240, env=cluster.environment())
        assert done.returncode == 0, done.stderr[-6000:]
        return json.loads(done.stdout)

    start.era = "2025-11-25" if mode == "legacy" else "2026-07-28"
    return start


def test_it_finds_a_model_and_asks_it(client, chat_model):
    told = client("""
async def scenario(client, settings, heard):
    tools = (await client.list_tools()).tools
    models = (await client.call_tool("model_list", {"type": "llm"})).structured_content["items"]
    progress = []
    async def on_progress(done, total, message):
        progress.append(done)
    answer = await client.call_tool("inference_chat", {"model": models[0]["id"], "max_tokens": 8,
        "messages": [{"role": "user", "content": "Say hello."}]}, progress_callback=on_progress)
    return {"version": client.protocol_version, "tools": [tool.name for tool in tools], "models": [m["id"] for m in models],
            "answer": answer.structured_content, "error": answer.is_error, "progress": progress}
""")
    assert told["version"] == client.era
    assert 20 <= len(told["tools"]) <= 40
    assert chat_model in told["models"]
    assert not told["error"] and told["answer"]["content"].strip()
    assert told["answer"]["usage"]["completion_tokens"] >= 1
    assert told["progress"] and told["progress"] == sorted(set(told["progress"])), "strictly increasing"


def test_what_every_reading_tool_answers_fits_its_schema(client, chat_model):
    told = client("""
ARGUMENTS = {"model_get": {"model_id": MODEL}, "model_search": {"query": "smol"}, "model_estimate_resources": {"model_id": MODEL},
             "engine_get": {"name": "llamacpp"}, "engine_features": {"name": "llamacpp"}, "resource_can_allocate": {"memory_bytes": 4096}}
async def scenario(client, settings, heard):
    checked = []
    for tool in (await client.list_tools()).tools:
        # What is not asked here needs something that goes on.
        if not tool.annotations.read_only_hint or tool.name.startswith(("event_", "operation_")):
            continue
        result = await client.call_tool(tool.name, ARGUMENTS.get(tool.name, {}))
        assert not result.is_error, (tool.name, result.content[0].text)
        jsonschema.Draft202012Validator(tool.output_schema).validate(result.structured_content)
        assert json.loads(result.content[0].text) == result.structured_content
        checked.append(tool.name)
    return checked
""".replace("MODEL}", f"{chat_model!r}}}"))
    assert len(told) >= 12, told


def test_it_reads_and_watches_a_resource(client, cluster):
    told = client("""
async def scenario(client, settings, heard):
    listed = [str(entry.uri) for entry in (await client.list_resources()).resources]
    templates = [entry.uri_template for entry in (await client.list_resource_templates()).resource_templates]
    uri = "asms://models/registry"
    before = json.loads((await client.read_resource(uri)).contents[0].text)
    create = lambda name: client.call_tool("model_create", {"name": name, "type": "llm"})
    if client.protocol_version == "2026-07-28":
        async with client.listen(resource_subscriptions=[uri]) as events:
            await create(settings["name"])
            async for event in events:
                changed = str(event.uri)
                break
    else:
        await client.subscribe_resource(uri)
        await create(settings["name"])
        while True:
            message = await asyncio.wait_for(heard.get(), 30)
            message = getattr(message, "root", message)
            if type(message).__name__ == "ResourceUpdatedNotification":
                changed = str(message.params.uri)
                break
    after = json.loads((await client.read_resource(uri)).contents[0].text)
    return {"listed": listed, "templates": templates, "changed": changed, "before": before["total"], "after": after["total"]}
""", name=f"watched-{client.era}-{id(client)}")
    assert "asms://resource/status" in told["listed"] and "asms://model/{model_id}" in told["templates"]
    assert told["changed"] == "asms://models/registry"
    assert told["after"] == told["before"] + 1


def test_mistakes_are_told_so_that_a_model_can_correct_them(client, chat_model):
    told = client("""
async def scenario(client, settings, heard):
    wrong = await client.call_tool("model_get", {"id": "x"})
    absent = await client.call_tool("model_get", {"model_id": "no-such-model"})
    try:
        await client.call_tool("no_such_tool", {})
        unknown = ""
    except mcp.MCPError as error:
        unknown = str(error)
    return {"wrong": wrong.content[0].text, "absent": absent.content[0].text, "is_error": wrong.is_error and absent.is_error, "unknown": unknown}
""")
    assert told["is_error"]
    assert "model_id" in told["wrong"]
    assert "no-such-model" in told["absent"] and "MODEL_NOT_FOUND" in told["absent"]
    assert "no_such_tool" in told["unknown"]


def test_ids_and_prompts_are_completed(client, chat_model):
    told = client("""
async def scenario(client, settings, heard):
    from mcp.types import PromptReference, ResourceTemplateReference
    by_template = await client.complete(ResourceTemplateReference(type="ref/resource", uri="asms://model/{model_id}"), {"name": "model_id", "value": MODEL[:3]})
    by_prompt = await client.complete(PromptReference(type="ref/prompt", name="run_a_model"), {"name": "model", "value": MODEL[:3]})
    prompt = await client.get_prompt("run_a_model", {"model": MODEL})
    return {"by_template": by_template.completion.values, "by_prompt": by_prompt.completion.values, "prompt": prompt.messages[0].content.text}
""".replace("MODEL", repr(chat_model)))
    assert chat_model in told["by_template"] and chat_model in told["by_prompt"]
    assert chat_model in told["prompt"]
