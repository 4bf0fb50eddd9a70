"""OpenAI's own Python client works against /v1 as it is: nothing but its two environment variables tells it of AIMA."""
import json
import subprocess

import pytest

from support.media import SENTENCE, words
from tools import python_packages

MESSAGES = '[{"role": "user", "content": "What is the capital of France? One sentence."}]'


@pytest.fixture(scope="session")
def python():
    """A Python that has the client, and nothing of this repository."""
    return python_packages("openai")


def run_program(python, cluster, text, key):
    """Runs a program that uses the client, and returns the JSON that it prints."""
    done = subprocess.run(
        [python, "-c", f"import json, openai\nclient = openai.OpenAI()\n{text}"], capture_output=True, text=True, timeout=180,
        env=cluster.environment(OPENAI_BASE_URL=f"http://localhost:{cluster.http_port}/v1", OPENAI_API_KEY=key))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def program(python, cluster, chat_model):
    good = cluster.new_key("operate")  # the client cannot be made without a key
    begin = f"model = {chat_model!r}\nmessages = {MESSAGES}\n"
    return lambda text, key=good: run_program(python, cluster, begin + text, key)


@pytest.fixture
def media_program(python, engines):
    """The same, where there are engines for speech and pictures."""
    engines.install("hibari", "faster-whisper", "terrain")
    key = engines.cluster.new_key("operate")
    return lambda text: run_program(python, engines.cluster, text, key)


def failure(call):
    """A program that prints how a call fails: its class, status and text."""
    return f"""
try:
    {call}
    print(json.dumps({{"class": "none: it did not fail"}}))
except openai.APIStatusError as error:
    print(json.dumps({{"class": type(error).__name__, "status": error.status_code, "text": str(error), "code": error.code}}))
"""


def test_it_chats(program):
    answer = program("print(client.chat.completions.create(model=model, messages=messages, max_tokens=16).model_dump_json())")
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"] > 0


def test_it_streams_the_answer_that_it_gets_whole(program):
    streamed, usage, whole = program("""
options = dict(model=model, messages=messages, max_tokens=16, temperature=0)
chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options))
pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
usages = [chunk.usage.model_dump() for chunk in chunks if chunk.usage]
print(json.dumps([pieces, usages, client.chat.completions.create(**options).choices[0].message.content]))
""")
    pieces = [piece for piece in streamed if piece]
    assert len(pieces) > 3
    assert "".join(pieces) == whole
    assert [entry["completion_tokens"] > 0 for entry in usage] == [True]


def test_it_streams_with_asyncio(program):
    assert program("""
import asyncio

async def talk():
    async with openai.AsyncOpenAI() as client:
        stream = await client.chat.completions.create(model=model, messages=messages, max_tokens=8, stream=True)
        return [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]

print(json.dumps("".join(piece or "" for piece in asyncio.run(talk()))))
""").strip()


def test_it_continues_a_text(program):
    answer = program('print(client.completions.create(model=model, prompt="One, two, three,", max_tokens=8).model_dump_json())')
    assert answer["choices"][0]["text"].strip()


def test_it_makes_embeddings(program, embedding_model):
    # The client asks for base64 by itself and decodes it.
    data = program(f"""
answer = client.embeddings.create(model={embedding_model!r}, input=["A sentence.", "Another one."])
print(json.dumps([item.embedding for item in answer.data]))
""")
    assert [len(vector) for vector in data] == [384, 384]
    assert abs(sum(value * value for value in data[0]) - 1) < 0.01


def test_embeddings_in_either_encoding_are_the_same(program, embedding_model):
    default, floats = program(f"""
ask = lambda **more: client.embeddings.create(model={embedding_model!r}, input="A sentence.", **more).data[0].embedding
print(json.dumps([ask(), ask(encoding_format="float")]))
""")
    assert default == pytest.approx(floats, abs=1e-6)


def test_it_hears_what_it_says(media_program, tmp_path):
    text, verbose, begin, again = media_program(f"""
with client.audio.speech.with_streaming_response.create(model="hibari", voice="alloy", input={SENTENCE!r},
                                                        response_format="wav") as speech:
    speech.stream_to_file({str(tmp_path / "speech.wav")!r})
with open({str(tmp_path / "speech.wav")!r}, "rb") as file:
    text = client.audio.transcriptions.create(model="whisper-tiny.en", file=file).text
    file.seek(0)
    verbose = client.audio.transcriptions.create(model="whisper-tiny.en", file=file, language="en",
                                                 response_format="verbose_json")
whole = client.audio.speech.create(model="hibari", voice="alloy", input={SENTENCE!r}).content
again = client.audio.transcriptions.create(model="whisper-tiny.en", file=("speech.mp3", whole)).text
print(json.dumps([text, verbose.model_dump(), whole[:2].hex(), again]))
""")
    assert words(text) == words(SENTENCE)
    assert words(" ".join(segment["text"] for segment in verbose["segments"])) == words(SENTENCE)
    assert 1 < float(verbose["duration"]) < 10
    assert begin in ("fff3", "fffb", "4944"), "mp3, as OpenAI answers who names no format"
    assert words(again) == words(SENTENCE)


def test_it_draws(media_program):
    pictures = media_program("""
answer = client.images.generate(model="terrain", prompt="a calm beach", size="128x96", n=2)
print(json.dumps([[item.b64_json[:8], item.revised_prompt] for item in answer.data]))
""")
    assert [start for start, _ in pictures] == ["iVBORw0K"] * 2
    assert all("landscapes only" in revised for _, revised in pictures)


def test_a_recording_that_is_none_is_its_bad_request_error(media_program):
    failed = media_program(failure('client.audio.transcriptions.create(model="whisper-tiny.en", file=("a.wav", b"noise"))'))
    assert failed["class"] == "BadRequestError", failed
    assert failed["code"] == "inference_media_unreadable"


def test_it_lists_the_models(program, chat_model, embedding_model):
    listed = program("print(json.dumps([[model.id, model.object] for model in client.models.list()]))")
    assert [chat_model, "model"] in listed and [embedding_model, "model"] in listed


def test_it_retrieves_one_model(program, chat_model):
    assert program("print(json.dumps(client.models.retrieve(model).id))") == chat_model


def test_an_unknown_model_is_its_not_found_error(program):
    failed = program(failure('client.chat.completions.create(model="no-such-model", messages=messages)'))
    assert failed["class"] == "NotFoundError", failed
    assert failed["status"] == 404
    assert "no-such-model" in failed["text"]


def test_an_invalid_request_is_its_bad_request_error(program):
    failed = program(failure('client.chat.completions.create(model=model, messages="no list")'))
    assert failed["class"] == "BadRequestError", failed


def test_a_wrong_key_is_its_authentication_error(program):
    failed = program(failure("client.models.list()"), key="aima_nobody_" + "0" * 64)
    assert failed["class"] == "AuthenticationError", failed
    assert failed["status"] == 401


def test_a_key_of_too_low_a_role_is_its_permission_denied_error(program, cluster):
    key = cluster.new_key("read")
    assert program("print(json.dumps(len(client.models.list().data)))", key=key) > 0
    failed = program(failure("client.chat.completions.create(model=model, messages=messages, max_tokens=1)"), key=key)
    assert failed["class"] == "PermissionDeniedError", failed
