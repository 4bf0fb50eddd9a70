"""The systemd units in deploy/systemd."""
import re
import shutil
import subprocess

import pytest

from support.cluster import ROOT, bin_dir

UNITS = ROOT / "deploy" / "systemd"


def services():
    programs = {path.parent.name for path in ROOT.glob("services/*/main.cc")}
    return sorted(programs - {"cli", "shim"})  # started by hand, and by the engine service


def test_systemd_finds_no_fault_in_the_units(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("the program systemd-analyze is not installed (Debian: systemd)")
    # As they are, but for the place of the programs, which are not installed here.
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    template = folder / "aima@.service"
    template.write_text(template.read_text().replace("/usr/local/libexec/aima", str(bin_dir().resolve())))
    checked = [folder / f"aima@{service}.service" for service in services()]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *checked, folder / "aima.target"],
                          capture_output=True, text=True, timeout=60)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "aima" in line]
    assert (ours, done.returncode) == ([], 0), done.stderr


def test_the_target_wants_every_service():
    wanted = re.findall(r"aima@(\w+)\.service", (UNITS / "aima.target").read_text())
    assert sorted(wanted) == services()


def test_what_the_units_point_to_is_installed():
    text = (UNITS / "aima@.service").read_text()
    assert "Documentation=file:///usr/local/share/aima/README.md" in text
    assert re.search(r"install\(FILES README.md DESTINATION share/aima\)", (ROOT / "CMakeLists.txt").read_text())
