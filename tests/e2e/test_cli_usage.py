"""What is typed wrong is told first, also while no cluster answers."""
import json

import pytest

from support.cluster import Cluster


@pytest.fixture(scope="module")
def down():
    with Cluster(start=False) as cluster:
        yield cluster


@pytest.mark.parametrize("words, said", [
    (["run"], "aima run needs a model"),
    (["run", "smollm2", "--temprature", "1"], "did you mean --temperature"),
    (["chat", "--max-token", "1", "hi there"], "did you mean --max-tokens"),
    (["show"], "aima show needs MODEL"),
    (["show", "a", "b"], "does not take b"),
    (["pull"], "aima pull needs NAME"),
    (["search"], "aima search needs WORDS"),
    (["install"], "aima install needs ENGINE"),
    (["import"], "aima import needs PATH"),
    (["ls", "--foo"], "there is no flag --foo"),
    (["ls", "extra"], "does not take extra"),
    (["exec", "model.list", "--limt", "3"], "did you mean --limit"),
    (["exec", "model.list", "--stream"], "does not stream"),
])
def test_wrong_usage_is_told_although_nobody_answers(down, words, said):
    done = down.cli(*words, check=False, stdin="")
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "cannot reach" not in done.stderr


def test_a_unit_that_is_none_is_named_with_what_was_meant(down):
    done = down.cli("exec", "model.lst", check=False)
    assert done.returncode == 3 and "model.list" in done.stderr, done.stderr


def test_that_nobody_answers_is_said_once(down):
    for words in (["show", "smollm2"], ["ls"], ["exec", "model.list"], ["run", "smollm2", "hi"]):
        done = down.cli(*words, check=False, stdin="")
        assert done.returncode == 5
        assert done.stderr.count(f"127.0.0.1:{down.http_port}") == 1 and "Connection refused" in done.stderr
    done = down.cli("status", check=False)
    assert done.returncode == 5
    assert (done.stdout + done.stderr).count("not running") == 1 and "`aima start` starts it." in done.stderr
    assert json.loads(down.cli("status", "-o", "json", check=False).stderr)["error"]["code"] == "UNAVAILABLE"


def test_json_that_is_none_is_told_by_its_place(down):
    done = down.cli("exec", "model.list", "--input", '{"limit": 3, oops}', check=False)
    assert done.returncode == 2 and "--input is not valid JSON at byte" in done.stderr and "oops" in done.stderr
    assert "json.exception" not in done.stderr and "@FILE" in done.stderr
