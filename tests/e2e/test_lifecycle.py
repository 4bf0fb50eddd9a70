"""aima start, stop and status."""
import json
import socket

from support.cluster import Cluster, is_alive, models_dir


def test_stop_ends_every_process_and_start_brings_all_back():
    with Cluster() as cluster:
        first = cluster.processes()
        assert {"postgres", "event", "device", "model", "engine", "inference", "resource", "gateway"} <= set(first)
        slot = cluster.execute("resource.allocate", {"name": "kept", "type": "system_service", "memory_bytes": 4096})
        cluster.cli("stop", timeout=90)
        assert not [name for name, pid in first.items() if pid and is_alive(pid)]
        cluster.start()
        assert cluster.execute("resource.allocations", {"slot_id": slot["slot_id"]})["allocations"]


def test_engines_can_outlive_the_cluster_and_are_found_again():
    with Cluster() as cluster:
        cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
        path = models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf"
        model = cluster.execute("model.import", {"path": str(path)})["model_id"]
        pid = int(cluster.execute("engine.start", {"model_id": model}, options={"timeout": "60s"}, timeout=90)["process_id"])
        cluster.cli("stop", "--keep-engines", timeout=90)
        assert is_alive(pid)
        cluster.start()
        again = cluster.execute("engine.start", {"model_id": model}, options={"timeout": "60s"}, timeout=90)
        assert int(again["process_id"]) == pid, "the engine was started anew"
        cluster.cli("stop", timeout=90)
        assert not is_alive(pid)


def test_two_clusters_do_not_see_each_other(cluster):
    with Cluster() as other:
        slot = other.execute("resource.allocate", {"name": "mine", "type": "system_service", "memory_bytes": 4096})
        here = cluster.execute("resource.allocations", {"slot_id": slot["slot_id"]})
        assert here["allocations"] == []


def test_starting_twice_leaves_the_first_alone():
    with Cluster() as cluster:
        before = cluster.processes()
        cluster.cli("start", *[flag for key, value in cluster.sets.items() for flag in ("--set", f"{key}={value}")], check=False)
        assert cluster.processes() == before


def test_a_taken_port_is_named_and_nothing_is_left_running():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Cluster({"api.listen_addr": f"127.0.0.1:{port}"}, start=False) as cluster:
            flags = [flag for key, value in cluster.sets.items() for flag in ("--set", f"{key}={value}")]
            done = cluster.cli("start", *flags, check=False, timeout=120)
            assert done.returncode != 0
            assert str(port) in done.stderr
            assert not list((cluster.data_dir / "run").glob("*.sock"))


def test_a_wrong_configuration_is_named_and_nothing_is_started():
    with Cluster({"api.listen_adr": "127.0.0.1:1"}, start=False) as cluster:
        flags = [flag for key, value in cluster.sets.items() for flag in ("--set", f"{key}={value}")]
        done = cluster.cli("start", *flags, check=False)
        assert done.returncode == 2
        assert "listen_adr" in done.stderr and "listen_addr" in done.stderr


def test_status_works_while_nothing_runs():
    with Cluster(start=False) as cluster:
        done = cluster.cli("status", check=False)
        assert "not running" in (done.stdout + done.stderr).lower()


def test_the_command_line_explains_errors(cluster):
    done = cluster.cli("exec", "model.get", "--model-id", "nope", check=False)
    assert done.returncode == 3
    assert "nope" in done.stderr
    usage = cluster.cli("exec", "model.get", "--modelid", "nope", check=False)
    assert usage.returncode == 2
    assert "--model-id" in usage.stderr
    gone = cluster.cli("units", check=False, AIMA_SERVER="http://127.0.0.1:1")
    assert gone.returncode == 5
    assert "aima start" in gone.stderr


def test_output_forms_are_machine_readable(cluster):
    info = json.loads(cluster.cli("exec", "device.info", "-o", "json").stdout)
    assert info["id"] == "cpu"
    assert "id: cpu" in cluster.cli("exec", "device.info", "-o", "yaml").stdout
