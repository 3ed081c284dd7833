"""supervisor/exits.py: why a child ended."""

import pytest

from supervisor.exits import (
    Crashed,
    Exit,
    Killed,
    NeverStarted,
    ProcessExited,
    ProcessSignalled,
    Returned,
    Stopped,
)

NORMAL = [Returned(), Stopped(), ProcessExited(0)]
ABNORMAL = [
    Crashed(ValueError("x")),
    Killed(),
    ProcessExited(1),
    ProcessSignalled(9),
    NeverStarted(OSError()),
]


@pytest.mark.parametrize("reason", NORMAL)
def test_work_done_and_doing_as_told_are_normal_ends(reason):
    assert not Exit("child", reason, 1.0).abnormal


@pytest.mark.parametrize("reason", ABNORMAL)
def test_everything_else_is_not(reason):
    assert Exit("child", reason, 1.0).abnormal


@pytest.mark.parametrize("reason", NORMAL + ABNORMAL)
def test_every_exit_can_be_read_by_an_operator(reason):
    text = str(Exit("child", reason, 1.25))
    assert text.startswith("child ")
    assert text.endswith(" after 1.2 s")
    assert str(reason) in text


def test_a_signal_is_called_by_its_name_if_it_has_one():
    assert str(ProcessSignalled(9, signal_name="SIGKILL")) == "signal SIGKILL"
    assert str(ProcessSignalled(40)) == "signal 40"
