"""supervisor/spec.py: child specifications."""

import functools

import pytest
import trio

from supervisor.spec import Cancel, ChildSpec, Drain, Restart, Strategy, SupervisorSpec


async def plain(number: int = 0) -> None: ...


async def reporting(task_status: "trio.TaskStatus[None]") -> None: ...


def test_a_child_is_permanent_and_drained_for_five_seconds_unless_told_otherwise():
    child = ChildSpec("child", plain, 7)
    assert (child.args, child.restart, child.shutdown) == ((7,), Restart.PERMANENT, Drain(5.0))
    assert ChildSpec("child", plain, shutdown=Cancel()).shutdown == Cancel()


@pytest.mark.parametrize(
    ("start", "reports"),
    [(plain, False), (reporting, True), (functools.partial(reporting), True), (print, False), (type, False)],
)
def test_whether_a_child_reports_its_start_is_read_from_its_signature(start, reports):
    assert ChildSpec("child", start).reports_start is reports


def test_two_children_of_one_name_are_refused():
    SupervisorSpec(Strategy.ONE_FOR_ONE, [ChildSpec("a", plain), ChildSpec("b", plain)])
    with pytest.raises(ValueError, match="'a'"):
        SupervisorSpec(Strategy.ONE_FOR_ONE, [ChildSpec("a", plain), ChildSpec("a", plain)])


@pytest.mark.parametrize(
    "made", [lambda: Drain(-1), lambda: SupervisorSpec(Strategy.ONE_FOR_ONE, [], max_restarts=-1)]
)
def test_numbers_below_zero_are_refused(made):
    with pytest.raises(ValueError):
        made()


def test_a_specification_is_a_value():
    assert ChildSpec("a", plain, 1) == ChildSpec("a", plain, 1)
    with pytest.raises(AttributeError):
        ChildSpec("a", plain).name = "b"
