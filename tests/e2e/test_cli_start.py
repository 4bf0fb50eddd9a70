"""aima start, where it cannot go on at once."""
import signal
import subprocess
import threading

from support.cluster import Cluster, bin_dir, free_port


def starting(cluster, sets):
    flags = [flag for key, value in sets.items() for flag in ("--set", f"{key}={value}")]
    return subprocess.Popen([bin_dir() / "aima", "start", *flags], env=cluster.environment(), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_several_starts_at_once_all_end_when_the_cluster_serves():
    with Cluster(start=False) as cluster:
        starts = [starting(cluster, cluster.sets) for _ in range(3)]
        outcomes = [start.communicate(timeout=120) for start in starts]
        assert [start.returncode for start in starts] == [0, 0, 0], outcomes
        assert all("gateway" in out and "ready" in out for out, _ in outcomes), outcomes
        assert sum("Admin key" in err for _, err in outcomes) == 1, outcomes
        assert sum("waiting for that" in err and "already runs" in err for _, err in outcomes) == 2, outcomes
        assert cluster.execute("device.info")


def test_that_the_database_refuses_is_told_while_it_is_waited_for():
    with Cluster(start=False) as cluster:
        start = starting(cluster, {**cluster.sets, "database.url": f"postgresql://nobody@127.0.0.1:{free_port()}/none"})
        told = threading.Event()
        lines = []

        def read():
            for line in start.stderr:
                lines.append(line)
                if "does not answer yet" in line:
                    told.set()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            # It is given up after a minute without progress; the reason comes with the first attempt.
            assert told.wait(30), lines
            assert "refused" in next(line for line in lines if "does not answer yet" in line)
            assert start.poll() is None
        finally:
            start.send_signal(signal.SIGINT)
            start.wait(timeout=60)
            reader.join()
        assert start.returncode != 0
        assert "Nothing of AIMA runs" in cluster.cli("stop").stderr
