"""A connection's helpers: there while there is work for them, and gone with the connection."""

import socket
import threading
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from scsipub.iscsi.login_records import Negotiated
from scsipub.iscsi.outbox import Outbox
from scsipub.iscsi.session import Session
from scsipub.limits import DEFAULT
from scsipub.target.backing import Job
from scsipub.target.nexus import Nexus
from scsipub.worker.blackbox import BlackBox
from scsipub.worker.connection import Connection
from scsipub.worker.latency import Latency
from scsipub.worker.slices import Slices

NEGOTIATED = Negotiated(
    session_type="Normal", initiator_name="iqn.2000-01.test:a", initiator_alias=None, target_name="t",
    isid=bytes(6), tsih=1, cid=0, cmd_sn=1, stat_sn=1, portal_group_tag=1, max_recv_data_segment=262144,
    max_xmit_data_segment=262144, first_burst=262144, max_burst=262144, initial_r2t=False,
    immediate_data=True, max_connections=1, max_outstanding_r2t=1, data_pdu_in_order=True,
    data_sequence_in_order=True, error_recovery_level=0, time2wait=2, time2retain=0,
)  # fmt: skip


class Peer:
    """The other end, and the connection to it."""

    def __init__(self) -> None:
        ours, self.sock = socket.socketpair()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.worker = types.SimpleNamespace(
            limits=DEFAULT, slices=Slices(DEFAULT, 1 << 20), out=Outbox(),
            buffer=memoryview(bytearray(1 << 20)),
            threads=trio.CapacityLimiter(4), hot_connections=0, latency=Latency(), spinners=0,
            serving=BlackBox(),
        )  # fmt: skip
        self.nexus = Nexus(DEFAULT, {}, lambda: None)
        self.nexus.session = Session(
            NEGOTIATED, DEFAULT, self.worker.out, self.nexus, stat_sn=1, now=0.0, targets=lambda _: []
        )
        self.connection = Connection(self.worker, ours, self.nexus, b"")
        self.finished: list[Job] = []

    def job(self, work, done=lambda result, error: None) -> None:
        """Admits a job, as a write that cannot be done at once does."""
        backing = types.SimpleNamespace(
            finished=self.finished.append, withdraw=lambda job: False, trouble=None
        )
        self.nexus._ready(Job(backing, work, done, lambda job: None))


@asynccontextmanager
async def talking() -> AsyncIterator[Peer]:
    peer = Peer()
    with peer.sock, peer.connection.sock, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.connection.run)
            await trio.testing.wait_all_tasks_blocked()
            yield peer
            nursery.cancel_scope.cancel()


async def test_an_idle_connection_has_no_nursery():
    async with talking() as peer:
        assert peer.connection.nursery is None


async def test_what_others_post_is_done_while_we_sleep():
    async with talking() as peer:
        done = []
        peer.nexus.post(lambda: done.append(1))
        await trio.testing.wait_all_tasks_blocked()

        peer.nexus.post(lambda: done.append(2))
        await trio.testing.wait_all_tasks_blocked()

        assert done == [1, 2]


async def test_a_job_that_becomes_ready_while_we_sleep_runs_in_a_thread():
    async with talking() as peer:
        began, may_end = threading.Event(), threading.Event()

        def work():
            began.set()
            may_end.wait(5)

        peer.job(work)
        await trio.to_thread.run_sync(began.wait, 5)
        assert peer.connection.nursery is not None
        may_end.set()
        while not peer.finished:
            await trio.sleep(0.001)

        assert peer.worker.threads.borrowed_tokens == 0


async def test_helpers_go_when_their_work_is_done():
    async with talking() as peer:
        peer.job(lambda: None)
        while not peer.finished:
            await trio.sleep(0.001)

        peer.nexus.post(lambda: None)  # the next turn finds nothing to do for them
        await trio.testing.wait_all_tasks_blocked()

        assert peer.connection.nursery is None


async def test_a_connection_ends_after_its_threads():
    """Nothing may touch the disk when the session is said to be over."""
    async with talking() as peer:
        began, may_end = threading.Event(), threading.Event()

        def work():
            began.set()
            may_end.wait(5)

        peer.job(work)
        await trio.to_thread.run_sync(began.wait, 5)
        peer.sock.close()
        await trio.testing.wait_all_tasks_blocked()
        assert peer.connection.closed
        assert not peer.finished
        may_end.set()
        while not peer.finished:
            await trio.sleep(0.001)


async def test_a_crash_in_a_thread_is_the_connections_crash():
    with pytest.raises(ExceptionGroup) as caught:
        async with talking() as peer:
            peer.job(lambda: None, done=lambda result, error: 1 / 0)
            await trio.sleep_forever()

    assert caught.group_contains(ZeroDivisionError)
    assert peer.connection.closed


async def test_what_the_socket_does_not_take_is_sent_when_it_does():
    async with talking() as peer:
        sent = bytes(range(256)) * 4096

        peer.nexus.post(lambda: peer.connection.send([memoryview(sent)]))
        await trio.testing.wait_all_tasks_blocked()
        assert peer.connection.flushing
        assert peer.connection.stalled_since
        got = bytearray()
        peer.sock.setblocking(False)
        while len(got) < len(sent):
            await trio.lowlevel.wait_readable(peer.sock)
            got += peer.sock.recv(1 << 16)

        assert got == sent
        await trio.testing.wait_all_tasks_blocked()
        assert not peer.connection.flushing


async def test_a_connection_that_may_send_no_more_is_still_woken():
    """Jobs that hold ranges of a shared unit must not wait for a peer that takes nothing."""
    async with talking() as peer:
        backlog = memoryview(bytes(DEFAULT.output_backpressure_bytes + (1 << 20)))
        peer.nexus.post(lambda: peer.connection.send([backlog]))
        await trio.testing.wait_all_tasks_blocked()
        assert peer.connection.room is not None

        peer.job(lambda: None)
        while not peer.finished:
            await trio.sleep(0.001)


async def test_the_last_answer_arrives_although_the_socket_was_full():
    async with talking() as peer:
        sent = bytes(1 << 18)

        def say_goodbye() -> None:
            peer.connection.send([memoryview(sent)])
            peer.nexus.session.closing = True

        peer.nexus.post(say_goodbye)
        await trio.testing.wait_all_tasks_blocked()
        got = 0
        peer.sock.setblocking(False)
        while got < len(sent):
            await trio.lowlevel.wait_readable(peer.sock)
            got += len(peer.sock.recv(1 << 16))
        await trio.testing.wait_all_tasks_blocked()

        assert peer.connection.closed
