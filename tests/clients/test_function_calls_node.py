"""Function calls through the official clients, there and back: what a model calls arrives whole in each API, streamed or not,
and what the client sends back arrives at the model. The model is a stand-in that calls; see support/calling_engine."""
import json
import pathlib

import pytest

from node_clients import clients_folder, run_program
from support.cluster import Cluster

ENGINE = pathlib.Path(__file__).resolve().parent.parent / "support" / "calling_engine"
PARIS = {"city": "Paris", "days": [1, 2], "note": "\"quoted\" é"}
ROME = {"city": "Rome"}


@pytest.fixture(scope="module")
def ask():
    """Runs a program with a cluster whose model `caller` calls functions."""
    with Cluster(start=False) as cluster:
        (cluster.data_dir / "engines.d").mkdir()
        (cluster.data_dir / "engines.d" / "calling.yaml").write_text(
            "name: calling\ntype: calling\ndescription: Calls functions.\ndialect: openai\nmodel_types: [llm]\nown_models: true\n"
            f"models: [{{name: caller, type: llm}}]\ninstall: {{detect: [{ENGINE}]}}\nlaunch: {{args: ['{{port}}']}}\nmemory: 1MB\n"
            "health: {path: /health}\n")
        cluster.start()
        cluster.execute("engine.start", {"name": "calling"}, options={"timeout": "60s"}, timeout=90)
        settings = {"url": f"http://localhost:{cluster.http_port}", "model": "caller", "key": cluster.new_key("operate"),
                    "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
        yield lambda name, text: run_program(clients_folder(), "calls-" + name, text, settings)


def test_anthropics_client_gets_and_answers_calls(ask):
    whole, streamed, told = ask("anthropic", """
import Anthropic from "@anthropic-ai/sdk";
const client = new Anthropic({ baseURL: settings.url, apiKey: settings.key, maxRetries: 0 });
const tools = [{ name: "weather", description: "Tells the weather.", input_schema: settings.schema }];
const request = { model: settings.model, max_tokens: 99, tools, messages: [{ role: "user", content: "Weather?" }] };
const whole = await client.messages.create(request);
const streamed = await client.messages.stream(request).finalMessage();
const results = whole.content.filter((block) => block.type === "tool_use").map((block) => ({ type: "tool_result", tool_use_id: block.id, content: "Sunny in " + block.input.city }));
const last = await client.messages.create({ ...request, messages: [...request.messages, { role: "assistant", content: streamed.content }, { role: "user", content: results }] });
tell([whole, streamed, JSON.parse(last.content[0].text)]);
""")
    for message in (whole, streamed):
        assert message["stop_reason"] == "tool_use"
        thinking, text, paris, rome = message["content"]
        assert (thinking["type"], thinking["thinking"]) == ("thinking", "The user wants the weather.")
        assert (text["type"], text["text"]) == ("text", "Let me look.")
        assert (paris["type"], paris["id"], paris["name"], paris["input"]) == ("tool_use", "call_0", "weather", PARIS)
        assert (rome["id"], rome["input"]) == ("call_1", ROME)
        assert message["usage"]["input_tokens"] == 30 and message["usage"]["output_tokens"] == 20
    check_told(told)
    assert told[0]["reasoning_content"] == "The user wants the weather."


def test_openais_client_gets_and_answers_calls_in_responses(ask):
    whole, streamed, told = ask("openai", """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: settings.url + "/v1", apiKey: settings.key, maxRetries: 0 });
const tools = [{ type: "function", name: "weather", description: "Tells the weather.", parameters: settings.schema, strict: false }];
const request = { model: settings.model, tools, input: [{ role: "user", content: "Weather?" }] };
const whole = await client.responses.create(request);
const streamed = await client.responses.stream(request).finalResponse();
const results = streamed.output.filter((item) => item.type === "function_call").map((item) => ({ type: "function_call_output", call_id: item.call_id, output: "Sunny in " + JSON.parse(item.arguments).city }));
const last = await client.responses.create({ ...request, input: [...request.input, ...whole.output, ...results] });
tell([whole, streamed, JSON.parse(last.output_text)]);
""")
    for response in (whole, streamed):
        assert response["status"] == "completed"
        thinking, text, paris, rome = response["output"]
        assert thinking["content"][0]["text"] == "The user wants the weather."
        assert text["content"][0]["text"] == "Let me look." == response["output_text"]
        assert (paris["type"], paris["call_id"], paris["name"], json.loads(paris["arguments"])) == ("function_call", "call_0", "weather", PARIS)
        assert (rome["call_id"], json.loads(rome["arguments"])) == ("call_1", ROME)
        assert response["usage"]["input_tokens"] == 30 and response["usage"]["output_tokens"] == 20
    check_told(told)


def test_openais_client_gets_and_answers_calls_in_chats(ask):
    whole, streamed, told = ask("openai-chat", """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: settings.url + "/v1", apiKey: settings.key, maxRetries: 0 });
const tools = [{ type: "function", function: { name: "weather", description: "Tells the weather.", parameters: settings.schema } }];
const request = { model: settings.model, tools, messages: [{ role: "user", content: "Weather?" }] };
const whole = (await client.chat.completions.create(request)).choices[0].message;
const streamed = (await client.chat.completions.stream(request).finalChatCompletion()).choices[0].message;
const results = whole.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "Sunny in " + JSON.parse(call.function.arguments).city }));
const last = await client.chat.completions.create({ ...request, messages: [...request.messages, streamed, ...results] });
tell([whole, streamed, JSON.parse(last.choices[0].message.content)]);
""")
    for message in (whole, streamed):
        assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [PARIS, ROME]
        assert message["content"] == "Let me look."
    check_told(told)


def test_ollamas_client_gets_and_answers_calls(ask):
    whole, streamed, told = ask("ollama", """
import { Ollama } from "ollama";
const client = new Ollama({ host: settings.url });
const tools = [{ type: "function", function: { name: "weather", description: "Tells the weather.", parameters: settings.schema } }];
const request = { model: settings.model, tools, messages: [{ role: "user", content: "Weather?" }] };
const whole = (await client.chat(request)).message;
const streamed = { role: "assistant", content: "", thinking: "", tool_calls: [] };
for await (const piece of await client.chat({ ...request, stream: true })) {
  streamed.content += piece.message.content;
  streamed.thinking += piece.message.thinking ?? "";
  streamed.tool_calls.push(...(piece.message.tool_calls ?? []));
}
const results = streamed.tool_calls.map((call) => ({ role: "tool", tool_name: call.function.name, content: "Sunny in " + call.function.arguments.city }));
const bare = { ...whole, tool_calls: whole.tool_calls.map((call) => ({ function: { name: call.function.name, arguments: call.function.arguments } })) };
tell([whole, streamed, JSON.parse((await client.chat({ ...request, messages: [...request.messages, bare, ...results] })).message.content)]);
""")
    for message in (whole, streamed):
        assert message["thinking"] == "The user wants the weather."
        assert message["content"] == "Let me look."
        assert [(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]] == [("weather", PARIS), ("weather", ROME)]
    check_told(told)


def check_told(turns):
    """What the model was told of its calls and their results."""
    said, first, second = turns
    assert said["role"] == "assistant" and said["content"] == "Let me look."
    assert [json.loads(call["function"]["arguments"]) for call in said["tool_calls"]] == [PARIS, ROME]
    assert [(turn["role"], turn["content"]) for turn in (first, second)] == [("tool", "Sunny in Paris"), ("tool", "Sunny in Rome")]
    assert [turn["tool_call_id"] for turn in (first, second)] == [call["id"] for call in said["tool_calls"]]
