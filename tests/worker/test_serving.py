"""A worker and its sessions: who notices what, and what is left when one ends."""

import logging
import os
import threading

import attrs
import pytest
import trio

from scsipub.iscsi import pdu
from scsipub.iscsi.constants import TaskFunction
from scsipub.limits import DEFAULT
from scsipub.scsi.unit import LogicalUnit
from scsipub.storage.disk import Disk
from tests.scsi.test_allocation import ANSWERS
from tests.support.worker_parts import set_up


def session_of(bench, number):
    return bench.worker.live[f"{number:016x}"]


def descriptors():
    return len(os.listdir("/proc/self/fd"))


class Bug(Exception):
    """One of ours."""


@pytest.fixture
def buggy(monkeypatch):
    """TEST UNIT READY with a 77h in its control byte crashes whoever sends it."""
    real = LogicalUnit.begin

    def begin(self, lane, cdb, now):
        if cdb[5] == 0x77:
            raise Bug("what nobody thought of")
        return real(self, lane, cdb, now)

    monkeypatch.setattr(LogicalUnit, "begin", begin)


async def test_a_crash_is_told_once_with_its_pdu_and_nobody_else_notices(bench, buggy, caplog):
    one, other = await bench.open(), await bench.open()
    await other.write(0, b"kept" * 128)

    with caplog.at_level(logging.ERROR):
        await one.command(bytes((0, 0, 0, 0, 0, 0x77)))
        assert await one.hung_up()
        await bench.until(lambda: bench.control.heard("closed"))

    (said,) = bench.control.heard("complaint")
    header = bytes.fromhex(said["pdu"])
    assert (said["kind"], said["why"]) == ("crash", "Bug: what nobody thought of")
    assert (len(header), header[0], header[37]) == (48, 1, 0x77)
    assert [record.message for record in caplog.records] == [f"session {one.id} of 192.0.2.1 crashed"]
    assert await other.read(0, 1) == b"kept" * 128
    assert await other.ping() == b"there?"


async def test_what_a_crashed_session_had_to_say_is_said_by_nobody_else(bench, buggy):
    """The outbox is everybody's in turn."""
    one, other = await bench.open(), await bench.open()
    await one.write(0, b"secret!!" * 64)
    read = pdu.ScsiCommand(
        initiator_task_tag=50, attribute=1, final=True, read=True, expected_data_transfer_length=512,
        cdb=(b"\x28\0" + bytes(5) + b"\0\1").ljust(16, b"\0"), cmd_sn=one.cmd_sn,
    )  # fmt: skip
    crash = pdu.ScsiCommand(
        initiator_task_tag=51, attribute=1, final=True, cdb=bytes((0, 0, 0, 0, 0, 0x77)).ljust(16, b"\0"),
        cmd_sn=one.cmd_sn + 1,
    )  # fmt: skip
    await one.send(pdu.wire(read) + pdu.wire(crash))
    await bench.until(lambda: bench.control.heard("closed"))

    assert not bench.worker.out.queued
    assert await other.read(0, 1) == bytes(512)
    assert other.buffer == b""


async def test_sessions_come_and_go_without_leaving_descriptors(bench):
    first = await bench.open()
    await first.write(0, b"x" * 512)
    before = descriptors()
    for number in range(2, 12):
        peer = await bench.open()
        await peer.write(0, b"x" * 512)
        peer.sock.close()
        await bench.until(lambda n=number: len(bench.control.heard("closed")) == n - 1)

    assert descriptors() == before
    assert bench.worker.connections == 1


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 48, b"\x05\x80" + bytes(46), b"\x01\xa1\0\0\0\xff\xff\xff" + bytes(40)],
    ids=["all ones", "data for nobody", "sixteen megabytes"],
)
async def test_noise_ends_or_is_rejected_and_the_next_session_is_served(bench, data):
    one, other = await bench.open(), await bench.open()
    await one.send(data)
    await other.write(0, b"fine" * 128)

    assert await other.read(0, 1) == b"fine" * 128
    assert "crash" not in bench.control.complaints


async def test_the_registry_tells_what_a_session_has_done(bench):
    peer = await bench.open()
    await peer.write(0, b"x" * 1024)
    await peer.read(0, 8)
    (said,) = await bench.line.call("sessions")

    assert (said["bytes_written"], said["bytes_read"], said["operations"]) == (1024, 4096, 3)
    assert said["source"] == "192.0.2.1"
    assert said["target"].endswith(":blank")
    assert said["last_error"] == ""
    assert said["since"].endswith("+00:00")
    await peer.command(b"\x28\0\x7f" + bytes(5) + b"\1", read=True, expected_data_transfer_length=512)
    await peer.hear()
    (said,) = await bench.line.call("sessions")
    assert "5/2100" in said["last_error"]


async def test_the_busiest_sessions_are_told_when_only_some_are_asked_for(bench):
    idle, busy = await bench.open(), await bench.open()
    for block in range(5):
        await busy.read(block, 1)
    every = await bench.line.call("sessions", {})
    told = await bench.line.call("sessions", {"most": 1})

    assert len(every) == 2
    assert [said["operations"] for said in told] == [max(said["operations"] for said in every)]
    await idle.read(0, 1)


async def test_every_command_counts_once_in_how_long_commands_took(bench):
    peer = await bench.open()
    await peer.write(0, b"x" * 1024)
    await peer.read(0, 8)
    said = await bench.line.call("statistics")

    assert sum(said["times"]) == said["operations"]


async def test_totals_outlive_their_sessions(bench):
    peer = await bench.open()
    await peer.write(0, b"x" * 1024)
    before = await bench.line.call("statistics")
    peer.sock.close()
    await bench.until(lambda: bench.control.heard("closed"))
    after = await bench.line.call("statistics")

    assert (before["sessions"], after["sessions"]) == (1, 0)
    for key in ("bytes_written", "bytes_read", "operations"):
        assert after[key] == before[key]
    assert after["connections"] == 0


async def test_who_is_kicked_is_closed_and_its_disk_is_told_written(bench):
    peer = await bench.open()
    await peer.write(0, b"x" * 512)
    (said,) = await bench.line.call("sessions")

    assert await bench.line.call("kick", {"id": said["id"]}) is True
    assert await bench.line.call("kick", {"id": "nosuch"}) is False

    assert await peer.hung_up()
    await bench.until(lambda: bench.control.heard("ended"))
    assert bench.control.heard("ended")[0]["written"]
    assert bench.control.complaints == []


async def asked(bench, number=1, *, probe=False):
    return await bench.line.call("still_there", {"id": f"{number:016x}", "probe": probe})


async def test_whether_a_session_is_still_there_can_be_asked(bench):
    peer = await bench.open()
    assert await asked(bench)
    assert not await asked(bench, 99)

    peer.sock.close()
    assert not await asked(bench)


async def test_who_knows_pings_may_be_asked_itself(bench, autojump_clock):
    autojump_clock.autojump_threshold = 0.005
    peer = await bench.open()
    await peer.ping()

    assert not await asked(bench, probe=True)  # nobody answers for it

    assert await peer.hung_up()


async def test_who_answers_the_question_stays(bench, nursery):
    peer = await bench.open()
    await peer.ping()

    async def answers():
        ping = await peer.hear()
        await peer.say(
            pdu.NopOut(
                immediate=True,
                initiator_task_tag=0xFFFFFFFF,
                cmd_sn=peer.cmd_sn,
                data=b"",
                target_transfer_tag=ping.target_transfer_tag,
            )
        )

    nursery.start_soon(answers)

    assert await asked(bench, probe=True)
    assert await peer.ping() == b"there?"


async def test_who_never_showed_a_ping_is_believed(bench):
    peer = await bench.open()

    assert await asked(bench, probe=True)
    assert await peer.ping() == b"there?"


# -- backpressure --------------------------------------------------------------------------------------------


async def test_who_reads_nothing_is_kept_in_bounds_and_gets_everything_in_the_end(nursery, tmp_path):
    """Answers wait in the disk, not in memory; then reading the socket stops."""
    limits = attrs.evolve(DEFAULT, session_output_bytes=128 * 1024, output_backpressure_bytes=256 * 1024)
    bench = await set_up(nursery, tmp_path, limits)
    peer = await bench.open(buffer=8192)
    await peer.write(0, b"\1" * 65536)
    for _ in range(31):
        cdb = b"\x28\0" + bytes(5) + (128).to_bytes(2)
        await peer.command(cdb, read=True, expected_data_transfer_length=65536)
    connection = session_of(bench, 1).connection
    for _ in range(50):
        await trio.sleep(0.002)
        assert connection.output.unsent <= 256 * 1024 + 64 * 1024 + 4096

    got = 0
    while got < 31 * 65536:
        answer = await peer.hear()
        assert isinstance(answer, pdu.DataIn)
        assert set(answer.data) == {1}
        got += len(answer.data)
    assert await peer.ping() == b"there?"


async def test_a_peer_that_reads_nothing_holds_up_nobody_else(bench):
    deaf, other = await bench.open(buffer=4096), await bench.open()
    for _ in range(20):
        cdb = b"\x28\0" + bytes(5) + (128).to_bytes(2)
        await deaf.command(cdb, read=True, expected_data_transfer_length=65536)

    with trio.fail_after(5):
        for lba in range(50):
            await other.write(lba, bytes([lba + 1]) * 512)
        assert await other.read(0, 50) == b"".join(bytes([n + 1]) * 512 for n in range(50))


async def test_a_large_write_that_trickles_in_arrives_whole(bench):
    """One PDU of 64 KiB, in pieces of odd sizes."""
    peer = await bench.open()
    data = os.urandom(65536)
    write = pdu.wire(
        pdu.ScsiCommand(
            initiator_task_tag=9,
            attribute=1,
            final=True,
            write=True,
            expected_data_transfer_length=65536,
            cdb=(b"\x2a\0" + bytes(5) + (128).to_bytes(2)).ljust(16, b"\0"),
            cmd_sn=peer.cmd_sn,
            data=data,
        )
    )
    peer.cmd_sn += 1
    at, step = 0, 1
    while at < len(write):
        await peer.send(write[at : at + step])
        at, step = at + step, step * 3 % 9001 + 1
        await trio.lowlevel.checkpoint()

    assert (await peer.hear()).status == 0
    assert await peer.read(0, 128) == data


async def test_many_commands_in_one_piece_are_all_answered_in_order(bench):
    peer = await bench.open()
    pings = b"".join(
        pdu.wire(
            pdu.ScsiCommand(
                initiator_task_tag=100 + n, attribute=1, final=True, cdb=bytes(16), cmd_sn=peer.cmd_sn + n
            )
        )
        for n in range(30)
    )
    await peer.send(pings)

    assert [(await peer.hear()).initiator_task_tag for _ in range(30)] == list(range(100, 130))


# -- shared targets ------------------------------------------------------------------------------------------


async def test_first_sessions_of_a_shared_target_that_come_together_share_its_disk(bench, nursery):
    bench.control.shared = True
    peers = []

    async def come():
        peers.append(await bench.open())

    async with trio.open_nursery() as all_at_once:
        for _ in range(8):
            all_at_once.start_soon(come)
    for number, peer in enumerate(peers):
        await peer.write(number, bytes([number + 1]) * 512)

    for peer in peers:
        assert await peer.read(0, 8) == b"".join(bytes([n + 1]) * 512 for n in range(8))
    assert "crash" not in bench.control.complaints


async def test_the_disk_of_a_shared_target_outlives_its_sessions(bench):
    bench.control.shared = True
    peer = await bench.open()
    await peer.write(0, b"kept" * 128)
    peer.sock.close()
    await bench.until(lambda: bench.control.heard("closed"))

    again = await bench.open()

    assert await again.read(0, 1) == b"kept" * 128


# -- the end -------------------------------------------------------------------------------------------------


async def test_a_drain_asks_who_may_be_asked_and_closes_the_rest(bench, autojump_clock):
    """RFC 7143 §11.9: asynchronous message 1 asks for a logout."""
    autojump_clock.autojump_threshold = 0.01
    knows, does_not = await bench.open(), await bench.open()
    await knows.ping()
    began = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.worker.drain, 3.0)
        asked = await knows.hear()
        assert isinstance(asked, pdu.AsyncMessage)
        assert asked.async_event == 1
        assert await does_not.hung_up()

    assert trio.current_time() - began < 3.0
    assert not bench.worker.sessions.children


async def test_a_drain_is_over_as_soon_as_everybody_has_logged_out(bench, autojump_clock):
    autojump_clock.autojump_threshold = 0.01
    peer = await bench.open()
    await peer.ping()
    began = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.worker.drain, 30.0)
        await peer.hear()
        await peer.say(pdu.LogoutRequest(immediate=True, initiator_task_tag=5, cmd_sn=peer.cmd_sn))
        assert (await peer.hear()).response == 0
        assert await peer.hung_up()

    assert trio.current_time() - began < 2.0


async def test_a_socket_that_fails_under_the_drain_does_not_stop_it(bench, autojump_clock):
    autojump_clock.autojump_threshold = 0.01
    one, other = await bench.open(), await bench.open()
    for peer in (one, other):
        await peer.ping()
    one.sock.close()

    await bench.worker.drain(3.0)

    assert not bench.worker.sessions.children


async def test_connections_that_never_logged_in_end_with_the_drain(bench, autojump_clock):
    autojump_clock.autojump_threshold = 0.01
    peer = await bench.connect()
    await trio.sleep(0.1)

    await bench.worker.drain(3.0)

    assert await peer.hung_up()


# -- who is hostile ------------------------------------------------------------------------------------------


async def test_a_stream_that_ends_within_padding_is_an_end_and_no_crash(bench, caplog):
    """RFC 7143 §11.1: a segment of five bytes, three more to fill up, of which one comes."""
    peer = await bench.open()
    whole = pdu.wire(pdu.NopOut(immediate=True, initiator_task_tag=7, cmd_sn=peer.cmd_sn, data=b"five."))
    await peer.send(whole[:-2])
    peer.sock.shutdown(1)

    assert await peer.hung_up()
    await bench.until(lambda: bench.control.heard("closed"))

    assert bench.control.complaints == []
    assert caplog.records == []


async def test_ten_thousand_immediate_requests_of_who_reads_nothing_cost_little(nursery, tmp_path):
    """RFC 7143 §4.2.2.1: too many are rejected with 06h, then we stop reading; none is forgotten."""
    limits = attrs.evolve(DEFAULT, session_output_bytes=32 * 1024, output_backpressure_bytes=64 * 1024)
    bench = await set_up(nursery, tmp_path, limits)
    peer = await bench.open(buffer=4096)
    connection = session_of(bench, 1).connection
    count, most = 10_000, 0
    requests = []
    for tag in range(count):
        if tag % 2:
            request = pdu.NopOut(immediate=True, initiator_task_tag=tag, cmd_sn=peer.cmd_sn, data=b"p" * 60)
        else:
            request = pdu.TaskManagementRequest(
                immediate=True, function=1, initiator_task_tag=tag, cmd_sn=peer.cmd_sn,
                referenced_task_tag=0xFFFF,
            )  # fmt: skip
        requests.append(pdu.wire(request))
    nursery.start_soon(peer.send, b"".join(requests))

    async def watch_memory():
        nonlocal most
        while True:
            most = max(most, connection.output.unsent)
            await trio.sleep(0)

    nursery.start_soon(watch_memory)
    for _ in range(200):
        await trio.sleep(0.001)
    assert connection.output.unsent >= 64 * 1024  # it is full, and has stopped reading

    answered = set()
    while len(answered) < count:
        answer = await peer.hear()
        told = (
            int.from_bytes(answer.data[16:20])
            if isinstance(answer, pdu.Reject)
            else answer.initiator_task_tag
        )
        assert not isinstance(answer, pdu.Reject) or answer.reason == 0x06
        answered.add(told)
    assert most < 64 * 1024 + 2 * limits.turn_pdus * 128
    assert await peer.ping() == b"there?"


async def test_the_disk_of_who_left_is_closed_after_its_last_thread(bench, monkeypatch):
    """Sixteen writes are in threads when the connection is lost: no descriptor that they use is closed or
    used for something else, before they have ended."""
    holding, seen = threading.Event(), []
    real = Disk.write

    def slow(self, first, data, fua=False):
        holding.wait(10)
        real(self, first, data, fua)
        seen.append(len(bench.control.heard("ended")))

    peer = await bench.open()
    await peer.write(0, b"first" + bytes(507))
    monkeypatch.setattr(Disk, "write_now", lambda self, first, data: False)
    monkeypatch.setattr(Disk, "write", slow)
    for n in range(1, 17):
        cdb = b"\x2a\0" + n.to_bytes(4) + b"\0\0\1"
        await peer.command(cdb, write=True, expected_data_transfer_length=512, data=bytes([n]) * 512)
    await bench.until(lambda: bench.worker.threads.borrowed_tokens)
    (live,) = bench.worker.live.values()
    peer.sock.close()
    await bench.until(lambda: live.connection.closed)
    assert bench.control.heard("ended") == []

    holding.set()
    await bench.until(lambda: bench.control.heard("ended"))

    assert seen and set(seen) == {0}
    assert bench.control.complaints == []


class Listening:
    """A socket that keeps all that came out of it."""

    def __init__(self, sock):
        self.sock, self.heard = sock, bytearray()

    async def recv(self, count):
        data = await self.sock.recv(count)
        self.heard += data
        return data

    def __getattr__(self, name):
        return getattr(self.sock, name)


async def test_not_one_byte_of_a_neighbours_disk_is_heard_whatever_is_asked(bench):
    """All data-in commands with every room for the answer, reads in and beyond the disk, refusals, rejects,
    while the neighbour reads its own through the same buffers.  Padding, sense and residuals included."""
    canary = os.urandom(16)
    mine, other = await bench.open(), await bench.open()
    for lba in range(0, 512, 128):
        await mine.write(lba, canary * 32 * 128)
    other.sock = Listening(other.sock)

    async def asks(cdb, room, **more):
        await other.command(cdb, **({"read": True, "expected_data_transfer_length": room} | more))
        while True:
            answer = await other.hear()
            if isinstance(answer, pdu.ScsiResponse) or (isinstance(answer, pdu.DataIn) and answer.has_status):
                return

    for text, at, size in ANSWERS.values():
        for allocation in (0, 1, 3, 4, 5, 7, 8, 17, 35, 36, 37, 96, 255, 300, 65535, (1 << 32) - 1):
            cdb = bytearray.fromhex(text)
            cdb[at : at + size] = (allocation & (1 << 8 * size) - 1).to_bytes(size)
            await mine.read(0, 8)
            await asks(bytes(cdb), allocation)
            await asks(bytes(cdb), max(0, allocation - 1))
    for lba, blocks in ((0, 8), (2047, 1), (2047, 2), (2048, 1), (1 << 31, 1), (0, 0)):
        for room in (0, 1, 511, 512, 513, 4096, 1 << 20):
            await mine.read(0, 8)
            await asks(b"\x28\0" + lba.to_bytes(4) + b"\0" + blocks.to_bytes(2), room)
    for opcode in range(256):  # whatever it is
        await mine.read(0, 1)
        await asks(bytes([opcode]) + bytes(15), 1024, final=True)
    await other.send(pdu.wire(pdu.SnackRequest(initiator_task_tag=1, target_transfer_tag=1)))
    assert isinstance(await other.hear(), pdu.Reject)
    assert await other.ping(b"x" * 61) == b"x" * 61

    heard = bytes(other.sock.heard)
    assert len(heard) > 50_000
    assert canary[:8] not in heard
    assert canary[8:] not in heard
    assert bench.control.complaints == [] or set(bench.control.complaints) == {"reject 0x03"}


@pytest.mark.parametrize("function", [TaskFunction.TARGET_WARM_RESET, TaskFunction.TARGET_COLD_RESET])
async def test_an_anonymous_reset_reaches_no_other_session(bench, function):
    """RFC 7143 §11.5.1: the target is the initiator's own, with the one disk that this session has."""
    one, other = await bench.open(), await bench.open()
    await other.write(0, b"kept" * 128)

    reset = pdu.TaskManagementRequest(
        immediate=True, function=function, initiator_task_tag=9, cmd_sn=one.cmd_sn,
        referenced_task_tag=0xFFFFFFFF,
    )  # fmt: skip
    await one.say(reset)
    answer = await one.hear()

    assert isinstance(answer, pdu.TaskManagementResponse)
    assert await other.read(0, 1) == b"kept" * 128
    assert await other.ping() == b"there?"
    assert len(bench.worker.live) >= 1
