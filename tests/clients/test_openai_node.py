"""OpenAI's official client for Node talks to a cluster as to OpenAI: chat, completions, embeddings and responses."""
import pytest

from node_clients import abandoned, clients_folder, run_program

PROLOGUE = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: settings.url, apiKey: settings.key, maxRetries: 0 });
const model = settings.model;
const text = "What is the capital of France? One sentence.";
const question = { model, max_tokens: 16, temperature: 0, messages: [{ role: "user", content: text }] };
const asked = { model, max_output_tokens: 16, temperature: 0, input: text };
const fails = async (call) => {
  try {
    await call();
    tell({ class: "none: it did not fail" });
  } catch (error) {
    tell({ class: error.constructor.name, status: error.status, message: error.message, code: error.code, param: error.param, type: error.type });
  }
};
"""


@pytest.fixture(scope="module")
def program(cluster, chat_model):
    folder = clients_folder()
    good = cluster.new_key("operate")  # the client cannot be made without a key
    settings = {"url": f"http://localhost:{cluster.http_port}/v1", "model": chat_model}
    return lambda text, key=good: run_program(folder, "openai", PROLOGUE + text, {**settings, "key": key})


def test_it_chats_and_streams_the_same(program):
    whole, pieces, usage = program("""
const whole = await client.chat.completions.create(question);
const pieces = [];
let usage;
for await (const chunk of await client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } })) {
  if (chunk.choices.length) pieces.push(chunk.choices[0].delta.content ?? "");
  usage = chunk.usage ?? usage;
}
tell([whole, pieces, usage]);
""")
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    assert usage["completion_tokens"] == whole["usage"]["completion_tokens"] > 0


def test_it_continues_a_text(program):
    assert program("tell((await client.completions.create({ model, prompt: 'One, two, three,', max_tokens: 8 })).choices[0].text)").strip()


def test_it_makes_embeddings(program, embedding_model):
    vectors = program(f"""
const answer = await client.embeddings.create({{ model: "{embedding_model}", input: ["A sentence.", "Another one."] }});
tell(answer.data.map((item) => item.embedding));
""")
    assert [len(vector) for vector in vectors] == [384, 384]
    assert abs(sum(value * value for value in vectors[0]) - 1) < 0.01


def test_it_lists_the_models(program, chat_model):
    assert chat_model in program("tell((await client.models.list()).data.map((model) => model.id))")


def test_it_gets_a_response(program, chat_model):
    response = program("tell(await client.responses.create({ ...asked, instructions: 'You are brief.', store: false, metadata: { a: 'b' }, reasoning: { effort: 'low' } }))")
    assert response["object"] == "response" and response["model"] == chat_model
    assert response["status"] in ("completed", "incomplete")
    assert response["output_text"].strip()
    assert response["metadata"] == {"a": "b"} and response["instructions"] == "You are brief."
    assert response["usage"]["total_tokens"] == response["usage"]["input_tokens"] + response["usage"]["output_tokens"] > 10


def test_it_streams_the_response_that_it_gets_whole(program):
    whole, final, deltas, types, numbers = program("""
const stream = client.responses.stream(asked);
const types = [], numbers = [], deltas = [];
for await (const event of stream) {
  types.push(event.type);
  numbers.push(event.sequence_number);
  if (event.type === "response.output_text.delta") deltas.push(event.delta);
}
tell([await client.responses.create(asked), await stream.finalResponse(), deltas, types, numbers]);
""")
    assert final["output_text"] == whole["output_text"] == "".join(deltas)
    assert len(deltas) > 3
    assert final["status"] == whole["status"]
    assert final["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert types[0] == "response.created" and types[-1] in ("response.completed", "response.incomplete")
    assert numbers == list(range(len(numbers)))


def test_a_response_that_is_cut_off_says_so(program):
    response = program("tell(await client.responses.create({ ...asked, max_output_tokens: 2 }))")
    assert response["status"] == "incomplete"
    assert response["incomplete_details"]["reason"] == "max_output_tokens"


def test_a_response_of_a_schema_is_parsed_by_the_client(program):
    parsed = program("""
const schema = { type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false };
const response = await client.responses.create({ ...asked, max_output_tokens: 40, text: { format: { type: "json_schema", name: "answer", schema, strict: true } } });
tell(JSON.parse(response.output_text));
""")
    assert parsed["city"] in ("Paris", "Rome")


def test_a_conversation_with_function_calls_goes_through(program):
    response, counted = program("""
const tools = [{ type: "function", name: "weather", description: "Tells the weather.", strict: false, parameters: { type: "object", properties: { city: { type: "string" } } } }];
const input = [
  { role: "user", content: "What is the weather in Paris?" },
  { type: "function_call", call_id: "call_1", name: "weather", arguments: '{"city":"Paris"}' },
  { type: "function_call_output", call_id: "call_1", output: "Sunny, 20 degrees." },
];
const request = { model, input, tools, tool_choice: "auto", parallel_tool_calls: false };
tell([await client.responses.create({ ...request, max_output_tokens: 24, temperature: 0 }), await client.responses.inputTokens.count(request)]);
""")
    assert {item["type"] for item in response["output"]} <= {"message", "function_call"}
    assert response["tools"][0]["name"] == "weather"
    assert counted["input_tokens"] == response["usage"]["input_tokens"]


@pytest.mark.parametrize("wrong,named", [("previous_response_id: 'resp_1'", "previous_response_id"), ("store: true", "store"), ("background: true", "background"),
                                         ("conversation: 'conv_1'", "conversation"), ("tools: [{ type: 'web_search' }]", "tools.0.type"),
                                         ("typo: 1", "typo"), ("input: 5", "input"), ("temperature: 7", "temperature")])
def test_what_a_response_cannot_have_is_its_bad_request_error(program, wrong, named):
    failed = program(f"await fails(() => client.responses.create({{ ...asked, {wrong} }}))")
    assert (failed["class"], failed["status"], failed["param"]) == ("BadRequestError", 400, named), failed


@pytest.mark.parametrize("call", ["client.chat.completions.create({ ...question, model: 'no-such-model' })", "client.responses.create({ ...asked, model: 'no-such-model' })",
                                  "client.responses.stream({ ...asked, model: 'no-such-model' }).finalResponse()"])
def test_an_unknown_model_is_its_not_found_error(program, call):
    failed = program(f"await fails(() => {call})")
    assert (failed["class"], failed["status"], failed["code"]) == ("NotFoundError", 404, "model_not_found"), failed
    assert "no-such-model" in failed["message"]


def test_a_response_is_not_there_afterwards(program):
    failed = program("const { id } = await client.responses.create({ ...asked, max_output_tokens: 1 }); await fails(() => client.responses.retrieve(id))")
    assert failed["class"] == "NotFoundError" and "not kept" in failed["message"], failed


def test_a_wrong_key_is_its_authentication_error(program):
    assert program("await fails(() => client.responses.create(asked))", key="aima_nobody_" + "0" * 64)["class"] == "AuthenticationError"


def test_a_key_of_too_low_a_role_is_its_permission_denied_error(program, cluster):
    assert program("await fails(() => client.responses.create(asked))", key=cluster.new_key("read"))["class"] == "PermissionDeniedError"


@pytest.mark.parametrize("call", ["client.chat.completions.create({ model, max_tokens: 1500, messages: [{ role: 'user', content: story }], stream: true })",
                                  "client.responses.create({ model, max_output_tokens: 1500, input: story, stream: true })"])
def test_an_aborted_stream_ends_the_engines_work(program, cluster, call):
    assert abandoned(cluster, lambda: program(f"""
const story = "Tell me a very long story about many animals, at least five thousand words.";
const stream = await {call};
let events = 0;
for await (const event of stream) if (++events > 6) break;
stream.controller.abort();
tell("left");
"""))
