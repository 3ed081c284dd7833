"""A client that verifies every byte, through a proxy that cuts, stalls and dribbles, to the real daemon."""

import json
import subprocess
import sys

import pytest

from tests.support.daemon import daemon


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    with daemon(tmp_path_factory.mktemp("patient") / "state", "--workers", "2") as d:
        yield d


def verify(portal, target, *words):
    command = [sys.executable, "-m", "scsipub.bench.verify", f"iscsi://{portal}/{target}/0", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)


@pytest.fixture
def through():
    """``through(portal, options)`` gives the port of a proxy, as the command line opens it."""
    started = []

    def begin(portal, *options):
        command = [sys.executable, "-m", "scsipub", "chaos", portal, "--json", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return json.loads(process.stdout.readline())["listening"], process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "weather",
    [
        ("--cut", "0.004"),
        ("--reset", "0.004"),
        ("--crumbs", "0.02"),
        ("--stall", "0.01", "--stall-seconds", "0.1"),
    ],
    ids=lambda words: words[0],
)
def test_no_byte_is_wrong_and_none_is_lost(patient, through, weather):
    portal, process = through(patient.iscsi, *weather, "--seed", "3")

    said = verify(portal, patient.target("blank"), "--seconds", "2", "--reconnect", "20")

    process.terminate()
    told = [json.loads(line) for line in process.communicate(timeout=10)[0].splitlines()]
    assert said["error"] == ""
    assert said["operations"] > 50
    assert len(told) > 1, "there was no weather"
    assert told[-1]["connections"] > len(said["reconnects"])  # a login may be cut as well
    assert process.returncode == 0
