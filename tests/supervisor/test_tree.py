"""supervisor/tree.py: start in order, restart, escalate, stop in reverse.

Every clause of docs/supervisor.md about supervisors, in virtual time."""

import attrs
import pytest
import trio
import trio.testing

from supervisor.budget import Backoff
from supervisor.exits import Crashed, Killed, Returned, Stopped
from supervisor.spec import Cancel, ChildSpec, Drain, Restart, Strategy, SupervisorSpec
from supervisor.telemetry import ChildRestarting, GaveUp
from supervisor.tree import RestartsExhausted, StartFailed, Supervisor, stopping

NO_WAIT = Backoff(first=0)


@attrs.define
class Stage:
    """Children that write down when they start and end, and do as they are told."""

    story: list = attrs.field(factory=list)
    lives: dict = attrs.field(factory=dict)
    crashes: dict = attrs.field(factory=dict)
    events: list = attrs.field(factory=list)

    async def child(self, name, crash_after=None, task_status=trio.TASK_STATUS_IGNORED, start_seconds=0.0):
        """Lives until its life number ``crash_after`` times out, or until ``crash`` is called."""
        self.lives[name] = self.lives.get(name, 0) + 1
        self.crashes[name] = trio.Event()
        try:
            await trio.sleep(start_seconds)
            self.story.append(f"+{name}")
            task_status.started()
            await self.crashes[name].wait()
            raise ZeroDivisionError(name)
        finally:
            self.story.append(f"-{name}")

    def spec(self, name, *, function=None, **options):
        return ChildSpec(name, function or self.child, *([] if function else [name]), **options)

    async def crash(self, name):
        self.crashes[name].set()
        await trio.testing.wait_all_tasks_blocked()

    def supervisor(self, strategy, *children, **options):
        options.setdefault("backoff", NO_WAIT)
        specs = [child if isinstance(child, ChildSpec) else self.spec(child) for child in children]
        return Supervisor(SupervisorSpec(strategy, specs, **options), on_event=self.events.append)

    def told(self):
        story, self.story = self.story, []
        return " ".join(story)


@pytest.fixture
def stage():
    return Stage()


# ---- starting and stopping


async def test_children_start_in_order_and_stop_in_reverse(nursery, stage, autojump_clock):
    supervisor = await nursery.start(stage.supervisor(Strategy.ONE_FOR_ONE, "a", "b", "c").run)
    assert stage.told() == "+a +b +c"

    await supervisor.stop()
    assert stage.told() == "-c -b -a"


async def test_the_next_child_starts_when_the_one_before_says_it_has(nursery, stage, autojump_clock):
    async def slow(task_status):
        await stage.child("slow", None, task_status, 3.0)

    began = trio.current_time()
    await nursery.start(
        stage.supervisor(Strategy.ONE_FOR_ONE, stage.spec("slow", function=slow), "after").run
    )

    assert trio.current_time() - began == 3
    assert stage.told() == "+slow +after"


async def test_a_child_that_reports_nothing_has_started_when_it_exists(nursery, stage, autojump_clock):
    with trio.fail_after(1):
        await nursery.start(stage.supervisor(Strategy.ONE_FOR_ONE, ChildSpec("a", trio.sleep, 50), "b").run)


async def test_a_child_that_dies_before_it_started_fails_the_start_and_the_others_are_stopped(
    stage, autojump_clock
):
    async def stillborn(task_status):
        raise ZeroDivisionError("stillborn")

    supervisor = stage.supervisor(Strategy.ONE_FOR_ONE, "a", stage.spec("b", function=stillborn), "c")
    with pytest.raises(StartFailed, match="stillborn"):
        await supervisor.run()
    assert stage.told() == "+a -a"


async def test_a_transient_child_with_nothing_to_do_does_not_fail_the_start(nursery, stage, autojump_clock):
    """What Erlang calls ``ignore``."""

    async def nothing_to_do(task_status):
        pass

    spec = stage.spec("idle", function=nothing_to_do, restart=Restart.TRANSIENT)
    await nursery.start(stage.supervisor(Strategy.ONE_FOR_ONE, spec, "a").run)
    assert stage.told() == "+a"


async def test_stopping_during_the_start_stops_who_has_started(nursery, stage, autojump_clock):
    async def slow(task_status):
        await trio.sleep(100)

    supervisor = stage.supervisor(Strategy.ONE_FOR_ONE, "a", stage.spec("slow", function=slow))
    nursery.start_soon(supervisor.run)
    await trio.sleep(1)
    with trio.fail_after(1):
        await supervisor.stop()
    assert stage.told() == "+a -a"


async def test_cancelled_it_still_stops_in_reverse(stage, autojump_clock):
    async with trio.open_nursery() as nursery:
        await nursery.start(stage.supervisor(Strategy.ONE_FOR_ONE, "a", "b", "c").run)
        nursery.cancel_scope.cancel()
    assert stage.told() == "+a +b +c -c -b -a"


async def test_it_may_run_again_with_a_new_budget(stage, autojump_clock):
    supervisor = stage.supervisor(Strategy.ONE_FOR_ONE, "a", max_restarts=1)
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            await stage.crash("a")
            assert supervisor.statistics().restarts == 1
            await supervisor.stop()
    assert stage.lives["a"] == 4


# ---- shutdown


async def drains(seconds):
    await stopping().wait()
    await trio.sleep(seconds)


@pytest.mark.parametrize(("needs", "reason"), [(4.9, Stopped()), (5.1, Killed())])
async def test_a_listener_has_until_its_deadline(nursery, stage, autojump_clock, needs, reason):
    spec = ChildSpec("child", drains, needs, shutdown=Drain(5))
    supervisor = await nursery.start(stage.supervisor(Strategy.ONE_FOR_ONE, spec).run)
    await trio.testing.wait_all_tasks_blocked()

    began = trio.current_time()
    await supervisor.stop()

    assert trio.current_time() - began == pytest.approx(min(needs, 5))
    assert supervisor.statistics().children[0].last_exit.reason == reason


@pytest.mark.parametrize(
    "spec", [ChildSpec("a", trio.sleep, 99), ChildSpec("a", drains, 99, shutdown=Cancel())]
)
async def test_who_does_not_listen_or_is_not_to_be_asked_ends_at_once(nursery, stage, autojump_clock, spec):
    supervisor = await nursery.start(stage.supervisor(Strategy.ONE_FOR_ONE, spec).run)
    await trio.testing.wait_all_tasks_blocked()

    began = trio.current_time()
    await supervisor.stop()

    assert trio.current_time() == began
    assert supervisor.statistics().children[0].last_exit.reason == Stopped()


async def test_the_one_below_is_stopped_only_when_the_one_above_it_is_gone(nursery, stage, autojump_clock):
    async def top():
        await drains(3)
        stage.story.append("-top")

    spec = ChildSpec("top", top)
    supervisor = await nursery.start(stage.supervisor(Strategy.ONE_FOR_ONE, "base", spec).run)
    await trio.testing.wait_all_tasks_blocked()
    await supervisor.stop()
    assert stage.told() == "+base -top -base"


async def test_cancelling_cuts_a_drain_short(stage, autojump_clock):
    supervisor = stage.supervisor(Strategy.ONE_FOR_ONE, ChildSpec("a", drains, 90, shutdown=Drain(100)))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(supervisor.stop)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert trio.current_time() < 50


# ---- restarting


@pytest.mark.parametrize(
    ("strategy", "story"),
    [
        (Strategy.ONE_FOR_ONE, "-b +b"),
        (Strategy.REST_FOR_ONE, "-b -c +b +c"),
        (Strategy.ONE_FOR_ALL, "-b -c -a +a +b +c"),
    ],
)
async def test_who_is_restarted_with_the_dead(nursery, stage, autojump_clock, strategy, story):
    await nursery.start(stage.supervisor(strategy, "a", "b", "c").run)
    stage.told()
    await stage.crash("b")
    assert stage.told() == story


@pytest.mark.parametrize(
    ("restart", "crashed", "lives"),
    [
        (Restart.PERMANENT, True, 2),
        (Restart.PERMANENT, False, 2),
        (Restart.TRANSIENT, True, 2),
        (Restart.TRANSIENT, False, 1),
        (Restart.TEMPORARY, True, 1),
        (Restart.TEMPORARY, False, 1),
    ],
)
async def test_permanent_transient_temporary(nursery, stage, autojump_clock, restart, crashed, lives):
    lived = 0

    async def child():
        nonlocal lived
        lived += 1
        await trio.sleep(1 if lived == 1 else 1000)
        if crashed:
            raise ZeroDivisionError

    await nursery.start(
        stage.supervisor(Strategy.ONE_FOR_ONE, ChildSpec("child", child, restart=restart), "other").run
    )
    await trio.sleep(10)
    assert lived == lives
    assert stage.lives["other"] == 1


async def test_a_child_that_fails_to_start_again_is_another_death(nursery, stage, autojump_clock):
    async def stubborn(task_status):
        stage.lives["stubborn"] = stage.lives.get("stubborn", 0) + 1
        if stage.lives["stubborn"] in (2, 3):
            raise ZeroDivisionError("not yet")
        await stage.child("b", None, task_status)

    supervisor = stage.supervisor(
        Strategy.REST_FOR_ONE, "a", stage.spec("b", function=stubborn), "c", max_restarts=3
    )
    await nursery.start(supervisor.run)
    stage.told()
    await stage.crash("b")
    assert stage.told() == "-b -c +b +c"
    assert supervisor.statistics().restarts == 3


async def test_two_deaths_at_once_under_one_for_all_are_one_restart(nursery, stage, autojump_clock):
    supervisor = await nursery.start(stage.supervisor(Strategy.ONE_FOR_ALL, "a", "b").run)
    stage.told()
    stage.crashes["a"].set()
    await stage.crash("b")
    assert sorted(stage.told().split()) == ["+a", "+b", "-a", "-b"]
    assert supervisor.statistics().restarts == 1


async def test_the_second_restart_waits_and_others_need_not_wait_with_it(nursery, stage, autojump_clock):
    supervisor = stage.supervisor(
        Strategy.ONE_FOR_ONE,
        "a",
        "b",
        max_restarts=9,
        max_seconds=100,
        backoff=Backoff(first=5, factor=2, most=60),
    )
    await nursery.start(supervisor.run)
    await stage.crash("a")
    await stage.crash("a")
    assert stage.lives["a"] == 2
    await trio.sleep(4.9)
    assert stage.lives["a"] == 2
    await trio.sleep(0.2)
    assert stage.lives["a"] == 3
    assert [event.delay for event in stage.events if isinstance(event, ChildRestarting)] == [0, 5]


async def test_in_rest_for_one_nobody_starts_before_those_it_leans_on(nursery, stage, autojump_clock):
    supervisor = stage.supervisor(
        Strategy.REST_FOR_ONE, "a", "b", "c", max_restarts=9, max_seconds=100, backoff=Backoff(first=5)
    )
    await nursery.start(supervisor.run)
    await stage.crash("a")
    stage.told()
    await stage.crash("c")  # its restart waits 5 s
    await trio.sleep(1)
    await stage.crash("b")  # and now b's waits, and c after it
    await trio.sleep(4.5)
    assert stage.told() == "-c -b"
    await trio.sleep(10)
    assert stage.told() == "+b +c"


async def test_stop_does_not_wait_for_a_back_off(nursery, stage, autojump_clock):
    supervisor = stage.supervisor(Strategy.ONE_FOR_ONE, "a", backoff=Backoff(first=50, most=50))
    await nursery.start(supervisor.run)
    await stage.crash("a")
    await stage.crash("a")
    with trio.fail_after(1):
        await supervisor.stop()


# ---- escalation


async def test_three_deaths_in_five_seconds_are_forgiven_and_the_fourth_ends_the_supervisor(
    stage, autojump_clock
):
    supervisor = stage.supervisor(Strategy.ONE_FOR_ONE, "other", "mad")
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            for _ in range(4):
                await trio.sleep(1)
                await stage.crash("mad")
    assert stage.lives == {"other": 1, "mad": 4}
    (gave_up,) = caught.value.exceptions
    assert isinstance(gave_up, RestartsExhausted)
    assert isinstance(gave_up.exit.reason, Crashed)
    assert str(gave_up).startswith("supervisor gave up: mad crashed")
    assert stage.told().endswith("-mad -other")
    assert isinstance(stage.events[-2], GaveUp)


async def test_deaths_far_enough_apart_go_on_for_ever(nursery, stage, autojump_clock):
    await nursery.start(stage.supervisor(Strategy.ONE_FOR_ONE, "mad", max_restarts=1, max_seconds=5).run)
    for _ in range(10):
        await trio.sleep(5)
        await stage.crash("mad")
    assert stage.lives["mad"] == 11


async def test_a_supervisor_that_gave_up_is_restarted_by_its_own(nursery, stage, autojump_clock):
    inner = stage.supervisor(Strategy.ONE_FOR_ONE, "mad", max_restarts=0, name="inner")
    outer = stage.supervisor(
        Strategy.REST_FOR_ONE, "base", ChildSpec("inner", inner.run), "after", name="outer"
    )
    await nursery.start(outer.run)
    assert stage.told() == "+base +mad +after"
    await stage.crash("mad")
    assert stage.told() == "-mad -after +mad +after"
    exit = outer.statistics().children[1].last_exit
    assert isinstance(exit.reason.error, RestartsExhausted)


async def test_a_tree_stops_from_its_leaves(nursery, stage, autojump_clock):
    inner = stage.supervisor(Strategy.ONE_FOR_ONE, "b", ChildSpec("slow", drains, 2), "c")
    outer = stage.supervisor(Strategy.ONE_FOR_ONE, "a", ChildSpec("inner", inner.run), "d")
    await nursery.start(outer.run)
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    await outer.stop()
    assert stage.told() == "+a +b +c +d -d -c -b -a"
    assert trio.current_time() - began == pytest.approx(2)


# ---- the rest


async def test_it_can_be_asked_how_it_is(nursery, stage, autojump_clock):
    supervisor = stage.supervisor(
        Strategy.ONE_FOR_ONE, "a", ChildSpec("done", trio.sleep, 1, restart=Restart.TEMPORARY), name="top"
    )
    before = supervisor.statistics()
    await nursery.start(supervisor.run)
    await trio.sleep(2)
    await stage.crash("a")
    a, done = supervisor.statistics().children
    assert [child.starts for child in before.children] == [0, 0]
    assert (a.alive, a.starts, type(a.last_exit.reason)) == (True, 2, Crashed)
    assert (done.alive, done.starts, done.last_exit.reason) == (False, 1, Returned())


async def test_keyboard_interrupt_is_nobodys_crash(stage, autojump_clock):
    async def interrupted():
        raise KeyboardInterrupt

    supervisor = stage.supervisor(Strategy.ONE_FOR_ONE, "a", ChildSpec("b", interrupted))
    with pytest.raises(BaseExceptionGroup) as caught:
        await supervisor.run()
    assert caught.value.subgroup(KeyboardInterrupt) is not None
    assert stage.told() == "+a -a"


async def test_without_a_supervisor_nobody_asks_to_stop():
    assert not stopping().is_set()
