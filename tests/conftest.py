"""Starts real clusters from the shipped binaries, for the tests of e2e/ and clients/ alike.

AIMA_BIN names the folder of the binaries (default build/release/bin), AIMA_MODELS the folder that deploy/models/fetch
filled.
"""
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from support.cluster import Cluster, free_port, models_dir, own_address  # noqa: E402
from support.media import MediaEngines, put_ffmpeg_into, with_path  # noqa: E402


@pytest.fixture(scope="session")
def cluster():
    """One cluster for all tests that do not harm it."""
    with Cluster() as running:
        yield running


@pytest.fixture
def own_cluster():
    """A cluster that the test may break."""
    with Cluster() as running:
        yield running


@pytest.fixture(scope="session")
def chat_model(cluster):
    """Id of the imported chat model; its engine is installed."""
    cluster.cli("exec", "engine.install", "--name", "llamacpp", timeout=300)
    reply = cluster.execute("model.import", {"path": str(models_dir() / "SmolLM2-135M-Instruct.Q4_1.gguf"), "name": "smollm2"})
    return reply["model_id"]


@pytest.fixture(scope="session")
def embedding_model(cluster, chat_model):
    """Id of the imported embedding model."""
    reply = cluster.execute("model.import", {"path": str(models_dir() / "all-MiniLM-L6-v2.Q8_0.gguf"), "name": "minilm"})
    return reply["model_id"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost and its key, as (cert, key)."""
    if not shutil.which("openssl"):
        pytest.skip("the program openssl is not installed: no certificate can be made")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="session")
def tls_cluster(certificate):
    """A cluster that all of the network can reach, over TLS."""
    cert, key = certificate
    http_port, grpc_port = free_port(), free_port()
    with Cluster({"api.listen_addr": f"0.0.0.0:{http_port}", "api.grpc_addr": f"0.0.0.0:{grpc_port}",
                  "api.allowed_hosts": f"[{own_address()}]", "api.tls_cert": str(cert), "api.tls_key": str(key)}) as cluster:
        cluster.http_port, cluster.grpc_port = http_port, grpc_port
        yield cluster


@pytest.fixture(scope="session")
def engines(tmp_path_factory):
    """A cluster of its own with the engines for speech and pictures, which find ffmpeg on their PATH."""
    programs = tmp_path_factory.mktemp("programs")
    put_ffmpeg_into(programs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", with_path(programs))
        cluster = Cluster()
        with cluster:
            patch.undo()
            engines = MediaEngines(cluster, programs)
            yield engines
            engines.stop_all()
            # More than a gigabyte that is on its way to the disk; the database would wait for it when it stops.
            shutil.rmtree(cluster.data_dir / "engines", ignore_errors=True)
