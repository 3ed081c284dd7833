"""However a command fails, it says so in words and ends with a code."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from scsipub.cli import cli, daemon
from scsipub.cli.options import refusals_in_plain_words
from scsipub.errors import OperatorError


@pytest.fixture
def status(monkeypatch, tmp_path):
    """Runs `scsipub status` with a failure where the daemon would be asked."""

    def run(failure: BaseException):
        def fail(*words):
            raise failure

        monkeypatch.setattr(sys.modules["scsipub.cli.status"], "ask", fail)
        return CliRunner().invoke(cli, ["status", "--state-dir", str(tmp_path)])

    return run


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (OperatorError("No.", "Ask again."), "scsipub: No.\n  Ask again.\n"),
        (OperatorError("No."), "scsipub: No.\n"),
        (PermissionError(13, "Permission denied", "/x"), "scsipub: /x: Permission denied.\n"),
        (KeyError("x"), "scsipub: This is a bug of ours: KeyError: 'x'.\n"),
    ],
)
def test_a_failure_is_told_in_words(status, failure, said):
    failed = status(failure)

    assert failed.exit_code == 1
    assert failed.stderr.startswith(said)
    assert "Traceback" not in failed.stderr


def test_a_bug_shows_its_traceback_to_who_asks_for_it(status, monkeypatch):
    monkeypatch.setenv("SCSIPUB_TRACEBACK", "1")

    assert isinstance(status(KeyError("x")).exception, KeyError)


def test_an_interrupted_command_says_so_by_its_code(status):
    assert status(KeyboardInterrupt()).exit_code == 130


def test_what_trio_wraps_is_unwrapped_where_it_is_for_the_operator(capsys):
    with pytest.raises(SystemExit) as ended, refusals_in_plain_words():
        raise ExceptionGroup("nursery", [ExceptionGroup("inner", [OperatorError("The port is taken.")])])

    assert ended.value.code == 1
    assert capsys.readouterr().err == "scsipub: The port is taken.\n"


def test_a_bug_beside_it_is_not_hidden():
    with pytest.raises(ExceptionGroup), refusals_in_plain_words():
        raise ExceptionGroup("nursery", [OperatorError("The port is taken."), KeyError("x")])


def test_the_daemon_absent_is_an_operator_error():
    assert issubclass(daemon.DaemonAbsent, OperatorError)


@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_reader_that_has_seen_enough_is_no_error_to_complain_about(tmp_path, unbuffered):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "scsipub", "image", "list", "--json", "--state-dir", str(tmp_path)],
            stdout=closed,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            timeout=30,
        )

    assert done.stderr == b""
