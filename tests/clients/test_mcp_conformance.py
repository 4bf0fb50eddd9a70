"""The official conformance suite of MCP, in both eras of the protocol: against the gateway with the suite's fixtures
beside its units (a program that no package contains), and, where no fixture is needed, against a cluster as shipped."""
import re
import subprocess
import time
import urllib.request

import pytest

from support.cluster import bin_dir, free_port
from tools import node_environment, node_packages


# Scenarios that the frozen requirement sets run without counting them.
UNSCORED = ["http-header-validation", "http-custom-header-server-validation", "json-schema-2020-12", "tasks-lifecycle",
            "tasks-capability-negotiation", "tasks-wire-fields", "tasks-request-state-removal", "tasks-mrtr-input",
            "tasks-request-headers", "tasks-dispatch-and-envelope", "tasks-required-task-error", "tasks-mrtr-composition"]
WITHOUT_FIXTURES = {
    "2025-11-25": ["server-initialize", "ping", "tools-list", "dns-rebinding-protection", "server-session-lifecycle",
                   "server-sse-multiple-streams", "logging-set-level", "prompts-list", "resources-list"],
    "2026-07-28": ["tools-list", "resources-list", "prompts-list", "sep-2164-resource-not-found",
                   "dns-rebinding-protection", "caching", "server-sse-multiple-streams", "http-header-validation",
                   "input-required-result-unsupported-methods"],
}


@pytest.fixture(scope="session")
def suite():
    """Runs the suite with some arguments and returns how it ended and what it printed."""
    folder = node_packages("mcp-conformance")

    def start(*arguments):
        done = subprocess.run([folder / "node_modules/.bin/conformance", "server", *arguments], capture_output=True,
                              text=True, timeout=300, env=node_environment(folder), cwd=folder)
        return done.returncode, done.stdout + done.stderr

    return start


@pytest.fixture(scope="module")
def fixture_gateway(tmp_path_factory):
    """Address of the endpoint of a gateway that has the fixtures."""
    port = free_port()
    program = bin_dir().parent / "tests" / "mcp_conformance_gateway"
    log = tmp_path_factory.mktemp("mcp") / "log"
    with open(log, "w") as out:
        process = subprocess.Popen([program, log.parent / "data", str(port)], stdout=out, stderr=out)
    end = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/units", timeout=5).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/mcp"
    process.terminate()
    assert process.wait(timeout=60) == 0, log.read_text()[-3000:]


def failures(printed):
    return re.findall(r"^\s*✗ .*$", printed, re.MULTILINE)


@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
def test_every_scored_scenario_passes(suite, fixture_gateway, era):
    code, printed = suite("--url", fixture_gateway, "--requirements", era)
    assert code == 0 and not failures(printed), printed[-6000:]
    passed = re.search(r"Total: (\d+) passed, 0 failed", printed)
    assert passed and int(passed.group(1)) >= 80, printed[-2000:]


@pytest.mark.parametrize("scenario", UNSCORED)
def test_scenarios_that_are_not_scored_pass_too(suite, fixture_gateway, scenario):
    code, printed = suite("--url", fixture_gateway, "--scenario", scenario, "--spec-version", "2026-07-28")
    assert code == 0 and not failures(printed), printed[-4000:]


@pytest.mark.parametrize("era,scenario", [(era, name) for era, names in WITHOUT_FIXTURES.items() for name in names])
def test_the_shipped_gateway_passes_what_needs_no_fixtures(suite, cluster, era, scenario):
    code, printed = suite("--url", f"http://127.0.0.1:{cluster.http_port}/mcp", "--scenario", scenario, "--spec-version", era)
    assert code == 0 and not failures(printed), printed[-4000:]
