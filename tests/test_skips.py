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


@pytest.mark.parametrize(
    ("strict", "code", "closing"), [("1", 1, "1 failed, 1 passed"), ("", 0, "1 skipped")]
)
@pytest.mark.parametrize("suite", [SUITE, 'import pytest\npytest.importorskip("no_such_tool")' + SUITE])
def test_an_unexpected_skip_fails_only_where_asked(tmp_path, strict, code, closing, suite):
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (tmp_path / "test_suite.py").write_text(suite)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    whole_file = "importorskip" in suite

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env=os.environ | {"SCSIPUB_STRICT_SKIPS": strict},
        capture_output=True,
        text=True,
        timeout=60,
    )

    if whole_file:
        assert "no_such_tool" in done.stdout if strict else "1 skipped" in done.stdout
        assert (done.returncode != 0) == bool(strict) or not strict
    else:
        assert done.returncode == code
        assert closing in done.stdout
