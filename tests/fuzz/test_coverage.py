"""Guided by coverage, for a moment: the code is instrumented, and atheris plays.

``python -m fuzz coverage`` plays on, and makes its corpus small; that takes minutes and is not done here."""

import subprocess
import sys

import pytest

from fuzz import coverage
from scsipub.errors import OperatorError


def test_atheris_plays_and_sees_new_code(tmp_path):
    words = ["session", "-runs=30", "-max_len=512", "-seed=1", f"-artifact_prefix={tmp_path}/"]

    command = [sys.executable, "-m", "fuzz.guided", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)

    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 30 runs" in done.stderr
    assert "NEW" in done.stderr or "INITED cov:" in done.stderr


def test_what_cannot_be_guided_is_said_so():
    with pytest.raises(OperatorError, match="session, login, text"):
        coverage.main("web", 1.0, None)
