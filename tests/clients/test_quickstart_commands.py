"""Every command that README.md and the last words of deploy/quickstart tell the reader to try is run as it is written.

Only the addresses are changed. curl is told by its configuration file to fail when the answer's status is an error.
"""
import os
import re
import select
import shlex
import signal
import subprocess
import time

import pytest

from support.cluster import ROOT, bin_dir

# These would end the cluster that the other tests use; test_lifecycle stops clusters.
NOT_RUN = {"aima stop"}
# These follow for ever: their first line is awaited.
ENDLESS = {"aima events tail", "curl -N localhost:9090/api/v2/resource/asms://resource/status/watch"}
# These talk: they are told something.
TALKS = {"aima run smollm2": "Say hello.\n"}
# These need engines that the quickstart does not install; their cluster has them.
MEDIA = re.compile("/v1/audio/|--audio")


def complete(text):
    """The command without its comment, or None if its quotes are open."""
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        list(lexer)
    except ValueError:
        return None
    return re.sub(r"\s+# .*$", "", text) if "\n" not in text else text


def commands_of_readme():
    for block in re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL):
        pending = ""
        for line in block.splitlines():
            pending += line
            command = complete(pending)
            if command is None:
                pending += "\n"
                continue
            pending = ""
            if command.startswith(("aima ", "curl ")):
                yield command
        assert not pending, f"README.md: a quote is not closed: {pending}"


def commands_of_quickstart():
    last_words = re.search(r"^cat <<NEXT\n(.*?)^NEXT$", (ROOT / "deploy" / "quickstart").read_text(), re.MULTILINE | re.DOTALL)
    for line in last_words[1].splitlines():
        if line.startswith("  aima "):
            # What follows two spaces or a semicolon explains.
            yield re.split(r"\s{2,}|;", line.strip())[0]


COMMANDS = list(dict.fromkeys([*commands_of_readme(), *commands_of_quickstart()]))


@pytest.fixture(scope="module")
def shell(cluster, chat_model, embedding_model, engines, tmp_path_factory):
    """Starts a command as a reader would, in a folder of their own, with the models of the quickstart imported."""
    home = tmp_path_factory.mktemp("curl")
    (home / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")

    def start(command, cluster=cluster):
        if MEDIA.search(command):
            engines.install("hibari", "faster-whisper")
            cluster = engines.cluster
        environment = cluster.environment(CURL_HOME=str(home), PATH=f"{bin_dir().resolve()}:{os.environ['PATH']}")
        here = command.replace("localhost:9090", f"localhost:{cluster.http_port}") \
                      .replace("localhost:50051", f"localhost:{cluster.grpc_port}")
        return subprocess.Popen(["bash", "-c", here], env=environment, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)

    start.folder = home
    return start


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    return process.communicate(timeout=20)


def test_the_commands_were_found():
    assert {"aima units", "aima events tail", "aima doctor", "curl localhost:9090/api/v2/query/model.list"} <= set(COMMANDS)
    # What is treated in its own way is still there under that name.
    assert NOT_RUN | ENDLESS | set(TALKS) <= set(COMMANDS)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in NOT_RUN | ENDLESS])
def test_it_works(shell, command):
    process = shell(command)
    try:
        out, err = process.communicate(TALKS.get(command, ""), timeout=120)
    finally:
        end(process)
    assert process.returncode == 0, f"{command}\n{out}\n{err}"
    if written := re.search(r" -o (\S+\.\w+)", command):
        assert (shell.folder / written[1]).stat().st_size > 1000
        return
    assert out.strip(), f"{command} printed nothing\n{err}"
    assert "event: error" not in out and '"success":false' not in out.replace(" ", ""), out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command in ENDLESS])
def test_it_tells_what_happens_as_it_happens(shell, cluster, command):
    process = shell(command)
    try:
        process.stdin.close()
        process.stdin = None
        until = time.monotonic() + 30
        said = False
        while not said and time.monotonic() < until and process.poll() is None:
            slot = cluster.execute("resource.allocate", {"name": "readme", "type": "system_service", "memory_bytes": 4096})
            cluster.execute("resource.release", {"slot_id": slot["slot_id"]})
            said = bool(select.select([process.stdout], [], [], 0.5)[0])
        first = process.stdout.readline() if said else ""
        ended = process.poll()
    finally:
        _, err = end(process)
    assert first.strip(), f"{command} said nothing\n{err}"
    assert ended is None, f"{command} ended by itself with {ended}\n{err}"
