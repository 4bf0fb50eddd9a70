"""Anthropic's official client for Node talks to a cluster as to Anthropic."""
import pytest

from node_clients import abandoned, clients_folder, run_program

PROLOGUE = """
import Anthropic from "@anthropic-ai/sdk";
const client = new Anthropic({ baseURL: settings.url, apiKey: settings.key, maxRetries: 0 });
const model = settings.model;
const question = { model, max_tokens: 24, temperature: 0, messages: [{ role: "user", content: "What is the capital of France? One sentence." }] };
const fails = async (call) => {
  try {
    await call();
    tell({ class: "none: it did not fail" });
  } catch (error) {
    tell({ class: error.constructor.name, status: error.status, message: error.message, type: error.error?.error?.type, id: error.requestID });
  }
};
"""


@pytest.fixture(scope="module")
def program(cluster, chat_model):
    folder = clients_folder()
    good = cluster.new_key("operate")  # the client cannot be made without a key
    settings = {"url": f"http://localhost:{cluster.http_port}", "model": chat_model}
    return lambda text, key=good: run_program(folder, "anthropic", PROLOGUE + text, {**settings, "key": key})


def test_it_asks_a_question(program, chat_model):
    message = program("tell(await client.messages.create({ ...question, system: 'You are brief.' }))")
    assert message["type"] == "message" and message["role"] == "assistant" and message["model"] == chat_model
    assert [block["type"] for block in message["content"]] == ["text"]
    assert message["content"][0]["text"].strip()
    assert message["stop_reason"] in ("end_turn", "max_tokens")
    assert message["usage"]["output_tokens"] > 0
    assert message["usage"]["input_tokens"] + message["usage"]["cache_read_input_tokens"] > 10


def test_it_streams_the_message_that_it_gets_whole(program):
    streamed, whole, deltas, types, begun = program("""
const stream = client.messages.stream(question);
const types = [], deltas = [];
let begun;
stream.on("streamEvent", (event) => types.push(event.type));
stream.on("streamEvent", (event) => { if (event.type === "message_start") begun = { ...event.message.usage }; });
stream.on("text", (text) => deltas.push(text));
const streamed = await stream.finalMessage();
tell([streamed, await client.messages.create(question), deltas, types, begun]);
""")
    assert streamed["content"][0]["text"] == whole["content"][0]["text"] == "".join(deltas)
    assert len(deltas) > 3
    assert streamed["stop_reason"] == whole["stop_reason"]
    assert streamed["usage"]["output_tokens"] == whole["usage"]["output_tokens"] > 0
    told = (begun, streamed["usage"], whole["usage"])
    read = [usage["input_tokens"] + usage["cache_read_input_tokens"] for usage in told]
    assert read[0] == read[1] == read[2] > 10, "known from the first event on"
    assert begun["input_tokens"] == streamed["usage"]["input_tokens"] and begun["output_tokens"] == 0
    assert types[0] == "message_start" and types[-2:] == ["message_delta", "message_stop"]


def test_max_tokens_and_stop_sequences_are_told_apart(program):
    cut, stopped, streamed = program("""
const counting = { ...question, max_tokens: 60, messages: [{ role: "user", content: "Repeat: alpha beta gamma" }] };
const first = await client.messages.create(counting);
const word = first.content[0].text.split(/\\s+/)[1];
const stopping = { ...counting, stop_sequences: [word] };
tell([await client.messages.create({ ...question, max_tokens: 2 }), { word, ...(await client.messages.create(stopping)) },
      await client.messages.stream(stopping).finalMessage()]);
""")
    assert cut["stop_reason"] == "max_tokens" and cut["usage"]["output_tokens"] == 2
    for message in (stopped, streamed):
        assert message["stop_reason"] == "stop_sequence", message
        assert message["stop_sequence"] == stopped["word"]
        assert stopped["word"] not in message["content"][0]["text"] if message["content"] else True


def test_tokens_are_counted_as_the_engine_counts_them(program):
    counted, long, message = program("""
const { max_tokens, temperature, ...conversation } = question;
const long = { ...conversation, system: "You are brief. ".repeat(20) };
tell([await client.messages.countTokens(conversation), await client.messages.countTokens(long), await client.messages.create(question)]);
""")
    assert counted["input_tokens"] == message["usage"]["input_tokens"] + message["usage"]["cache_read_input_tokens"]
    assert long["input_tokens"] > counted["input_tokens"] + 20


def test_a_conversation_with_tools_goes_through(program):
    message, streamed = program("""
const tools = [{ name: "weather", description: "Tells the weather.", input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } }];
const messages = [
  { role: "user", content: "What is the weather in Paris?" },
  { role: "assistant", content: [{ type: "text", text: "Let me look." }, { type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Paris" } }] },
  { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: [{ type: "text", text: "Sunny, 20 degrees." }] }, { type: "text", text: "Say it in one sentence." }] },
];
const request = { model, max_tokens: 24, temperature: 0, tools, tool_choice: { type: "auto", disable_parallel_tool_use: true }, messages };
tell([await client.messages.create(request), await client.messages.stream(request).finalMessage()]);
""")
    assert [block["type"] for block in message["content"]] == [block["type"] for block in streamed["content"]]
    for block in message["content"]:
        assert block["type"] in ("text", "tool_use")
    assert message["stop_reason"] in ("end_turn", "max_tokens", "tool_use")


def test_thinking_effort_and_form_are_accepted(program):
    texts = program("""
const schema = { type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false };
const of = async (more) => (await client.messages.create({ ...question, max_tokens: 60, ...more })).content.map((block) => block.type).join();
tell([await of({ thinking: { type: "enabled", budget_tokens: 1024 } }), await of({ thinking: { type: "disabled" } }), await of({ output_config: { effort: "low" } }),
      JSON.parse((await client.messages.create({ ...question, max_tokens: 60, output_config: { format: { type: "json_schema", schema } } })).content[0].text).city]);
""")
    assert all("text" in types for types in texts[:3])
    assert texts[3] in ("Paris", "Rome")


def test_it_lists_the_models(program, chat_model):
    listed, one = program("""
const ids = [];
for await (const model of client.models.list({ limit: 1 })) ids.push(model.id);
tell([ids, await client.models.retrieve(model)]);
""")
    assert chat_model in listed
    assert one["id"] == chat_model and one["type"] == "model" and one["display_name"]


def test_an_unknown_model_is_its_not_found_error(program):
    failed = program('await fails(() => client.messages.create({ ...question, model: "no-such-model" }))')
    assert (failed["class"], failed["status"], failed["type"]) == ("NotFoundError", 404, "not_found_error"), failed
    assert "no-such-model" in failed["message"]
    assert failed["id"]


def test_an_unknown_model_fails_as_clearly_when_it_streams(program):
    failed = program('await fails(() => client.messages.stream({ ...question, model: "no-such-model" }).finalMessage())')
    assert (failed["class"], failed["status"]) == ("NotFoundError", 404), failed


@pytest.mark.parametrize("wrong,named", [("messages: 'text'", "messages"), ("max_tokens: -1", "max_tokens"), ("temperature: 'hot'", "temperature"),
                                         ("temperature: 7", "temperature"), ("messages: [{ role: 'user', content: [{ type: 'video' }] }]", "messages.0.content.0.type"),
                                         ("typo: 1", "typo"), ("tools: [{ type: 'web_search_20250305', name: 'web_search' }]", "tools.0.type")])
def test_an_invalid_request_is_its_bad_request_error(program, wrong, named):
    failed = program(f"await fails(() => client.messages.create({{ ...question, {wrong} }}))")
    assert (failed["class"], failed["status"], failed["type"]) == ("BadRequestError", 400, "invalid_request_error"), failed
    assert named in failed["message"]


def test_a_conversation_that_is_too_long_is_its_bad_request_error(program):
    failed = program('await fails(() => client.messages.create({ ...question, messages: [{ role: "user", content: "word ".repeat(20000) }] }))')
    assert failed["class"] == "BadRequestError", failed
    assert "context" in failed["message"]


def test_a_request_that_is_too_large_is_refused_in_its_form(program):
    failed = program('await fails(() => client.messages.create({ ...question, messages: [{ role: "user", content: "x".repeat(11 << 20) }] }))')
    assert (failed["status"], failed["type"]) == (413, "request_too_large"), failed


def test_a_wrong_key_is_its_authentication_error(program):
    failed = program("await fails(() => client.messages.create(question))", key="aima_nobody_" + "0" * 64)
    assert (failed["class"], failed["type"]) == ("AuthenticationError", "authentication_error"), failed


def test_a_key_of_too_low_a_role_is_its_permission_denied_error(program, cluster):
    failed = program("await fails(() => client.messages.create(question))", key=cluster.new_key("read"))
    assert (failed["class"], failed["type"]) == ("PermissionDeniedError", "permission_error"), failed


def test_an_aborted_stream_ends_the_engines_work(program, cluster):
    assert abandoned(cluster, lambda: program("""
const stream = client.messages.stream({ ...question, max_tokens: 1500, temperature: 1, messages: [{ role: "user", content: "Tell me a very long story about many animals, at least five thousand words." }] });
for await (const event of stream) if (event.type === "content_block_delta") break;
stream.abort();
tell("left");
"""))
