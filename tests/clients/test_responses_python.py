"""OpenAI's official client for Python asks for responses."""
from test_openai_python import failure, program, python  # noqa: F401


def test_it_streams_the_response_that_it_gets_whole(program):
    whole, deltas, final = program("""
asked = dict(model=model, input=messages, instructions="You are brief.", max_output_tokens=16, temperature=0)
deltas = []
with client.responses.stream(**asked) as stream:
    for event in stream:
        if event.type == "response.output_text.delta":
            deltas.append(event.delta)
    final = stream.get_final_response()
whole = client.responses.create(**asked)
print(json.dumps([whole.output_text, deltas, [final.output_text, final.status, final.usage.output_tokens]]))
""")
    assert "".join(deltas) == whole == final[0] != ""
    assert final[1] in ("completed", "incomplete") and final[2] > 0


def test_a_conversation_goes_on_with_the_items_of_the_response(program):
    assert program("""
first = client.responses.create(model=model, input=messages, max_output_tokens=16)
turns = messages + [item.model_dump() for item in first.output] + [{"role": "user", "content": "And of Italy?"}]
print(json.dumps(client.responses.create(model=model, input=turns, max_output_tokens=16).output_text))
""").strip()


def test_a_form_is_parsed_into_a_class(program):
    assert program("""
from pydantic import BaseModel
from typing import Literal

class Answer(BaseModel):
    city: Literal["Paris", "Rome"]

print(json.dumps(client.responses.parse(model=model, input=messages, max_output_tokens=40, text_format=Answer).output_parsed.city))
""") in ("Paris", "Rome")


def test_what_builds_on_kept_responses_is_its_bad_request_error(program):
    failed = program(failure('client.responses.create(model=model, input="x", previous_response_id="resp_1")'))
    assert failed["class"] == "BadRequestError" and "not kept" in failed["text"], failed


def test_an_unknown_model_is_its_not_found_error(program):
    failed = program(failure('client.responses.create(model="no-such-model", input="x")'))
    assert (failed["class"], failed["status"], failed["code"]) == ("NotFoundError", 404, "model_not_found"), failed
