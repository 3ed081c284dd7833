"""A short form of ``make crash``, and proof that it sees what it is for."""

import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.crash.__main__ import main
from tests.crash.mistakes import MISTAKES
from tests.crash.power import explore
from tests.crash.sweep import points, sweep


@pytest.fixture
def memory(tmp_path):
    """A folder, in memory if there is such a place: thousands of states go through it."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if place.is_dir() else tmp_path) as folder:
        yield Path(folder)


def test_the_script_makes_more_than_forty_calls(tmp_path):
    """Of each kind that changes a file at least one."""
    found, _ = points(tmp_path / "whole")

    assert len(found) >= 40
    assert {"pwritev2", "pwrite64", "fdatasync", "fsync", "fallocate", "ftruncate", "openat", "unlink"} <= {
        point.name for point in found
    }
    assert any(point.name.startswith("rename") for point in found)


def test_a_process_killed_or_failed_at_any_call_keeps_its_promises(tmp_path):
    """R1 to R13, at every eleventh call; ``make crash`` takes them all."""
    swept = sweep(tmp_path, ("kill", "EIO", "ENOSPC"), every=11)

    assert [finding for kind in swept.values() for finding in kind.findings] == []
    assert all(kind.points >= 10 for kind in swept.values())


@pytest.mark.parametrize("seed", [None, 1])
def test_a_power_failure_at_any_call_keeps_what_was_promised(memory, seed):
    explored = explore(memory, seed=seed, bits=4, samples=8)

    assert explored.findings == []
    assert explored.states >= 1000


POWER_MISTAKES = ("swap-flush", "live-bits", "fua-without-bits", "holes-without-fsync", "no-room")
CREATION_MISTAKES = ("creation-without-directory", "growth-without-sync", "bits-in-memory")


@pytest.mark.parametrize("mistake", POWER_MISTAKES + CREATION_MISTAKES)
def test_a_power_failure_reveals_the_mistakes_it_can(memory, mistake):
    assert explore(memory, mistake=mistake, bits=4, samples=4, enough=1).findings


@pytest.mark.parametrize(
    ("mistake", "kind", "call"),
    [
        ("early-bits", "kill", ", 1, 7168, 0)"),
        ("fresh-when-missing", "kill", "16893440"),
        ("no-latch", "EIO", ", 1, 153600, 0)"),
    ],
)
def test_a_kill_or_an_error_reveals_the_others(tmp_path, mistake, kind, call):
    """One call at which it shows is enough to know."""
    swept = sweep(tmp_path, (kind,), choose=lambda point: call in point.name + point.what, mistake=mistake)

    assert swept[kind].findings


def test_every_mistake_has_its_test():
    assert set(MISTAKES) == {
        *POWER_MISTAKES,
        *CREATION_MISTAKES,
        "early-bits",
        "fresh-when-missing",
        "no-latch",
    }


def test_the_run_fails_with_the_order_of_a_flush_swapped():
    """And says what it looked at."""
    done = CliRunner().invoke(main, ["--swap-flush", "--power-only", "--bits", "4"])

    assert done.exit_code == 1, done.output
    assert "broken promises in" in done.output


def test_the_run_succeeds_without(monkeypatch):
    done = CliRunner().invoke(main, ["--power-only", "--bits", "3", "--every", "4"])

    assert done.exit_code == 0, done.output
    assert "Every promise was kept in" in done.output
