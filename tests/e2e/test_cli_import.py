"""aima import: from where one stands, and what it says."""
import json
import os
import shutil
import subprocess

import pytest

from support.cluster import bin_dir, models_dir

WEIGHTS = "all-MiniLM-L6-v2.Q8_0.gguf"


@pytest.fixture
def folder(tmp_path):
    """A folder with a model in it, under a name that needs quotes in a shell."""
    shutil.copy(models_dir() / WEIGHTS, tmp_path / "my model.gguf")
    return tmp_path


def aima(cluster, folder, *words):
    return subprocess.run([bin_dir() / "aima", *words], env=cluster.environment(), cwd=folder, text=True, capture_output=True, timeout=60)


def test_a_path_is_taken_from_where_one_stands(own_cluster, folder):
    for path in ("my model.gguf", "./my model.gguf", f"../{folder.name}/my model.gguf"):
        done = aima(own_cluster, folder, "import", path, "-o", "json")
        assert done.returncode == 0, done.stderr
        imported = json.loads(done.stdout)
        assert imported["created"] and imported["model"]["path"] == os.fspath(folder / "my model.gguf")
        own_cluster.cli("rm", imported["model_id"])


def test_import_says_in_a_line_what_it_did_and_refuses_to_call_a_known_model_otherwise(own_cluster, folder):
    first = aima(own_cluster, folder, "import", "my model.gguf", "--name", "first")
    assert (first.returncode, first.stdout.count("\n")) == (0, 1), first.stderr
    assert first.stdout.startswith("imported first (embedding, ") and str(folder / "my model.gguf") in first.stdout
    again = aima(own_cluster, folder, "import", "my model.gguf", "--name", "first")
    assert again.returncode == 0 and again.stdout.startswith("known already: first (embedding, ")
    assert aima(own_cluster, folder, "import", "my model.gguf").returncode == 0
    refused = aima(own_cluster, folder, "import", "my model.gguf", "--name", "other", "--copy")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "these files are the model first already" in refused.stderr
    assert "--name other and --copy change nothing" in refused.stderr and "aima rm first" in refused.stderr
    report = json.loads(aima(own_cluster, folder, "import", "my model.gguf", "--name", "other", "-o", "json").stderr)
    assert report["error"]["code"] == "ALREADY_EXISTS"
    assert "forgets it" in refused.stderr and "deleted first" in aima(own_cluster, folder, "rm", "first").stdout
    copied = aima(own_cluster, folder, "import", "my model.gguf", "--name", "other", "--copy")
    assert copied.stdout.startswith("imported other (embedding, ") and f"copied to {own_cluster.data_dir}" in copied.stdout
    assert (folder / "my model.gguf").exists()
    nothing = aima(own_cluster, folder, "cancel", "other")
    assert (nothing.returncode, nothing.stdout) == (0, "") and "other is not being pulled" in nothing.stderr
