"""`aima doctor` on machines where something is really wrong: it names it, and what it says mends it."""
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess

import pytest

from support.cluster import Cluster, bin_dir, is_alive, models_dir


@pytest.fixture
def down():
    """A data directory in which nothing has ever run."""
    with Cluster(start=False) as cluster:
        for key, value in cluster.sets.items():
            cluster.cli("config", "set", key, value)
        yield cluster


def findings(cluster, *checks, verdict="fail", run=None):
    done = (run or cluster.cli)("doctor", *checks, "-o", "json", check=False)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["healthy"] else 1), done.stderr
    assert report["healthy"] == all(check["verdict"] != "fail" for check in report["checks"])
    return [check for check in report["checks"] if check["verdict"] == verdict]


def mend(cluster, finding):
    """Runs the first command that a finding offers."""
    command = next(line[2:] for line in finding["mend"] if line.startswith("$ "))
    environment = cluster.environment()
    environment["PATH"] = f"{bin_dir()}:{environment['PATH']}"
    done = subprocess.run(["bash", "-c", command], env=environment, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, (command, done.stderr)
    return command


def test_nothing_is_wrong_with_a_machine_before_its_first_start(down):
    done = down.cli("doctor")
    assert done.returncode == 0 and "is not running" in done.stdout
    assert findings(down) == []


def test_nothing_is_wrong_with_a_running_cluster(cluster, chat_model):
    assert findings(cluster) == []
    report = {check["check"]: check for check in json.loads(cluster.cli("doctor", "-o", "json").stdout)["checks"]}
    assert "llamacpp" in report["engines"]["message"]
    assert "PostgreSQL answers" in report["database"]["message"]
    assert report["services"]["verdict"] == report["models"]["verdict"] == "ok"


def test_a_taken_port_is_named_with_its_holder_and_another_is_found(down):
    with socket.create_server(("127.0.0.1", down.http_port)):
        found = findings(down, "ports")
        assert len(found) == 1
        assert f"port {down.http_port} is taken by" in found[0]["message"] and f"(pid {os.getpid()})" in found[0]["message"]
        mend(down, found[0])
        assert findings(down, "ports") == []
        assert down.cli("config", "get", "api.listen_addr").stdout.strip() != f"127.0.0.1:{down.http_port}"


def test_a_wrong_key_of_the_configuration_is_named_with_its_line(down):
    file = down.data_dir / "config.yaml"
    file.write_text(file.read_text() + "event:\n  retentoin: 1h\n  max_events: many\n")
    found = findings(down, "config")
    texts = " ".join(finding["message"] for finding in found)
    assert "event.retentoin" in texts and "did you mean retention?" in texts and "line" in texts
    assert "event.max_events" in texts
    for finding in found:
        mend(down, finding)
    assert findings(down, "config") == []
    assert "listen_addr" in file.read_text(), "what was right is gone"


def test_a_key_that_others_can_read_is_named_and_closed(own_cluster):
    key = own_cluster.data_dir / "keys" / "admin.key"
    key.chmod(0o644)
    found = findings(own_cluster, "keys")
    assert len(found) == 1 and str(key) in found[0]["message"] and "644" in found[0]["message"]
    mend(own_cluster, found[0])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert findings(own_cluster, "keys") == []


def test_a_directory_that_cannot_be_written_is_named_and_opened():
    if os.geteuid() != 0:
        pytest.skip("becomes another user, so it needs root")
    with Cluster(start=False) as cluster:
        cluster.data_dir.chmod(0o555)
        os.chown(cluster.data_dir, 65534, 65534)

        def as_nobody(*arguments, **_):
            return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(bin_dir() / "aima"), *arguments],
                                  env=cluster.environment(HOME="/nonexistent"), text=True, capture_output=True, timeout=60)

        found = findings(cluster, "data-dir", run=as_nobody)
        assert len(found) == 1 and "cannot be written: Permission denied" in found[0]["message"]
        command = next(line[2:] for line in found[0]["mend"] if line.startswith("$ "))
        subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", command], check=True)
        assert findings(cluster, "data-dir", run=as_nobody) == []


def test_a_full_disk_is_named():
    if os.geteuid() != 0:
        pytest.skip("mounts a small disk, so it needs root")
    with Cluster(start=False) as cluster:
        def on_a_small_disk(*arguments, **_):
            script = f"mount -t tmpfs -o size=1m,mode=700 tmpfs {cluster.data_dir} && exec {bin_dir()}/aima {shlex.join(arguments)}"
            return subprocess.run(["unshare", "-m", "bash", "-c", script], env=cluster.environment(), text=True, capture_output=True,
                                  timeout=60)

        found = findings(cluster, "data-dir", run=on_a_small_disk)
        assert len(found) == 1 and "is full" in found[0]["message"]


def test_processes_whose_supervisor_is_gone_are_named_and_ended(own_cluster):
    status = json.loads(own_cluster.cli("status", "-o", "json").stdout)
    pids = own_cluster.processes()
    os.kill(status["supervisor_pid"], signal.SIGKILL)
    own_cluster.wait(lambda: not is_alive(status["supervisor_pid"]))
    found = findings(own_cluster, "processes")
    assert len(found) == 1 and f"gateway (pid {pids['gateway']})" in found[0]["message"]
    ports = findings(own_cluster, "ports")
    assert ports and "whose supervisor is gone" in ports[0]["message"]
    assert mend(own_cluster, found[0]).endswith("stop")
    assert not [name for name, pid in pids.items() if pid and is_alive(pid)]
    assert findings(own_cluster, "processes", "ports") == []


def test_pid_files_of_a_machine_that_lost_its_power_are_named_and_removed(own_cluster):
    status = json.loads(own_cluster.cli("status", "-o", "json").stdout)
    pids = [status["supervisor_pid"], *own_cluster.processes().values()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    own_cluster.wait(lambda: not any(is_alive(pid) for pid in pids))
    found = findings(own_cluster, "processes", verdict="warn")
    assert len(found) == 1 and "without being stopped" in found[0]["message"]
    mend(own_cluster, found[0])
    assert not [path for path in (own_cluster.data_dir / "run").glob("*.pid") if path.stem != "supervisor"]


def test_a_service_that_hangs_is_named(own_cluster):
    pid = own_cluster.processes()["model"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = findings(own_cluster, "services")
        assert [finding["message"].split()[0] for finding in found] == ["model"]
        assert "logs model" in found[0]["mend"][0]
        assert not found[0]["mend"][0].startswith("$ "), "to look is not to mend"
    finally:
        os.kill(pid, signal.SIGCONT)
    own_cluster.wait(lambda: findings(own_cluster, "services") == [])


def test_a_model_whose_file_was_cut_off_is_named(own_cluster):
    source = own_cluster.data_dir / "cut.gguf"
    shutil.copy(models_dir() / "all-MiniLM-L6-v2.Q8_0.gguf", source)
    model = own_cluster.execute("model.import", {"path": str(source)})["model_id"]
    os.truncate(source, 1000)
    found = findings(own_cluster, "models")
    assert len(found) == 1 and model in found[0]["message"] and "1000 bytes" in found[0]["message"]
    assert not [line for line in found[0]["mend"] if line.startswith("$ ")], "what deletes a model is no advice to be run unread"
    assert f"`aima rm {model}`" in " ".join(found[0]["mend"])
    own_cluster.cli("rm", model, "--force")
    assert findings(own_cluster, "models") == []


def test_a_database_that_cannot_be_reached_is_named(down):
    down.cli("config", "set", "database.url", "host=127.0.0.1 port=1 dbname=aima")
    found = findings(down, "database")
    assert len(found) == 1 and "cannot be reached" in found[0]["message"] and "port 1" in found[0]["message"]
    assert not [line for line in found[0]["mend"] if line.startswith("$ ")], "another database has nothing in it"
    down.cli("config", "unset", "database.url")
    assert findings(down, "database") == []


def test_a_certificate_is_read_before_it_stops_a_start(down, tmp_path):
    certificate, key, other = (tmp_path / name for name in ("cert.pem", "key.pem", "other.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-subj",
                    "/CN=localhost", "-days", "3"], check=True, capture_output=True)
    subprocess.run(["openssl", "genrsa", "-out", other, "2048"], check=True, capture_output=True)
    key.chmod(0o600)
    down.cli("config", "set", "api.tls_cert", certificate)
    down.cli("config", "set", "api.tls_key", key)
    soon = findings(down, "tls", verdict="warn")
    assert len(soon) == 1 and re.search("expires in [23] days", soon[0]["message"])
    down.cli("config", "set", "api.tls_key", other)
    assert "is not the key of" in findings(down, "tls")[0]["message"]
    certificate.write_text("no certificate")
    assert "is no certificate" in findings(down, "tls")[0]["message"]


def test_a_key_with_a_password_is_named_and_nobody_is_asked_for_it(down, tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:secret", "-keyout", key, "-out", certificate,
                    "-subj", "/CN=localhost", "-days", "300"], check=True, capture_output=True)
    key.chmod(0o600)
    down.cli("config", "set", "api.tls_cert", certificate)
    down.cli("config", "set", "api.tls_key", key)

    # Without a terminal a program that asks for a password reads it from here.
    def with_the_password(*arguments, **_):
        return subprocess.run([bin_dir() / "aima", *arguments], env=down.environment(), text=True, capture_output=True, timeout=60,
                              input="secret\n", start_new_session=True)

    found = findings(down, "tls", run=with_the_password)
    assert len(found) == 1 and "is not the key of" in found[0]["message"], "the gateway would not be told the password either"


def test_secrets_that_aima_has_not_made_may_be_meant_for_a_group(down, tmp_path):
    (down.data_dir / "keys").mkdir(mode=0o700)
    key = tmp_path / "key.pem"
    key.write_text("secret")
    key.chmod(0o640)
    down.cli("config", "set", "api.tls_key", key)
    assert findings(down, "keys") == []
    key.chmod(0o644)
    found = findings(down, "keys")
    assert len(found) == 1 and "everybody" in found[0]["message"]
    mend(down, found[0])
    assert stat.S_IMODE(key.stat().st_mode) == 0o640, "the group may still read it"
    assert findings(down, "keys") == []


def test_a_configuration_with_the_password_of_a_database_is_a_secret(down):
    (down.data_dir / "keys").mkdir(mode=0o700)
    file = down.data_dir / "config.yaml"
    file.chmod(0o644)
    assert findings(down, "keys") == []
    down.cli("config", "set", "database.url", "postgres://aima:secret@127.0.0.1:1/aima")
    found = findings(down, "keys")
    assert len(found) == 1 and str(file) in found[0]["message"]
    mend(down, found[0])
    assert findings(down, "keys") == []


def test_a_cluster_that_something_else_runs_is_not_taken_for_broken(cluster, chat_model, down):
    # As under systemd: what answers has no supervisor in this data directory.
    for key in ("api.listen_addr", "api.grpc_addr"):
        down.cli("config", "set", key, cluster.sets[key])

    def asking_that_one(*arguments, **_):
        return down.cli(*arguments, check=False, AIMA_SERVER=f"http://127.0.0.1:{cluster.http_port}")

    assert findings(down, "ports", "processes", "models", run=asking_that_one) == []
    well = findings(down, "ports", verdict="ok", run=asking_that_one)
    assert len(well) == 2 and all("that something else runs" in one["message"] for one in well)
    assert "something else" in findings(down, "processes", verdict="skip", run=asking_that_one)[0]["message"]
    assert "not those of this data directory" in findings(down, "models", verdict="skip", run=asking_that_one)[0]["message"]


def test_few_descriptors_are_named(down):
    def with_few(*arguments, **_):
        return subprocess.run(["bash", "-c", f"ulimit -n 600; exec {bin_dir()}/aima {shlex.join(arguments)}"], env=down.environment(),
                              text=True, capture_output=True, timeout=60)

    assert "600 files" in findings(down, "descriptors", run=with_few)[0]["message"]


def test_what_is_not_ollama_is_named(down):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        down.cli("config", "set", "engine.ollama_addr", f"127.0.0.1:{listener.getsockname()[1]}")
        found = findings(down, "ollama", verdict="warn")
        assert f"(pid {os.getpid()})" in found[0]["message"]


@pytest.mark.parametrize("init, count, verdict, said", [(0, 2, "ok", "2 NVIDIA GPUs usable"), (18, 0, "fail", "different versions"),
                                                        (9, 0, "fail", "does not work (code 9)")])
def test_a_gpu_is_tried_through_its_driver(down, tmp_path, init, count, verdict, said):
    source = tmp_path / "nvml.c"
    source.write_text(f"int nvmlInit_v2(void) {{ return {init}; }}\n"
                      f"int nvmlDeviceGetCount_v2(unsigned *count) {{ *count = {count}; return 0; }}\n")
    subprocess.run(["clang-19", "-shared", "-fPIC", "-o", tmp_path / "libnvidia-ml.so.1", source], check=True)

    def with_driver(*arguments, **_):
        return down.cli(*arguments, check=False, LD_LIBRARY_PATH=str(tmp_path))

    assert said in findings(down, "gpu", verdict=verdict, run=with_driver)[0]["message"]


def test_programs_that_are_missing_or_newer_than_what_runs_are_named(own_cluster, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "share").symlink_to(bin_dir().parent / "share")
    for program in bin_dir().glob("aima*"):
        if program.name in ("aima", "aima-resource"):  # an update gives them other files
            shutil.copy(program, programs)
        else:
            (programs / program.name).symlink_to(program)

    def updated(*arguments, **_):
        return subprocess.run([programs / "aima", *arguments], env=own_cluster.environment(), text=True, capture_output=True, timeout=60)

    found = findings(own_cluster, "programs", verdict="warn", run=updated)
    assert len(found) == 1 and found[0]["message"].startswith("resource runs another program")
    assert "stop --keep-engines`" in found[0]["mend"][0]
    (programs / "aima-device").unlink()
    assert "aima-device is not in" in findings(own_cluster, "programs", run=updated)[0]["message"]


def test_an_unknown_check_is_refused(down):
    done = down.cli("doctor", "port", check=False)
    assert done.returncode == 2 and "did you mean ports" in done.stderr
