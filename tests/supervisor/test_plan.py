"""supervisor/plan.py: who is restarted with whom."""

import pytest

from supervisor.exits import Crashed, Exit, ProcessExited, Returned, Stopped
from supervisor.plan import Plan, after_death, wants_restart
from supervisor.spec import ChildSpec, Restart, Strategy


async def nothing() -> None: ...


def children(**restarts):
    return [
        ChildSpec(name, nothing, restart=restarts.get(name, Restart.PERMANENT)) for name in ("a", "b", "c")
    ]


@pytest.mark.parametrize(
    ("strategy", "stop", "start"),
    [
        (Strategy.ONE_FOR_ONE, (), ("b",)),
        (Strategy.REST_FOR_ONE, ("c",), ("b", "c")),
        (Strategy.ONE_FOR_ALL, ("c", "a"), ("a", "b", "c")),
    ],
)
def test_the_middle_one_of_three_died(strategy, stop, start):
    """Stopped in reverse, started in order; the dead one need not be stopped."""
    assert after_death(strategy, children(), "b") == Plan(stop, start)


@pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])
def test_a_temporary_child_is_stopped_with_the_others_and_not_started_again(strategy):
    plan = after_death(strategy, children(c=Restart.TEMPORARY), "a")
    assert plan == Plan(stop=("c", "b"), start=("a", "b"))


def test_a_transient_child_is_started_again_with_the_others():
    plan = after_death(Strategy.ONE_FOR_ALL, children(c=Restart.TRANSIENT), "a")
    assert plan.start == ("a", "b", "c")


@pytest.mark.parametrize(
    ("restart", "reason", "wanted"),
    [
        (Restart.PERMANENT, Returned(), True),
        (Restart.PERMANENT, Crashed(ValueError()), True),
        (Restart.TRANSIENT, Returned(), False),
        (Restart.TRANSIENT, Stopped(), False),
        (Restart.TRANSIENT, ProcessExited(0), False),
        (Restart.TRANSIENT, ProcessExited(3), True),
        (Restart.TRANSIENT, Crashed(ValueError()), True),
        (Restart.TEMPORARY, Returned(), False),
        (Restart.TEMPORARY, Crashed(ValueError()), False),
    ],
)
def test_who_is_started_again(restart, reason, wanted):
    child = ChildSpec("a", nothing, restart=restart)
    assert wants_restart(child, Exit("a", reason, 1.0)) is wanted
