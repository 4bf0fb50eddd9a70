"""Ollama's official client for Node talks to a cluster as to Ollama."""
import pytest

from node_clients import abandoned, clients_folder, run_program
from support.cluster import Cluster
from support.pulling import sets_for
from support.registries import Hub, Registry, gguf, sha256

PROLOGUE = """
import { Ollama } from "ollama";
const client = new Ollama({ host: settings.url });
const model = settings.model;
const options = { temperature: 0, num_predict: 24, num_ctx: 2048 };
const messages = [{ role: "user", content: "What is the capital of France? One sentence." }];
const fails = async (call) => {
  try {
    await call();
    tell({ class: "none: it did not fail" });
  } catch (error) {
    tell({ class: error.constructor.name, status: error.status_code, message: error.message });
  }
};
"""


@pytest.fixture(scope="module")
def folder():
    return clients_folder()


@pytest.fixture(scope="module")
def program(folder, cluster, chat_model):
    settings = {"url": f"http://localhost:{cluster.http_port}", "model": chat_model}
    return lambda text: run_program(folder, "ollama", PROLOGUE + text, settings)


def test_it_chats(program, chat_model):
    answer = program("tell(await client.chat({ model, messages, options, keep_alive: '5m' }))")
    assert answer["model"] == chat_model
    assert answer["message"]["role"] == "assistant" and answer["message"]["content"].strip()
    assert answer["done"] is True and answer["done_reason"] in ("stop", "length")
    assert answer["prompt_eval_count"] > 10 and answer["eval_count"] > 0
    assert answer["total_duration"] > answer["eval_duration"] > 0


def test_it_streams_the_answer_that_it_gets_whole(program):
    pieces, last, whole = program("""
const pieces = [];
let last;
for await (const piece of await client.chat({ model, messages, options, stream: true })) {
  pieces.push(piece.message.content);
  last = piece;
}
tell([pieces, last, (await client.chat({ model, messages, options })).message.content]);
""")
    assert "".join(pieces) == whole
    assert len(pieces) > 3
    assert last["done"] is True and last["eval_count"] > 0 and last["total_duration"] > 0


def test_a_model_has_its_name_with_and_without_latest(program, chat_model):
    named = program("tell(await client.chat({ model: model + ':latest', messages, options }))")
    assert named["model"] == chat_model + ":latest"


def test_it_generates_from_a_prompt_and_from_raw_text(program):
    told, streamed, raw = program("""
const request = { model, prompt: "What is the capital of France? One sentence.", system: "You are brief.", options };
let streamed = "";
for await (const piece of await client.generate({ ...request, stream: true })) streamed += piece.response;
tell([await client.generate(request), streamed, await client.generate({ model, prompt: "One, two, three,", raw: true, options })]);
""")
    assert told["response"] == streamed != ""
    assert raw["response"].strip() and raw["done"] is True


def test_an_answer_has_the_form_that_is_asked_for(program):
    city, object = program("""
const schema = { type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"] };
const of = async (format) => JSON.parse((await client.chat({ model, messages, format, options: { ...options, num_predict: 60 } })).message.content);
tell([(await of(schema)).city, null]);
""")
    assert city in ("Paris", "Rome")
    assert object is None


def test_all_options_are_accepted(program):
    content = program("""
const all = { ...options, top_k: 20, top_p: 0.9, min_p: 0.05, typical_p: 0.9, repeat_last_n: 33, repeat_penalty: 1.1, presence_penalty: 0.5, frequency_penalty: 0.5,
  mirostat: 0, mirostat_tau: 5, mirostat_eta: 0.1, seed: 1, stop: ["\\n\\n"], num_gpu: 1, num_thread: 2, use_mmap: true, num_keep: 5, numa: false };
tell([(await client.chat({ model, messages, options: all, think: false })).message.content, (await client.chat({ model, messages, options, think: "low" })).message.content]);
""")
    assert all(text.strip() for text in content)


def test_stop_and_num_predict_end_an_answer(program):
    answer = program("tell(await client.chat({ model, messages, options: { temperature: 0, num_predict: 2 } }))")
    assert answer["done_reason"] == "length" and answer["eval_count"] == 2


def test_a_conversation_with_tools_goes_through(program):
    answer = program("""
const tools = [{ type: "function", function: { name: "weather", description: "Tells the weather.", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];
const turns = [
  { role: "user", content: "What is the weather in Paris?" },
  { role: "assistant", content: "", tool_calls: [{ function: { name: "weather", arguments: { city: "Paris" } } }] },
  { role: "tool", tool_name: "weather", content: "Sunny, 20 degrees." },
];
tell(await client.chat({ model, messages: turns, tools, options }));
""")
    assert answer["message"]["content"] or answer["message"]["tool_calls"]


def test_it_makes_embeddings(program, embedding_model):
    many, one, old = program(f"""
const model_of_vectors = "{embedding_model}:latest";
tell([await client.embed({{ model: model_of_vectors, input: ["A sentence.", "Another one."] }}), await client.embed({{ model: model_of_vectors, input: "A sentence." }}),
      await client.embeddings({{ model: model_of_vectors, prompt: "A sentence." }})]);
""")
    assert [len(vector) for vector in many["embeddings"]] == [384, 384]
    assert one["embeddings"][0] == pytest.approx(many["embeddings"][0], abs=1e-3)
    assert old["embedding"] == pytest.approx(one["embeddings"][0], abs=1e-3)
    assert many["prompt_eval_count"] > 0 and many["total_duration"] > 0


def test_it_lists_shows_and_tells_what_runs(program, chat_model):
    version, listed, shown, running = program("""
await client.generate({ model, prompt: "" });  // loads it
tell([await client.version(), (await client.list()).models, await client.show({ model }), (await client.ps()).models]);
""")
    assert int(version["version"].split(".")[1]) >= 6
    entry = next(model for model in listed if model["name"] == chat_model + ":latest")
    assert entry["size"] > 1e6 and len(entry["digest"]) == 64
    assert entry["details"]["family"] == "llama" and entry["details"]["format"] == "gguf" and entry["details"]["parameter_size"].endswith("M")
    assert shown["details"] == entry["details"]
    assert shown["model_info"]["llama.context_length"] > 0
    assert "completion" in shown["capabilities"] and "tools" in shown["capabilities"]
    assert chat_model + ":latest" in [model["name"] for model in running]


def runs(cluster, model):
    return any(entry["running"] for entry in cluster.execute("inference.models")["models"] if entry["id"] == model)


def test_a_model_is_unloaded_and_loaded_again(program, cluster, chat_model):
    loaded = program("tell(await client.chat({ model, messages: [] }))")
    assert loaded["done_reason"] == "load" and cluster.wait(lambda: runs(cluster, chat_model), what="the model to run")
    unloaded = program("tell(await client.generate({ model, prompt: '', keep_alive: 0 }))")
    assert unloaded["done_reason"] == "unload"
    cluster.wait(lambda: not runs(cluster, chat_model), what="the model to run no longer")
    assert program("tell(await client.chat({ model, messages, options }))")["message"]["content"], "it is loaded when it is asked"


def test_a_model_stays_for_as_long_as_keep_alive_says(program, cluster, chat_model):
    forever, minutes = program("""
const expires = async () => (await client.ps()).models.find((entry) => entry.name === model + ":latest").expires_at;
await client.generate({ model, prompt: "", keep_alive: 0 });
await client.chat({ model, messages, options, keep_alive: -1 });
const forever = await expires();
await client.chat({ model, messages, options, keep_alive: "1h" });
const hour = await expires();
for await (const piece of await client.chat({ model, messages, options, keep_alive: 1, stream: true }));
tell([forever, (new Date(hour) - Date.now()) / 60000]);
""")
    assert forever.startswith("9999") and 55 < minutes < 61
    cluster.wait(lambda: not runs(cluster, chat_model), seconds=60, what="the end of the model's stay")


def test_an_unknown_model_is_its_response_error(program):
    for call in ("client.chat({ model: 'no-such-model', messages })", "client.generate({ model: 'no-such-model', prompt: 'x', stream: true })",
                 "client.embed({ model: 'no-such-model', input: 'x' })", "client.show({ model: 'no-such-model' })", "client.generate({ model: 'no-such-model', prompt: '' })"):
        failed = program(f"await fails(() => {call})")
        assert (failed["class"], failed["status"]) == ("ResponseError", 404), (call, failed)
        assert "no-such-model" in failed["message"] and "not found" in failed["message"]


@pytest.mark.parametrize("wrong,named", [("options: { temperature: 'hot' }", "options.temperature"), ("options: { temperature: 9 }", "temperature"), ("messages: 'x'", "messages"),
                                         ("format: 'xml'", "format"), ("messages: [{ role: 'user', images: ['zzz'] }]", "images.0"), ("keep_alive: 'soon'", "keep_alive")])
def test_an_invalid_request_is_its_response_error(program, wrong, named):
    failed = program(f"await fails(() => client.chat({{ model, messages, options, {wrong} }}))")
    assert (failed["class"], failed["status"]) == ("ResponseError", 400), failed
    assert named in failed["message"]


def test_an_aborted_stream_ends_the_engines_work(program, cluster):
    assert abandoned(cluster, lambda: program("""
const story = [{ role: "user", content: "Tell me a very long story about many animals, at least five thousand words." }];
const stream = await client.chat({ model, messages: story, options: { num_predict: 1500 }, stream: true });
try {
  for await (const piece of stream) stream.abort();
} catch (error) {
  tell(error.name);
}
"""))


def test_it_pulls_a_model_with_progress_and_deletes_it(folder):
    weights = gguf(6, seed="ollama-node")
    with Hub() as hub, Registry() as registry, Cluster(sets_for(hub, registry)) as cluster:
        registry.push("library/tinyllama", "1b", [("model", weights), ("license", b"MIT")])
        settings = {"url": f"http://localhost:{cluster.http_port}", "model": "tinyllama:1b"}
        lines, listed, again, unknown = run_program(folder, "ollama-pull", PROLOGUE + """
const lines = [];
for await (const line of await client.pull({ model, stream: true })) lines.push(line);
const listed = (await client.list()).models.map((entry) => entry.name);
const again = await client.pull({ model, stream: false });
let unknown = {};
try {
  for await (const line of await client.pull({ model: "nothing:1b", stream: true }));
} catch (error) {
  unknown = { class: error.constructor.name, message: error.message };
}
tell([lines, listed, again, unknown]);
""", settings)
        assert lines[0]["status"] == "pulling manifest" and lines[-1]["status"] == "success"
        told = [line for line in lines if line.get("digest") == "sha256:" + sha256(weights)]
        assert told and told[-1]["completed"] == told[-1]["total"] == len(weights)
        assert [line["completed"] for line in told] == sorted(line["completed"] for line in told)
        assert listed == ["tinyllama:1b"]
        assert again["status"] == "success"
        assert "nothing" in unknown["message"], unknown
        assert cluster.execute("model.get", {"model_id": "tinyllama-1b"})["status"] == "ready"
        left = run_program(folder, "ollama-delete", PROLOGUE + "await client.delete({ model }); tell((await client.list()).models);", settings)
        assert left == []
