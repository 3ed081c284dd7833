"""supervisor/child.py: the child's end of a pool.

The "process" is this one, so its end is a function that writes down the exit code."""

import contextlib
import os
import signal
import threading

import attrs
import pytest
import trio
import trio.testing

from supervisor.channel import Channel, channel_pair
from supervisor.child import ORPHANED, child_channel


@attrs.define
class Parent:
    """The other end, and what the child did to its process."""

    channel: Channel
    fd: int
    exits: list = attrs.field(factory=list)
    exited: threading.Event = attrs.field(factory=threading.Event)
    readies: list = attrs.field(factory=list)

    def exit_process(self, code):
        self.exits.append(code)
        self.exited.set()

    def child(self, handlers=None, grace=60.0):
        return child_channel(self.fd, handlers, grace=grace, exit_process=self.exit_process)


@contextlib.asynccontextmanager
async def a_parent():
    ours, theirs = channel_pair()
    readies = []
    parent = Parent(Channel(ours, {"ready": lambda params, fds: readies.append(params)}), theirs.detach())
    parent.readies = readies
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(parent.channel.run)
            yield parent
            parent.channel.close()


async def test_it_says_ready_answers_pings_and_serves_its_own_handlers():
    async with a_parent() as parent:
        async with parent.child({"add": lambda params, fds: params["a"] + 1}) as channel:
            await channel.ready({"port": 7})
            assert parent.readies == [{"port": 7}]
            assert await parent.channel.call("ping") is None
            assert await parent.channel.call("add", {"a": 1}) == 2
        assert parent.exits == []


async def test_the_end_of_the_body_is_the_end_of_the_channel():
    async with a_parent() as parent:
        async with parent.child():
            pass
        while parent.channel.closed_because is None:
            await trio.testing.wait_all_tasks_blocked()
        assert parent.exits == []


async def test_an_exception_in_the_body_comes_out_as_it_is():
    async with a_parent() as parent:
        with pytest.raises(ZeroDivisionError):
            async with parent.child():
                raise ZeroDivisionError


async def test_drain_is_seen_with_its_deadline():
    async with a_parent() as parent, parent.child() as channel:
        assert not channel.draining.is_set()
        await parent.channel.cast("drain", {"seconds": 5})
        await channel.draining.wait()
        assert channel.drain_seconds == 5.0


async def test_sigterm_is_drain_too_and_ctrl_c_is_left_to_the_parent():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with a_parent() as parent, parent.child() as channel:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        await channel.draining.wait()
        assert channel.drain_seconds is None
        os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
        await trio.testing.wait_all_tasks_blocked()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_when_the_parent_hangs_up_the_body_is_cancelled_and_the_process_ends():
    cancelled = False
    async with a_parent() as parent:
        async with parent.child():
            parent.channel.close()
            try:
                await trio.sleep_forever()
            finally:
                cancelled = True
        assert parent.exits == [ORPHANED]
    assert cancelled


async def test_a_body_that_fails_while_it_is_cancelled_does_not_stop_the_end_of_the_process():
    async with a_parent() as parent:
        with pytest.raises(ZeroDivisionError):
            async with parent.child():
                parent.channel.close()
                try:
                    await trio.sleep_forever()
                finally:
                    raise ZeroDivisionError
        assert parent.exits == [ORPHANED]


async def test_a_child_whose_event_loop_hangs_ends_after_the_grace():
    """The loop is blocked here as a mad handler would block it; only a thread can see the parent go."""
    async with a_parent() as parent:
        async with parent.child(grace=0.05):
            parent.channel.close()
            assert parent.exited.wait(10)
            assert parent.exits == [ORPHANED]
            await trio.sleep_forever()
        assert parent.exits == [ORPHANED, ORPHANED]


async def test_the_watchdog_leaves_no_thread_and_no_descriptor():
    descriptors = len(os.listdir("/proc/self/fd"))
    async with a_parent() as parent, parent.child():
        pass
    assert "parent-watchdog" not in [thread.name for thread in threading.enumerate()]
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_outside_the_main_thread_there_are_no_signals_and_all_else_works():
    async def in_a_thread():
        async with a_parent() as parent, parent.child() as channel:
            await channel.ready()

    await trio.to_thread.run_sync(trio.run, in_a_thread)
