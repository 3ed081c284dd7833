"""A connection between a socket and a session: whose bytes are where, and who waits for what."""

import socket
import types
from collections.abc import Iterator

import attrs
import pytest
import trio
import trio.testing

from scsipub.errors import FramingLost
from scsipub.iscsi.pdu import LogoutRequest, NopOut
from scsipub.limits import Limits
from scsipub.worker.blackbox import BlackBox
from scsipub.worker.connection import CRUMBS_SECONDS, MANY_CRUMBS, Connection
from scsipub.worker.input import CRUMB
from scsipub.worker.latency import Latency
from scsipub.worker.output import Output
from scsipub.worker.slices import Slices
from tests.support.talk import Talk, command, full_feature, pattern, read, write


@attrs.define(eq=False, slots=False)
class Wired:
    """A session of ``Talk`` behind a real socket; the initiator holds the other end."""

    talk: Talk
    connection: Connection
    worker: types.SimpleNamespace
    peer: socket.socket

    def another(self) -> "Wired":
        return wire_up(self.talk.another(), self.worker)

    def hear(self) -> bytes:
        try:
            return self.peer.recv(1 << 20)
        except BlockingIOError:
            return b""


def wire_up(talk: Talk, worker: types.SimpleNamespace | None = None, limits: Limits | None = None) -> Wired:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    limits = limits or Limits()
    worker = worker or types.SimpleNamespace(
        limits=limits, slices=Slices(limits, 1 << 20),
        out=talk.worker.out, buffer=memoryview(bytearray(1 << 20)),
        threads=trio.CapacityLimiter(1), hot_connections=0, spinners=0, latency=Latency(),
        start_background=None, serving=BlackBox(),
    )  # fmt: skip
    return Wired(talk, Connection(worker, ours, talk.nexus, b""), worker, theirs)


@pytest.fixture
def wired() -> Iterator[Wired]:
    it = wire_up(full_feature())
    yield it
    it.connection.sock.close()
    it.peer.close()


def arrive(it: Wired, data: bytes) -> None:
    """These bytes are in the shared buffer, as ``recv_into`` leaves them."""
    have = len(it.connection.input.tail)
    it.worker.buffer[:have] = it.connection.input.tail
    it.worker.buffer[have : have + len(data)] = data
    it.connection.process(len(data))


def test_who_has_said_all_and_reads_nothing_is_not_polled():
    """The backlog became too long with the very last PDU: there is nothing left to go on with."""
    it = wire_up(full_feature(), limits=Limits(output_backpressure_bytes=1))
    it.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    arrive(it, it.talk.pack(read(1, blocks=128)))
    assert it.connection.output.unsent

    it.connection.process(0)

    assert not it.connection.more


def test_a_session_that_crashes_leaves_nothing_in_the_outbox(wired):
    """What one session had half said, no other session says."""
    canary = b"canary of the one".ljust(512, b"A")
    wired.talk.disk.content[:512] = canary
    other = wired.another()

    def broken(first, data):
        raise ZeroDivisionError

    wired.talk.disk.write_now = broken
    with pytest.raises(ZeroDivisionError):
        arrive(wired, wired.talk.pack(read(1)) + wired.talk.pack(write(2, data=pattern(512))))
    assert not wired.worker.out.queued
    arrive(other, other.talk.pack(command(1)))

    heard = other.hear()
    assert len(heard) == 48
    assert canary[:8] not in heard
    assert canary[:8] not in wired.hear()


def test_what_was_right_before_the_garbage_is_answered(wired):
    """It was in order; and nothing is left in the outbox."""
    with pytest.raises(FramingLost):
        arrive(wired, wired.talk.pack(read(1)) + b"\xff" * 48)

    assert len(wired.hear()) == 48 + 512
    assert not wired.worker.out.queued


def test_a_large_pdu_that_is_not_whole_is_waited_for_and_not_polled():
    """The slice ended just before a PDU whose rest has not come: nothing to do until it does."""
    it = wire_up(full_feature(), limits=Limits(turn_seconds=0.0))
    large = it.talk.pack(write(2, blocks=128, data=pattern(65536)))
    first = it.talk.pack(NopOut(immediate=True, initiator_task_tag=1))

    arrive(it, first + large[:20_000])

    assert not it.connection.more
    assert it.connection.input.large_have == 20_000


def test_whole_pdus_that_are_left_over_are_not_waited_for():
    """§4.2.2: the other side of that line."""
    it = wire_up(full_feature(), limits=Limits(turn_seconds=0.0, turn_pdus=1))
    it.talk.nexus.limits = it.worker.limits

    arrive(it, it.talk.pack(command(1)) + it.talk.pack(command(2)))
    assert it.connection.more
    it.connection.process(0)
    assert len(it.hear()) == 96


def test_who_asks_for_much_gets_it_in_slices_and_others_have_turns_in_between(monkeypatch):
    """I-8: a peer that takes everything at once is not answered in one go, however much it has asked for."""
    bound, blocks = 256 * 1024, 1024
    it = wire_up(full_feature(MaxRecvDataSegmentLength=65536), limits=Limits(session_output_bytes=bound))
    it.talk.nexus.limits = it.worker.limits
    taken = []
    monkeypatch.setattr(Output, "_send", lambda self, data, flags: taken.append(len(data)) or len(data))

    arrive(it, b"".join(it.talk.pack(read(tag, blocks=blocks)) for tag in range(1, 9)))
    slices = [sum(taken)]
    assert it.connection.rest  # there is more, and nothing else need happen for it to come
    while it.connection.rest:
        taken.clear()
        assert it.connection._one_turn()
        slices.append(sum(taken))

    assert sum(slices) >= 8 * blocks * 512
    assert max(slices) < bound + 2 * 65536
    assert not it.connection._one_turn()


async def test_a_connection_may_be_cut_into_single_bytes(wired):
    """And other connections of the worker use the same buffer in between."""
    other = wired.another()
    stream = wired.talk.pack(write(1, blocks=2, data=pattern(1024))) + wired.talk.pack(read(2, blocks=2))
    for byte in stream:
        arrive(wired, bytes([byte]))
        arrive(other, other.talk.pack(NopOut(immediate=True, initiator_task_tag=1, data=b"\xee" * 64)))

    assert wired.hear()[96:] == pattern(1024)


def test_while_others_are_about_less_is_taken_from_the_socket_at_once():
    """And what is left is taken in the next turn."""
    limits = Limits(brief_turn_bytes=64 * 1024)
    one = wire_up(full_feature(), limits=limits)
    other = one.another()
    pings = [NopOut(immediate=True, initiator_task_tag=0xFFFFFFFF, data=b"x" * 8192) for _ in range(12)]
    stream = b"".join(one.talk.pack(ping) for ping in pings)
    one.peer.send(stream)
    assert not other.connection._one_turn()

    assert one.connection._one_turn()

    assert len(one.connection.input.tail) == 64 * 1024 % (8192 + 48)


@pytest.mark.parametrize(("size", "heard"), [(CRUMB - 1, MANY_CRUMBS), (CRUMB, MANY_CRUMBS + 4)])
async def test_who_sends_crumbs_is_heard_once_in_a_while(wired, autojump_clock, size, heard):
    """Tens of thousands of wake-ups a second for a PDU that never ends would take the time of all others."""
    stream = wired.talk.pack(write(1, blocks=16, data=pattern(8192)))[: size * (MANY_CRUMBS + 4)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wired.connection.run)
        for at in range(0, len(stream), size):
            wired.peer.send(stream[at : at + size])
            await trio.testing.wait_all_tasks_blocked()
        assert len(wired.connection.input.tail) == heard * size

        await trio.sleep(CRUMBS_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert len(wired.connection.input.tail) == len(stream)


async def test_a_logout_ends_the_connection_after_its_answer(wired):
    """§11.14."""
    wired.peer.send(wired.talk.pack(command(1)) + wired.talk.pack(LogoutRequest(initiator_task_tag=2)))

    with trio.fail_after(5):
        await wired.connection.run()

    assert len(wired.hear()) == 96
    assert not wired.talk.nexus.paths[0].lane.attached
