"""aima config, and the manual pages."""
import json
import os
import shutil
import subprocess

import pytest

from support.cluster import ROOT, Cluster, bin_dir, free_port


@pytest.fixture
def fresh():
    with Cluster(start=False) as cluster:
        yield cluster


def test_what_is_set_is_what_the_next_start_uses(fresh):
    port = free_port()
    fresh.cli("config", "set", "api.listen_addr", f"127.0.0.1:{port}")
    fresh.cli("config", "set", f"api.grpc_addr={fresh.sets['api.grpc_addr']}")
    fresh.cli("start", timeout=120)
    fresh.http_port = port
    assert fresh.execute("device.info")["id"] == "cpu"
    told = fresh.cli("config", "set", "event.max_events", "5000")
    assert "aima stop" in told.stderr
    setting = next(item for item in json.loads(fresh.cli("config", "show", "-o", "json").stdout)["settings"]
                   if item["key"] == "event.max_events")
    assert setting["value"] == 5000 and setting["running"] == "1000000" and setting["from"].startswith("config.yaml:")


def test_show_tells_where_each_value_comes_from(fresh):
    fresh.cli("config", "set", "model.default_source", "modelscope")
    rows = {line.split()[0]: line.split() for line in fresh.cli("config", "show").stdout.splitlines()}
    assert rows["model.default_source"][1:] == ['"modelscope"', "config.yaml:2"]
    assert rows["general.data_dir"][2] == "$AIMA_DATA_DIR"
    assert rows["api.enable_cors"][1:] == ["false", "default"]
    assert set(fresh.cli("config", "show", "api", "-o", "name").stdout.split()) >= {"api.listen_addr", "api.grpc_addr"}
    assert len(fresh.cli("config", "show", "--changed").stdout.splitlines()) == 3
    assert fresh.cli("config", "get", "model.default_source").stdout == "modelscope\n"
    assert fresh.cli("config", "path").stdout == f"{fresh.data_dir}/config.yaml\n"


def test_set_keeps_comments_and_refuses_what_is_wrong(fresh):
    file = fresh.data_dir / "config.yaml"
    file.write_text("# Mine.\napi:\n  # for the console\n  enable_cors: true   # at home\n")
    file.chmod(0o640)
    fresh.cli("config", "set", "api.enable_cors", "false")
    assert file.read_text() == "# Mine.\napi:\n  # for the console\n  enable_cors: false   # at home\n"
    assert file.stat().st_mode & 0o777 == 0o640
    before = file.read_text()
    for key, value, said in (("api.enable_cors", "perhaps", "true or false"), ("api.listen_adr", "x", "did you mean"),
                             ("resource.pressure_threshold", "7", "pressure_threshold"), ("api", "x", "section.key")):
        refused = fresh.cli("config", "set", key, value, check=False)
        assert refused.returncode in (2, 3) and said in refused.stderr, refused.stderr
        assert file.read_text() == before
    fresh.cli("config", "set", "api.allowed_origins", "https://a.example, https://b.example")
    assert '  allowed_origins: ["https://a.example", "https://b.example"]\n' in file.read_text()
    fresh.cli("config", "unset", "api.allowed_origins")
    assert file.read_text() == before
    assert list(fresh.data_dir.glob("*.new")) == []


def test_a_time_needs_its_unit_and_no_line_of_a_file_that_was_not_written_is_cited(fresh):
    file = fresh.data_dir / "config.yaml"
    for value in ("10", "2.5", "soon", "10 lightyears", ""):
        refused = fresh.cli("config", "set", "gateway.request_timeout", value, check=False)
        assert refused.returncode == 2 and "needs its unit" in refused.stderr, refused.stderr
    assert "10s, 10m, 10h or 10ms" in fresh.cli("config", "set", "gateway.request_timeout=10", check=False).stderr
    for key, value in (("gateway.request_timeout", "1ms"), ("resource.pressure_threshold", "7"), ("api.enable_cors", "perhaps")):
        refused = fresh.cli("config", "set", key, value, check=False)
        assert refused.returncode in (0, 2) and "line" not in refused.stderr, refused.stderr
    fresh.cli("config", "set", "gateway.request_timeout", "10s")
    assert "10s" in file.read_text()
    fresh.cli("config", "set", "engine.idle_timeout", "0")
    fresh.cli("config", "set", "gateway.max_request_size", "65536")


def test_set_keeps_what_people_wrote_into_a_list(fresh):
    file = fresh.data_dir / "config.yaml"
    file.write_text("api:\n  allowed_origins:\n    # the console\n    - https://a.example  # at home\n    # ours\n    - https://b.example\n")
    fresh.cli("config", "set", "api.allowed_origins", "https://a.example,https://c.example")
    assert file.read_text() == ('api:\n  allowed_origins:\n    # the console\n    - https://a.example  # at home\n    - "https://c.example"\n'
                                "    # ours\n")
    shown = json.loads(fresh.cli("config", "show", "api.allowed_origins", "-o", "json").stdout)["settings"]
    assert shown[0]["value"] == ["https://a.example", "https://c.example"]


def test_set_leaves_a_file_to_its_owner_and_a_link_a_link(fresh):
    target = fresh.data_dir / "elsewhere.yaml"
    target.write_text("api:\n  enable_cors: true\n")
    link = fresh.data_dir / "config.yaml"
    link.symlink_to(target)
    if os.geteuid() == 0:
        os.chown(target, 65534, 65533)
    fresh.cli("config", "set", "api.enable_cors", "false")
    assert link.is_symlink() and "enable_cors: false" in target.read_text()
    if os.geteuid() == 0:
        assert (target.stat().st_uid, target.stat().st_gid) == (65534, 65533)


def test_a_secret_is_never_shown(fresh):
    fresh.cli("config", "set", "security.api_key", "very-secret-key-of-mine")
    for words in (["show"], ["show", "-o", "json"], ["get", "security.api_key"], ["show", "-o", "yaml"]):
        assert "very-secret" not in fresh.cli("config", *words).stdout
    assert "very-secret-key-of-mine" in (fresh.data_dir / "config.yaml").read_text()
    assert (fresh.data_dir / "config.yaml").stat().st_mode & 0o077 == 0


def test_validate_names_lines_and_keys(fresh, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("api:\n  listen_adr: x\n  enable_cors: perhaps\n")
    done = fresh.cli("config", "validate", wrong, check=False)
    assert done.returncode == 2
    assert "api.listen_adr: line 2: is not a key; did you mean listen_addr?" in done.stderr
    assert "api.enable_cors: line 3: must be true or false" in done.stderr
    fields = json.loads(fresh.cli("config", "validate", wrong, "-o", "json", check=False).stderr)["error"]["details"]["fields"]
    assert [field["field"] for field in fields] == ["api.listen_adr", "api.enable_cors"]
    broken = tmp_path / "broken.yaml"
    broken.write_text("api: [\n")
    assert "line" in fresh.cli("config", "validate", broken, check=False).stderr
    assert "is valid" in fresh.cli("config", "validate", ROOT / "configs" / "aima.yaml").stdout


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([bin_dir() / "aima", "man", "--write", directory], check=True)
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_every_command_and_domain_has_a_page_that_man_reads_without_a_warning(pages):
    names = {path.name for path in pages}
    assert {"aima.1", "aima-pull.1", "aima-doctor.1", "aima-model.7", "aima-engine.7"} <= names
    for page in pages:
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], capture_output=True, text=True,
                              env={**os.environ, "MANROFFSEQ": "", "MANWIDTH": "100"})
        assert (done.returncode, done.stderr) == (0, ""), page.name


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed; deploy/install-packages --tests does that")
def test_mandoc_finds_no_error_and_no_warning(pages):
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_page_says_what_the_unit_says(pages):
    page = next(path for path in pages if path.name == "aima-pull.1")
    shown = subprocess.run(["man", "-l", page], capture_output=True, text=True, env={**os.environ, "MANWIDTH": "100"}).stdout
    assert "--quantization" in shown and "Which packing of the weights" in " ".join(shown.split())
    done = subprocess.run([bin_dir() / "aima", "man", "pull"], capture_output=True, text=True, env={**os.environ, "MANWIDTH": "100"})
    assert done.stdout == shown
