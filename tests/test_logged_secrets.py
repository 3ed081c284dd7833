"""The suite's own rule about secrets: one that reaches a log fails the test, and the run."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SUITE = """
import logging, os, sys
from pathlib import Path
from scsipub.iscsi import chap
from tests.support import secrecy

LOG = Path(__file__).parent / "daemon.log"

def test_it(caplog):
    caplog.set_level(logging.INFO)
    secret = chap.generate_secret(os.urandom)
    secrecy.watch(LOG)
    LOG.write_text("all is well")
    %s

def test_another(): pass
"""


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        ("print(secret)", 0),  # what is shown to somebody who asked is no log
        ("logging.info('login of ada')", 0),
        ("logging.info('login with %s', secret)", 1),
        ("print(secret.encode().hex(), file=sys.stderr)", 1),
        ("LOG.write_text('login with ' + secret)", 1),
    ],
)
def test_a_secret_in_a_log_fails_the_run(tmp_path, deed, code):
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (tmp_path / "test_suite.py").write_text(SUITE % deed)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == code, done.stdout + done.stderr
    assert ("secrets in a log" in done.stdout) == bool(code)
