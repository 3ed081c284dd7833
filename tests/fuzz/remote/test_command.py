"""``python -m fuzz run TARGET`` as a process."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import REPOSITORY
from tests.support.eventually import alive, eventually

pytestmark = pytest.mark.wire


def targets(pid: int) -> list[int]:
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for each in children if b"tgtd\0" in Path(f"/proc/{each}/cmdline").read_bytes()]


def speaks(pid: int) -> bool:
    """It has a socket, thus a connection to its target."""
    return any(str(each.readlink()).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())


def test_asked_to_end_it_reports_and_leaves_no_target_running(tmp_path):
    """An hour of fuzzing that a supervisor stops is not lost, and what it started goes with it."""
    words = ["-m", "fuzz", "run", "tgt", "--minutes", "10", "--json", "--out", str(tmp_path / "out")]
    fuzzing = subprocess.Popen(
        [sys.executable, *words], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        [target] = eventually(lambda: targets(fuzzing.pid), 30)
        eventually(lambda: speaks(fuzzing.pid), 30)
        fuzzing.send_signal(signal.SIGTERM)
        said, complaints = fuzzing.communicate(timeout=30)
    finally:
        fuzzing.kill()

    assert "Traceback" not in complaints, complaints
    assert "pdus" in json.loads(said)
    assert not alive(target)
