"""supervisor/telemetry.py: what operators are told."""

import logging
from typing import get_args

import pytest

from supervisor import telemetry
from supervisor.exits import Crashed, Exit, Returned

EXIT = Exit("child", Returned(), 1.0)
VALUES = {"exit": EXIT, "delay": 1.0, "seconds": 1.0, "index": 0, "pid": 7, "incarnation": 1, "recent": 1}


def example(kind):
    names = [field.name for field in kind.__attrs_attrs__]
    return kind(**{name: VALUES.get(name, False if name == "planned" else "name") for name in names})


@pytest.mark.parametrize("kind", get_args(telemetry.Event))
def test_every_event_says_what_happened_and_what_to_do(kind, caplog):
    caplog.set_level(logging.DEBUG, "supervisor")
    event = example(kind)

    telemetry.log(event)

    assert kind.__doc__.count(".") >= 1
    assert [record.message for record in caplog.records] == [str(event)]
    assert caplog.records[0].levelno == event.level


def test_a_crash_is_logged_with_its_traceback(caplog):
    error = ValueError("x")
    telemetry.log(telemetry.ChildCrashed("top", Exit("child", Crashed(error), 1.0)))
    assert caplog.records[0].exc_info[1] is error


def test_a_planned_end_of_a_worker_is_no_warning():
    ended = telemetry.WorkerDown("pool", 0, 7, EXIT, planned=True)
    died = telemetry.WorkerDown("pool", 0, 7, EXIT, planned=False, verdict="it hung")
    assert (ended.level, died.level) == (logging.INFO, logging.WARNING)
    assert str(died).endswith("(pid 7): it hung")
