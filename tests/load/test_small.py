"""The load scripts and the benchmark in small: that they run, and that what they show holds there too."""

import subprocess
import sys

import pytest

from tests.support.daemon import REPOSITORY

pytestmark = [pytest.mark.wire, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    "words",
    [
        ["tests.load.malformed", "--count", "100"],
        ["tests.load.kill"],
        ["tests.load.fencing", "--runs", "5"],
        # How many handshakes a second there are is looked at when nobody else uses the machine.
        ["tests.load.rotation", "--cooldown", "1", "--rate", "100", "--slack", "0.2"],
        # Others use the machine, too: how long a login takes is looked at when ten thousand are.
        # What is paid once weighs ten times as much for a thousand.
        [
            *["tests.load.idle", "--sessions", "1000", "--processes", "2"],
            *["--login-seconds", "1", "--bytes-each", "16384"],
        ],
        ["tests.load.shape", "--only", "curve", "--sessions", "200", "--busy", "20", "--seconds", "1"],
        [
            *[
                "tests.load.beside",
                "--sessions",
                "20",
                "--seconds",
                "0.3",
                "--rounds",
                "1",
                "--ratio",
                "1000",
            ],
            *["--only", "ping flood", "--only", "stalled window"],
        ],
        ["tests.bench", "--seconds", "0.3", "--runs", "1", "--only", "4k", "--mebibytes", "16"],
    ],
    ids=lambda words: words[0],
)
def test_it_holds(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=220
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout + done.stderr


def test_whoever_only_preempts_is_seen_to_let_writes_through() -> None:
    """What looks whether a fence holds can see that one does not."""
    words = ["tests.load.fencing", "--plain", "--way", "tcp", "--runs", "4", "--delay", "40"]
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=220
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "blocks changed after GOOD" in done.stdout
