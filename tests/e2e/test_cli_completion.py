"""Completion in real shells, with what the live cluster has."""
import shutil
import subprocess

import pytest

from support.cluster import bin_dir
from support.terminal import Terminal

AIMA = bin_dir() / "aima"


def environment(cluster, **more):
    given = cluster.environment(**more)
    given["PATH"] = f"{bin_dir()}:{given['PATH']}"
    return given


def bash(cluster, line, **more):
    """What bash would offer for `line`."""
    script = r"""
source <(aima completion bash)
COMP_LINE=$1 COMP_POINT=${#1}
# Words as readline takes them apart.
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
mapfile -t COMP_WORDS < <(printf '%s' "$1" | sed -E 's/([:=])/\n\1\n/g' | tr ' ' '\n')
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
compopt() { :; }
_aima
printf '%s\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", line], env=environment(cluster, **more), text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split("\n")[:-1]


def test_bash_offers_commands_units_flags_and_enum_values(cluster):
    assert {"start", "status", "stop"} <= set(bash(cluster, "aima st"))
    assert "model.pull" in bash(cluster, "aima exec model.")
    assert "--quantization" in bash(cluster, "aima pull x --")
    assert "embedding" in bash(cluster, "aima ls --type ")
    assert bash(cluster, "aima ls --type=v") == ["vlm", "video"], "bash replaces what stands behind the ="
    assert "json" in bash(cluster, "aima ls -o j")
    assert bash(cluster, "aima completion ") == ["bash", "zsh", "fish"]
    assert "set" in bash(cluster, "aima config s")
    assert "api.listen_addr" in bash(cluster, "aima config get api.")


def test_bash_offers_ids_of_the_live_cluster(cluster, chat_model):
    assert chat_model in bash(cluster, "aima rm ")
    assert chat_model in bash(cluster, "aima exec model.get --model-id ")
    assert chat_model in bash(cluster, "aima exec engine.start --model-id "), "a field of another domain is named after models"
    assert chat_model in bash(cluster, "aima exec inference.chat --model ")
    assert "llamacpp" in bash(cluster, "aima install ")
    assert "gateway" in bash(cluster, "aima logs g")
    assert "//models/registry" in bash(cluster, "aima watch asms:"), "bash replaces what stands behind the :"
    assert f"//model/{chat_model}" in bash(cluster, "aima watch asms://model/")
    cluster.cli("run", chat_model, stdin="", timeout=120)
    assert chat_model in bash(cluster, "aima stop ")


def test_a_cluster_that_is_down_offers_nothing_and_says_nothing(cluster):
    assert bash(cluster, "aima rm ", AIMA_SERVER="http://127.0.0.1:1") == [""] or \
        bash(cluster, "aima rm ", AIMA_SERVER="http://127.0.0.1:1") == []
    assert "status" in bash(cluster, "aima stat", AIMA_SERVER="http://127.0.0.1:1")
    done = cluster.cli("__complete", "--", "rm", "", AIMA_SERVER="http://127.0.0.1:1")
    assert (done.stdout, done.stderr) == ("", "")


def test_tab_works_in_an_interactive_bash(cluster, chat_model):
    with Terminal(["bash", "--norc", "--noprofile", "-i"], environment(cluster, PS1="ready$ ")) as shell:
        shell.wait_for("ready$ ")
        shell.type("source <(aima completion bash); printf 'lo%s\\n' aded\n")
        at = shell.wait_for("loaded")
        shell.type(f"aima show {chat_model[:-2]}\t")
        shell.wait_for(f"aima show {chat_model} ", after=at)
        shell.type("--ou\tna\t\n")
        shell.wait_for("--output name", after=at)


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed; deploy/install-packages --tests does that")
def test_tab_works_in_an_interactive_zsh(cluster, chat_model):
    with Terminal(["zsh", "-f", "-i"], environment(cluster, PS1="ready$ ")) as shell:
        shell.wait_for("ready$ ")
        shell.type("autoload -U compinit && compinit -D -u; source <(aima completion zsh); print lo''aded\n")
        at = shell.wait_for("loaded")
        shell.type(f"aima rm {chat_model[:-2]}\t")
        shell.wait_for(f"aima rm {chat_model}", after=at)
        shell.type("\x15aima ls --type em\t")
        shell.wait_for("embedding", after=at)


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed; deploy/install-packages --tests does that")
def test_fish_offers_the_same(cluster, chat_model, tmp_path):
    def fish(line):
        done = subprocess.run(["fish", "--no-config", "-c", "aima completion fish | source; complete -C $argv[1]", line], text=True,
                              capture_output=True, timeout=60, env=environment(cluster, HOME=str(tmp_path)))
        return [row.split("\t")[0] for row in done.stdout.splitlines()]

    assert chat_model in fish("aima rm ")
    assert "embedding" in fish("aima ls --type ")
    assert "model.pull" in fish("aima exec model.p")
    described = subprocess.run(["fish", "--no-config", "-c", "aima completion fish | source; complete -C 'aima pul'"], text=True,
                               capture_output=True, timeout=60, env=environment(cluster, HOME=str(tmp_path)))
    assert "fetch a model" in described.stdout
