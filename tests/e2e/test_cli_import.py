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


@pytest.mark.parametrize("path", ["my model.gguf", "./my model.gguf", "../{folder}/my model.gguf"])
def test_a_path_is_taken_from_where_one_stands(own_cluster, folder, path):
    done = aima(own_cluster, folder, "import", path.format(folder=folder.name), "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["path"] == os.fspath(folder / "my model.gguf")
