"""supervisor/pool.py: real processes, real signals.

Nothing here sleeps: the tests wait for states and events, under a time limit.  Heartbeats are short."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from supervisor.budget import Backoff
from supervisor.channel import CallError, ChannelClosed
from supervisor.exits import Killed, NeverStarted, ProcessExited, ProcessSignalled, Stopped
from supervisor.pool import PoolSpec, StartFailed, State, WorkerPool
from supervisor.process import process_reason
from supervisor.spec import ChildSpec, Drain, Strategy, SupervisorSpec
from supervisor.telemetry import SlotQuarantined, WorkerDown
from supervisor.tree import Supervisor

HERE = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": str(HERE.parent.parent)}
LIMIT = 30  # seconds, on a machine that has a lot else to do


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Told:
    """A pool's specification, and what it told."""

    def __init__(self, *modes, size=1, **options):
        """The first worker of a slot gets the first mode, and so on; the last mode is for all who follow."""
        self.ups, self.downs, self.lines, self.events = [], [], [], []
        self._modes = {index: list(modes or ["good"]) for index in range(size)}
        self._heard = trio.Event()
        options = {"backoff": Backoff(first=0), "environment": ENVIRONMENT, "ready_seconds": LIMIT, **options}
        self.pool = WorkerPool(
            PoolSpec(
                size=size,
                argv=self._argv,
                on_up=self._up,
                on_down=self._down,
                on_stderr=lambda index, line: self.lines.append((index, line)),
                on_event=self.events.append,
                **options,
            )
        )

    def _argv(self, index, fd):
        modes = self._modes[index]
        mode = modes.pop(0) if len(modes) > 1 else modes[0]
        return [sys.executable, str(HERE / "worker_program.py"), mode, str(fd)]

    async def _up(self, worker):
        self.ups.append(worker)

    async def _down(self, worker, exit):
        self.downs.append((worker, exit, alive(worker.pid)))
        self._heard.set()
        self._heard = trio.Event()

    async def down(self, count=1):
        while len(self.downs) < count:
            await self._heard.wait()
        worker, exit, was_alive = self.downs[count - 1]
        assert not was_alive  # reaped before anybody hears of it
        return worker, exit


@contextlib.asynccontextmanager
async def running(*modes, **options):
    told = Told(*modes, **options)
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(told.pool.run)
            yield told.pool, told
            nursery.cancel_scope.cancel()


# ---- up


async def test_it_has_started_when_every_worker_is_ready():
    async with running(size=2) as (pool, told):
        assert [worker.index for worker in pool.workers] == [0, 1]
        assert sorted(worker.index for worker in told.ups) == [0, 1]
        assert {worker.state for worker in pool.workers} == {State.READY}
        assert pool.workers[0].info["mode"] == "good"
        assert all(alive(worker.pid) for worker in pool.workers)


async def test_parent_and_child_call_each_other():
    handlers = {"number": lambda params, fds: 7}
    async with running(handlers=lambda worker: handlers) as (pool, _):
        assert await pool.workers[0].channel.call("ask", {"method": "number"}) == 7


async def test_a_program_that_cannot_be_started_fails_the_start():
    pool = WorkerPool(
        PoolSpec(argv=lambda index, fd: ["/does/not/exist"], max_restarts=1, backoff=Backoff(first=0))
    )
    with trio.fail_after(LIMIT), pytest.raises(StartFailed) as caught:
        await pool.run()
    assert isinstance(caught.value.exit.reason, NeverStarted)


async def test_a_worker_that_keeps_dying_at_the_start_fails_the_start_with_its_last_words():
    told = Told("dies", max_restarts=2)
    with trio.fail_after(LIMIT), pytest.raises(StartFailed) as caught:
        await told.pool.run()
    reason = caught.value.exit.reason
    assert reason == ProcessExited(3, (*(f"line {n}" for n in range(11, 30)), "no newline"))
    assert len(told.downs) == 3
    assert [line for _, line in told.lines[:2]] == [b"line 0", b"line 1"]  # all of it is passed on
    assert len(told.lines) == 3 * 31


async def test_a_worker_that_is_not_ready_in_time_is_killed():
    told = Told("never_ready", max_restarts=0, ready_seconds=0.2)
    with trio.fail_after(LIMIT), pytest.raises(StartFailed):
        await told.pool.run()
    worker, exit = await told.down()
    assert exit.reason.signal == signal.SIGKILL
    assert "not ready" in worker.verdict


# ---- down, and up again


async def test_a_killed_worker_is_reported_and_replaced_and_the_others_do_not_notice():
    async with running(size=2) as (pool, told):
        first, other = pool.workers
        first.channel.try_cast("ask", {"method": "what"})
        os.kill(first.pid, signal.SIGKILL)

        worker, exit = await told.down()
        assert worker is first
        assert exit.reason == ProcessSignalled(9, (), "SIGKILL")
        with pytest.raises(ChannelClosed):
            await first.channel.call("ask")

        await pool.wait_state(0, State.READY, incarnation=2)
        assert [worker.incarnation for worker in pool.workers] == [2, 1]
        assert pool.workers[1] is other
        assert pool.statistics().slots[0].restarts == 1
        assert pool.statistics().slots[0].last_exit == exit
        assert [event.planned for event in told.events if isinstance(event, WorkerDown)] == [False]


async def test_an_exit_code_is_reported():
    async with running() as (pool, told):
        await pool.workers[0].channel.cast("die", {"code": 5})
        _, exit = await told.down()
        assert exit.reason == ProcessExited(5)


@pytest.mark.parametrize("how", ["SIGSTOP", "hang"])
async def test_a_worker_that_does_not_turn_its_loop_is_killed_and_replaced(how):
    async with running(heartbeat_seconds=0.1, misses=4) as (pool, told):
        worker = pool.workers[0]
        began = trio.current_time()
        if how == "SIGSTOP":
            os.kill(worker.pid, signal.SIGSTOP)
        else:
            await worker.channel.cast("hang")
        _, exit = await told.down()
        assert exit.reason.signal == signal.SIGKILL
        assert "silent" in worker.verdict
        assert trio.current_time() - began > 0.25
        await pool.wait_state(0, State.READY, incarnation=2)
        assert pool.statistics().hung == 1


async def test_a_worker_that_hangs_up_and_stays_is_killed():
    async with running("lingers", "good", heartbeat_seconds=0.1) as (pool, told):
        await pool.workers[0].channel.cast("hang_up")
        worker, _ = await told.down()
        assert "channel ended" in worker.verdict


async def test_a_grandchild_that_keeps_stderr_open_does_not_hide_the_end_of_the_child():
    async with running() as (pool, told):
        await pool.workers[0].channel.cast("grandchild")
        await told.down()


async def test_a_worker_that_keeps_dying_is_left_alone_for_a_while_and_then_tried_again():
    async with running("good", "dies", "dies", "good", max_restarts=1, quarantine_seconds=0.3) as (
        pool,
        told,
    ):
        pool.workers[0].kill("to see what happens")
        await pool.wait_state(0, State.QUARANTINED)
        assert pool.workers == []
        assert pool.statistics().slots[0].pid is None
        (event,) = [event for event in told.events if isinstance(event, SlotQuarantined)]
        assert event.exit.reason.code == 3
        began = trio.current_time()
        await pool.wait_state(0, State.READY)
        assert trio.current_time() - began >= 0.3


async def test_an_operator_need_not_wait_for_the_end_of_a_quarantine():
    async with running("good", "dies", "good", max_restarts=1, quarantine_seconds=9999) as (pool, _):
        pool.workers[0].kill("to see what happens")
        await pool.wait_state(0, State.QUARANTINED)
        worker = await pool.restart(0)
        assert worker.incarnation == 3


@pytest.mark.parametrize("hook", ["on_up", "on_down"])
async def test_a_hook_that_fails_is_counted_and_stops_nothing(hook, caplog):
    told = Told()

    async def fail(*args):
        raise ZeroDivisionError

    object.__setattr__(told.pool.spec, hook, fail)
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(told.pool.run)
            told.pool.workers[0].kill("to see what happens")
            await told.pool.wait_state(0, State.READY, incarnation=2)
            assert told.pool.statistics().hook_failures == {"on_up": 2, "on_down": 1}[hook]
            nursery.cancel_scope.cancel()
    assert "a hook of the pool worker failed" in caplog.text


# ---- draining


async def test_drained_workers_end_by_themselves_and_run_returns():
    told = Told(size=2)
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(told.pool.run)
            await told.pool.drain()
    assert [exit.reason for _, exit, _ in told.downs] == [Stopped(), Stopped()]
    assert [slot.state for slot in told.pool.statistics().slots] == [State.STOPPED, State.STOPPED]


async def test_who_does_not_hear_drain_hears_sigterm():
    async with running("deaf", drain_seconds=1.0, term_seconds=0.9) as (pool, told):
        await pool.drain()
        _, exit = await told.down()
        assert exit.reason.signal == signal.SIGTERM


async def test_who_heeds_neither_is_killed_at_the_deadline():
    async with running("stubborn", term_seconds=0.1) as (pool, told):
        began = trio.current_time()
        await pool.drain(0.4)
        _, exit = await told.down()
        assert exit.reason == Killed()
        assert trio.current_time() - began >= 0.4


async def test_a_pool_that_drains_replaces_nobody_even_in_quarantine():
    async with running("good", "dies", max_restarts=0, quarantine_seconds=9999) as (pool, _):
        pool.workers[0].kill("to see what happens")
        await pool.wait_state(0, State.QUARANTINED)
        await pool.drain()
        assert pool.statistics().slots[0].state is State.STOPPED
        await pool.drain()  # again, and it is no error


async def test_a_supervisor_drains_its_pool():
    told = Told()
    child = ChildSpec("workers", told.pool.run, shutdown=Drain(LIMIT))
    supervisor = Supervisor(SupervisorSpec(Strategy.ONE_FOR_ONE, [child]))
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            await supervisor.stop()
    assert told.downs[0][1].reason == Stopped()


async def test_a_pool_may_run_again():
    told = Told()
    for _ in range(2):
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                await nursery.start(told.pool.run)
                await told.pool.drain()
    assert len(told.downs) == 2


async def test_cancelled_it_leaves_no_process_behind():
    async with running("stubborn", size=2) as (pool, _):
        pids = [worker.pid for worker in pool.workers]
    assert not any(map(alive, pids))


async def test_a_rolling_restart_replaces_one_at_a_time_and_costs_no_budget():
    async with running(size=3, max_restarts=0) as (pool, told):
        least = 3
        watching = trio.CancelScope()

        async def watch():
            nonlocal least
            with watching:
                while True:
                    least = min(least, len(pool.workers))
                    await trio.lowlevel.checkpoint()
                    await told._heard.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await pool.rolling_restart()
            watching.cancel()
        assert least == 2
        assert [worker.incarnation for worker in pool.workers] == [2, 2, 2]
        assert [worker.index for worker, _, _ in told.downs] == [0, 1, 2]


async def test_a_rolling_restart_stops_at_a_worker_that_does_not_come_back():
    async with running("good", "dies", size=2, max_restarts=1, quarantine_seconds=9999) as (pool, _):
        await pool.rolling_restart()
        assert [slot.state for slot in pool.statistics().slots] == [State.QUARANTINED, State.READY]


# ---- the heart's beat, in virtual time


class FakeWorker:
    verdict = None

    def __init__(self, answer):
        self.channel = self
        self._answer = answer

    async def call(self, method, timeout):
        return await self._answer()

    def kill(self, why):
        self.verdict = why


@pytest.mark.parametrize("misses", [2, 5])
async def test_silence_is_counted_from_the_last_answer(autojump_clock, misses):
    pool = WorkerPool(PoolSpec(argv=lambda index, fd: [], heartbeat_seconds=2, misses=misses))
    worker = FakeWorker(trio.sleep_forever)
    await pool._watch(worker)
    assert trio.current_time() == 2 * misses
    assert worker.verdict is not None


async def test_an_answer_just_in_time_and_an_odd_answer_are_answers(autojump_clock):
    pool = WorkerPool(PoolSpec(argv=lambda index, fd: [], heartbeat_seconds=2, misses=4))

    async def answer():
        await trio.sleep(5.9)
        raise CallError("unknown_method")

    worker = FakeWorker(answer)
    with trio.move_on_after(1000):
        await pool._watch(worker)
    assert worker.verdict is None


async def test_a_parent_that_slept_itself_does_not_blame_the_child(mock_clock):
    pool = WorkerPool(PoolSpec(argv=lambda index, fd: [], heartbeat_seconds=2, misses=4))
    worker = FakeWorker(trio.sleep_forever)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool._watch, worker)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(3600)
        await trio.testing.wait_all_tasks_blocked()
        assert worker.verdict is None
        nursery.cancel_scope.cancel()


def test_one_missed_beat_is_too_few_to_judge():
    with pytest.raises(ValueError):
        PoolSpec(argv=lambda index, fd: [], misses=1)


def test_what_a_return_code_means():
    assert process_reason(0) == ProcessExited(0)
    assert process_reason(-9, ("x",)) == ProcessSignalled(9, ("x",), "SIGKILL")
    assert process_reason(-40).signal_name == ""


# ---- the parent dies


@pytest.mark.parametrize("mode", ["idle", "hang"])
async def test_children_do_not_outlive_a_parent_that_is_killed(mode):
    """Even a child whose event loop hangs."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(HERE / "parent_program.py"), mode],
        stdout=subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT},
    )
    with trio.fail_after(LIMIT):
        pid = int(await process.stdout.receive_some())
        child = os.pidfd_open(pid)
        process.kill()
        await process.wait()
        await trio.lowlevel.wait_readable(child)
    os.close(child)
    await process.stdout.aclose()
