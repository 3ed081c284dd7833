"""The suite's own rule about skips: one nobody expected fails the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

def test_runs(): pass

def test_skips(): pytest.skip("no such tool")

@pytest.mark.xfail(reason="known")
def test_known(): raise ValueError
"""


def run(folder: Path, suite: str, strict: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (folder / "test_suite.py").write_text(suite)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        env=os.environ | {"SCSIPUB_STRICT_SKIPS": strict},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("strict", "code", "closing"), [("1", 1, "1 failed, 1 passed"), ("", 0, "1 skipped")]
)
def test_an_unexpected_skip_fails_where_that_is_asked(tmp_path, strict, code, closing):
    done = run(tmp_path, SUITE, strict)

    assert done.returncode == code
    assert closing in done.stdout


def test_a_whole_file_that_skips_itself_is_seen_too(tmp_path):
    done = run(tmp_path, 'import pytest\npytest.importorskip("no_such_tool")\n', strict="1")

    assert done.returncode != 0
    assert "not expected to be skipped here" in done.stdout
