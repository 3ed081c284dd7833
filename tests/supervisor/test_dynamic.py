"""supervisor/dynamic.py: children that come and go, and crash alone."""

import tracemalloc

import pytest
import trio
import trio.testing

from supervisor.dynamic import DynamicSupervisor, NameTaken, NotRunning, TooManyChildren
from supervisor.exits import Crashed, Killed, Returned, Stopped
from supervisor.spec import ChildSpec, Drain, Strategy, SupervisorSpec
from supervisor.stopping import stopping
from supervisor.tree import Supervisor


class Watched:
    """A running DynamicSupervisor and what it told."""

    def __init__(self, **options):
        self.exits = []
        self.events = []
        self.supervisor = DynamicSupervisor(on_exit=self.exits.append, on_event=self.events.append, **options)

    @property
    def reasons(self):
        return {exit.name: exit.reason for exit in self.exits}


async def crash():
    raise ZeroDivisionError("oops")


async def test_a_child_crashes_alone(nursery, autojump_clock):
    watched = Watched()
    supervisor = await nursery.start(watched.supervisor.run)
    supervisor.start_child("sound", trio.sleep, 10)
    supervisor.start_child("mad", crash)
    await trio.sleep(1)

    assert list(supervisor.children) == ["sound"]
    assert isinstance(watched.reasons["mad"], Crashed)
    assert [str(event) for event in watched.events] == [
        "dynamic: mad crashed: ZeroDivisionError: oops after 0.0 s"
    ]
    await trio.sleep(10)
    assert watched.reasons["sound"] == Returned()
    assert watched.exits[-1].seconds == pytest.approx(10)
    statistics = supervisor.statistics()
    assert (statistics.alive, statistics.started, statistics.returned, statistics.crashed) == (0, 2, 1, 1)


async def test_a_crash_inside_a_childs_own_nursery_is_its_crash_too(nursery, autojump_clock):
    async def child():
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            inner.start_soon(crash)

    watched = Watched()
    supervisor = await nursery.start(watched.supervisor.run)
    supervisor.start_child("child", child)
    await trio.sleep(1)

    assert isinstance(watched.reasons["child"].error, ExceptionGroup)


async def test_a_child_can_be_ended_and_its_name_is_free_then(nursery, autojump_clock):
    watched = Watched()
    supervisor = await nursery.start(watched.supervisor.run)
    child = supervisor.start_child("child", trio.sleep_forever)
    with pytest.raises(NameTaken):
        supervisor.start_child("child", trio.sleep_forever)

    child.cancel()
    await trio.testing.wait_all_tasks_blocked()

    assert watched.reasons["child"] == Stopped()
    supervisor.start_child("child", trio.sleep, 1)
    await trio.sleep(1.5)
    assert watched.reasons["child"] == Returned()


async def test_the_name_is_free_when_on_exit_hears(nursery, autojump_clock):
    """So that it may start the successor."""
    supervisor = DynamicSupervisor(
        on_exit=lambda exit: (
            supervisor.statistics().started < 3 and supervisor.start_child("child", trio.sleep, 1)
        )
    )
    await nursery.start(supervisor.run)
    supervisor.start_child("child", trio.sleep, 1)
    await trio.sleep(5)
    assert supervisor.statistics().returned == 3


async def test_a_failing_callback_hurts_nobody(nursery, autojump_clock, caplog):
    supervisor = DynamicSupervisor(on_exit=lambda exit: 1 / 0)
    await nursery.start(supervisor.run)
    supervisor.start_child("a", trio.sleep, 1)
    supervisor.start_child("b", trio.sleep, 2)
    await trio.sleep(3)
    assert supervisor.statistics().returned == 2
    assert "callback" in caplog.text


async def test_there_is_room_for_max_children_and_no_more(nursery, autojump_clock):
    supervisor = await nursery.start(DynamicSupervisor(max_children=2).run)
    supervisor.start_child("a", trio.sleep, 1)
    supervisor.start_child("b", trio.sleep, 5)
    with pytest.raises(TooManyChildren):
        supervisor.start_child("c", trio.sleep, 1)
    await trio.sleep(2)
    supervisor.start_child("c", trio.sleep, 1)


async def test_children_are_taken_only_while_it_runs(nursery, autojump_clock):
    supervisor = DynamicSupervisor()
    with pytest.raises(NotRunning):
        supervisor.start_child("early", trio.sleep, 1)
    await nursery.start(supervisor.run)
    await supervisor.shutdown()
    with pytest.raises(NotRunning):
        supervisor.start_child("late", trio.sleep, 1)


async def test_shutdown_gives_listeners_until_the_deadline(nursery, autojump_clock):
    async def listener(seconds):
        await stopping().wait()
        await trio.sleep(seconds)

    watched = Watched()
    supervisor = await nursery.start(watched.supervisor.run)
    supervisor.start_child("quick", listener, 4.9)
    supervisor.start_child("slow", listener, 5.1)
    await trio.sleep(1)

    began = trio.current_time()
    await supervisor.shutdown(deadline=5)

    assert trio.current_time() - began == pytest.approx(5)
    assert watched.reasons == {"quick": Returned(), "slow": Killed()}


async def test_shutdown_does_not_wait_when_nobody_listens(nursery, autojump_clock):
    watched = Watched()
    supervisor = await nursery.start(watched.supervisor.run)
    supervisor.start_child("deaf", trio.sleep_forever)
    await trio.sleep(1)

    began = trio.current_time()
    await supervisor.shutdown(deadline=5)

    assert trio.current_time() == began
    assert watched.reasons == {"deaf": Stopped()}


async def test_run_returns_after_shutdown_and_may_be_called_again(autojump_clock):
    supervisor = DynamicSupervisor()
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            supervisor.start_child("child", trio.sleep_forever)
            await supervisor.shutdown()
    assert supervisor.statistics().stopped == 2


async def test_cancelled_from_above_it_ends_its_children_and_tells(autojump_clock):
    watched = Watched()
    async with trio.open_nursery() as nursery:
        supervisor = await nursery.start(watched.supervisor.run)
        supervisor.start_child("child", trio.sleep_forever)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert watched.reasons == {"child": Stopped()}
    assert supervisor.statistics().alive == 0


async def test_a_child_that_crashes_while_cancelled_has_crashed(autojump_clock):
    async def child():
        try:
            await trio.sleep_forever()
        finally:
            await crash()

    watched = Watched()
    async with trio.open_nursery() as nursery:
        supervisor = await nursery.start(watched.supervisor.run)
        supervisor.start_child("child", child)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert isinstance(watched.reasons["child"], Crashed)


async def test_an_idle_child_costs_little_more_than_its_task(nursery, autojump_clock):
    """Tens of thousands of idle connections: under 1.5 KiB of ours beside Trio's own task."""
    many = 500
    supervisor = await nursery.start(DynamicSupervisor().run)

    async def cost(start):
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for n in range(many):
                start(n)
            await trio.testing.wait_all_tasks_blocked()
            return (tracemalloc.get_traced_memory()[0] - before) / many
        finally:
            tracemalloc.stop()

    for_trio = await cost(lambda n: nursery.start_soon(trio.sleep_forever, name=f"task-{n}"))
    for_us = await cost(lambda n: supervisor.start_child(f"child-{n}", trio.sleep_forever))
    nursery.cancel_scope.cancel()

    assert for_us - for_trio < 1536


async def test_in_a_tree_it_drains_when_its_supervisor_asks(nursery, autojump_clock):
    async def listener(seconds):
        await stopping().wait()
        await trio.sleep(seconds)

    watched = Watched(drain_seconds=3)
    child = ChildSpec("children", watched.supervisor.run, shutdown=Drain(10))
    tree = Supervisor(SupervisorSpec(Strategy.ONE_FOR_ONE, [child]))
    await nursery.start(tree.run)
    watched.supervisor.start_child("quick", listener, 2.9)
    watched.supervisor.start_child("slow", listener, 3.1)
    await trio.sleep(1)

    await tree.stop()

    assert watched.reasons == {"quick": Returned(), "slow": Killed()}
    assert trio.current_time() == pytest.approx(4)


async def test_a_child_may_be_given_a_deadline(nursery, autojump_clock):
    watched = Watched()
    supervisor = await nursery.start(watched.supervisor.run)
    child = supervisor.start_child("slow", trio.sleep_forever)

    child.cancel_at(trio.current_time() + 5)
    await trio.sleep(4.9)
    assert "slow" in supervisor.children
    await trio.sleep(0.2)

    assert watched.reasons["slow"] == Stopped()
