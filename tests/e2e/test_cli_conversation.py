"""What `aima run` and `aima chat` do with what is said: system turns, commands, the context."""
import json
import re

from support.cluster import bin_dir
from support.terminal import Terminal

AIMA = bin_dir() / "aima"
EXACT = ["--temperature", "0", "--max-tokens", "24"]


def answer_of(cluster, model, messages):
    reply = cluster.execute("inference.chat", {"model": model, "messages": messages, "temperature": 0, "max_tokens": 24}, timeout=120)
    return reply["content"]


def test_the_system_turn_comes_before_the_question(cluster, chat_model):
    system, question = "You are a pirate. Answer in one short sentence.", "Who are you?"
    asked = [{"role": "user", "content": question}]
    plain = answer_of(cluster, chat_model, asked)
    told = answer_of(cluster, chat_model, [{"role": "system", "content": system}, *asked])
    assert told != plain, "the model heeds no system turn, so that this test tells nothing"
    for command in ("run", "chat"):
        done = cluster.cli(command, chat_model, "--system", system, *EXACT, question, timeout=120, stdin="")
        assert done.stdout == told + "\n", command
    # In a conversation: it holds for what follows, stays when what was said is forgotten, and is taken back when it is empty.
    lines = [f"/system {system}", question, "/clear", question, "/system", "/clear", question]
    spoken = cluster.cli("chat", chat_model, *EXACT, "-o", "ndjson", stdin="\n".join(lines) + "\n", timeout=120)
    answers, text = [], ""
    for line in spoken.stdout.splitlines():
        chunk = json.loads(line)
        text += chunk.get("content", "")
        if chunk.get("finish_reason"):
            answers.append(text)
            text = ""
    assert answers == [told, told, plain]


def test_the_commands_of_a_conversation_are_refused_when_they_are_typed_not_at_the_next_question(cluster, chat_model, embedding_model):
    with Terminal([AIMA, "run", chat_model, *EXACT], cluster.environment(), columns=200) as terminal:
        at = terminal.wait_for(">>> ", 120)

        def say(line, *expected):
            nonlocal at
            terminal.type(line + "\n")
            for text in expected:
                at = terminal.wait_for(text, after=at)
            at = terminal.wait_for(">>> ", after=at)

        say("/model nosuch", "There is no model nosuch; still talking to " + chat_model, "Models that chat: ")
        say("/model", f"Talking to {chat_model}. Models that chat: ")
        say(f"/model {embedding_model}", "does not chat: it is of type embedding", f"Still talking to {chat_model}")
        say("/set temperature 7", "temperature must be at most 2")
        say("/set top_p -1", "top_p must be at least 0")
        say("What is the capital of France? One sentence.", "Paris")
        say(f"/model {chat_model}", f"Talking to {chat_model}.")
        terminal.type("\x04")
        assert terminal.finish() == 0


def test_an_error_is_all_that_is_printed_when_there_is_no_answer(cluster, chat_model):
    done = cluster.cli("chat", chat_model, "hello", "--temperature", "7", check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stdout


def test_a_question_that_is_too_long_names_the_commands_that_give_it_room(cluster, chat_model):
    cluster.cli("stop", chat_model, check=False)
    question = "sea " * 3000
    refused = cluster.cli("run", chat_model, "--max-tokens", "8", "How often is it said?", stdin=question, check=False, timeout=120)
    assert refused.returncode == 2 and refused.stdout == "", refused.stderr
    stop, run = re.findall(r"`aima ([^`]+)`", refused.stderr.splitlines()[-1])
    assert stop == f"stop {chat_model}" and run == f"run {chat_model} --context 4096", refused.stderr
    early = cluster.cli(*run.split(), "--max-tokens", "8", "hi", stdin="", check=False)
    assert early.returncode == 1 and "runs already" in early.stderr and f"aima {stop}`" in early.stderr
    cluster.cli(*stop.split())
    done = cluster.cli(*run.split(), "--max-tokens", "8", "How often is it said?", stdin=question, timeout=300)
    assert done.stdout.strip()
    cluster.cli("stop", chat_model)
    far = cluster.cli("run", chat_model, "--max-tokens", "8", stdin="sea " * 9000, check=False, timeout=120)
    assert "8192 tokens at most" in far.stderr and "--context" not in far.stderr
    assert cluster.cli("run", chat_model, "--context", "much", check=False).returncode == 2
    cluster.cli("stop", chat_model)
