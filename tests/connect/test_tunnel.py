"""scsipub/connect/tunnel.py"""

import contextlib
import itertools

import pytest
import trio
import trio.testing

from scsipub.connect import tunnel as module
from scsipub.connect.dial import Unreachable
from scsipub.connect.tunnel import Tunnel
from scsipub.errors import OperatorError


class Far:
    """The daemon's side: each dial takes the next of ``ways``, an exception or None for a connection."""

    def __init__(self, *ways):
        self.ways = list(ways)
        self.dialled = []
        self.connections = []

    async def dial(self):
        self.dialled.append(trio.current_time())
        way = self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]
        if way is not None:
            raise way
        ours, theirs = trio.testing.memory_stream_pair()
        self.connections.append(theirs)
        return ours


class Local:
    """The initiator's side; looks like a SocketStream."""

    def __init__(self, stream):
        self.stream = stream

    def setsockopt(self, *_):
        pass

    def __getattr__(self, name):
        return getattr(self.stream, name)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.stream.aclose()


@pytest.fixture
def said():
    return []


@contextlib.asynccontextmanager
async def carried(far, said):
    """(tunnel, the initiator's end) with one connection under way."""
    ours, theirs = trio.testing.memory_stream_pair()
    tunnel = Tunnel(far.dial, said.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tunnel.carry, Local(theirs))
        await trio.testing.wait_all_tasks_blocked()
        yield tunnel, ours
        nursery.cancel_scope.cancel()


async def test_bytes_go_both_ways_and_are_counted(said):
    far = Far(None)
    async with carried(far, said) as (tunnel, initiator):
        await initiator.send_all(b"question")
        assert await far.connections[0].receive_some() == b"question"
        await far.connections[0].send_all(b"long answer")
        assert await initiator.receive_some() == b"long answer"
        await trio.testing.wait_all_tasks_blocked()

        assert (tunnel.traffic.up, tunnel.traffic.down) == (8, 11)
        assert (tunnel.traffic.open, tunnel.traffic.opened) == (1, 1)


async def test_when_the_initiator_leaves_the_daemon_hears_of_it_and_nobody_else(said):
    far = Far(None)
    async with carried(far, said) as (tunnel, initiator):
        await initiator.aclose()

        with contextlib.suppress(trio.BrokenResourceError):
            assert await far.connections[0].receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert tunnel.traffic.open == 0
    assert said == []


async def test_when_the_daemon_closes_the_initiator_hears_of_it_after_the_last_byte(said):
    far = Far(None)
    async with carried(far, said) as (_, initiator):
        await far.connections[0].send_all(b"last words")
        await far.connections[0].aclose()

        assert await initiator.receive_some() == b"last words"
        assert await initiator.receive_some() == b""
    assert said == ["the daemon closed a connection"]


async def test_a_daemon_that_is_away_is_dialled_with_growing_pauses(said, autojump_clock):
    away = Unreachable("no way there")
    far = Far(away, away, away, None)
    async with carried(far, said) as (_, initiator):
        await initiator.send_all(b"x")
        await trio.sleep(10)

        assert await far.connections[0].receive_some() == b"x"
    pauses = [b - a for a, b in itertools.pairwise(far.dialled)]
    assert pauses == pytest.approx([0.25, 0.5, 1.0])
    assert said == ["no way there; trying again"]


async def test_nobody_is_kept_waiting_longer_than_a_login_waits(said, autojump_clock):
    far = Far(Unreachable("no way there"))
    async with carried(far, said) as (_, initiator):
        began = trio.current_time()

        assert await initiator.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(module.PATIENCE_SECONDS)


async def test_a_certificate_that_is_not_believed_is_not_tried_again(said, autojump_clock):
    far = Far(OperatorError("not believed", "see to it"))
    async with carried(far, said) as (_, initiator):
        assert await initiator.receive_some() == b""
    assert len(far.dialled) == 1
    assert "not believed" in said[0]
