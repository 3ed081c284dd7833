"""The measuring client: many commands in flight, as little work for each as Python allows.

Source: RFC 7143 §11.3 (SCSI Command), §11.4 (Response), §11.7 (Data-Out, Data-In), §11.8 (R2T), §13.1
(digests).

It must never be what is measured: headers are built once and patched, a turn is one ``recv_into`` and one
``sendmsg``, PDUs are read by offset, and data that was read is counted and thrown away.  Digests of data are
made once, those of commands each time; those that come back are looked at only when the job says so.
``verify.py`` is the client that looks at the bytes."""

import contextlib
import os
import random
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import attrs
from crc32c import crc32c

from scsipub.bench.histogram import REACH, Histogram
from scsipub.bench.job import Digests, Job, Plan, Report, make_plan
from scsipub.bench.wire import (
    COMMAND,
    DATA_IN,
    DATA_LENGTH,
    DATA_OUT,
    HEAD,
    NO_TAG,
    NOP_IN,
    NOP_OUT,
    R2T,
    RESPONSE,
    Session,
    TargetError,
    Url,
    digest,
)

BUFFER = 1 << 20
LOOK_SECONDS = 0.1  # between two points of the curve over time
PIECES = 1000  # of one sendmsg; the kernel takes 1024
_PATCH = struct.Struct(">IIIIHI")  # tag, length, CmdSN, ExpStatSN, opcode and flags of the CDB, LBA
_STALL = struct.pack("ll", 1, 0)  # SO_RCVTIMEO: look at the clock once a second even when nothing comes
_DIGEST = struct.Struct("<I")

# Seconds since the beginning, and operations a second just now.
Watch = Callable[[float, float], None]


def nobody(seconds: float, rate: float) -> None:
    """Watches nothing."""


@attrs.define(eq=False)
class Lane:
    """One connection with its commands in flight.  A command's slot number is its initiator task tag."""

    session: Session
    job: Job
    plan: Plan
    view: memoryview  # receive buffer, shared by all lanes of the process
    done: int = 0
    latency: Histogram = attrs.Factory(Histogram)
    backlog: bytearray = attrs.Factory(bytearray)  # what the socket would not take
    sock: socket.socket = attrs.field(init=False)
    _free: list[int] = attrs.Factory(list)
    _sent_at: list[int] = attrs.Factory(list)
    _heads: bytearray = attrs.Factory(bytearray)
    _read_pieces: list[list[memoryview]] = attrs.Factory(list)
    _write_pieces: list[list[memoryview]] = attrs.Factory(list)
    _cursor: int = 0
    _left: bytes = b""  # an incomplete header; when digests are checked, an incomplete PDU
    _skip: int = 0  # data still to come of a PDU whose header was seen
    _skipped_slot: int = -1  # the command that ends with them
    _payload: memoryview = attrs.field(factory=lambda: memoryview(b""))
    _segment: int = 8192

    def __attrs_post_init__(self) -> None:
        session, job = self.session, self.job
        self.sock = session.sock
        self.sock.settimeout(None)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _STALL)
        depth, size = job.depth, job.block_size
        self._segment = session.number("MaxRecvDataSegmentLength", 8192) & ~3
        first = min(size, session.number("FirstBurstLength", 65536))
        at_once = min(first, self._segment) if session.says("ImmediateData", "Yes") else 0
        rest = 0 if session.says("InitialR2T", "Yes") else first - at_once
        self._payload = memoryview(os.urandom(size))
        self._free = list(range(depth))
        self._sent_at = [0] * depth
        before = 52 if session.digests else 48
        self._heads = bytearray(depth * 2 * before)
        blocks = size // self._block_size()
        for slot in range(depth):
            for number, flags, length in ((0, 0xC1, 0), (1, 0x21 if rest else 0xA1, at_once)):
                at = (slot * 2 + number) * before
                struct.pack_into(">BBHIQ", self._heads, at, COMMAND, flags, 0, length, session.url.lun << 48)
                struct.pack_into(">H", self._heads, at + 39, blocks)
            view = memoryview(self._heads)[slot * 2 * before : (slot + 1) * 2 * before]
            self._read_pieces.append([view[:before]])
            out = [view[before:]] + (self._segment_of(0, at_once) if at_once else [])
            self._write_pieces.append(out + self._data_out(slot, NO_TAG, at_once, rest))

    def _block_size(self) -> int:
        return self.session.capacity()[1]

    @property
    def in_flight(self) -> int:
        return self.job.depth - len(self._free)

    def _segment_of(self, start: int, end: int) -> list[memoryview]:
        """A data segment of what is written, and its digest."""
        data = self._payload[start:end]
        return [data, memoryview(digest(data))] if self.session.digests else [data]

    def _data_out(self, slot: int, transfer_tag: int, offset: int, count: int) -> list[memoryview]:
        """One sequence of Data-Outs as pieces for sendmsg."""
        pieces = []
        for number, start in enumerate(range(offset, offset + count, self._segment)):
            end = min(start + self._segment, offset + count)
            head = bytearray(48)
            final = 0x80 if end == offset + count else 0
            lun = self.session.url.lun << 48
            struct.pack_into(">BBHIQII", head, 0, DATA_OUT, final, 0, end - start, lun, slot, transfer_tag)
            struct.pack_into(">IIII", head, 28, self.session.exp_stat_sn, 0, number, start)
            if self.session.digests:
                head += digest(head)
            pieces += [memoryview(head), *self._segment_of(start, end)]
        return pieces

    # Hot: once per turn, with a loop of one step per command.
    def issue(self) -> None:
        """Sends as many commands as depth and command window allow."""
        session, free = self.session, self._free
        window = (session.max_cmd_sn - session.cmd_sn + 1) & 0xFFFFFFFF
        count = min(len(free), window if window < 0x80000000 else 0)
        if not count:
            return
        lbas, reads, cursor = self.plan.lbas, self.plan.reads, self._cursor
        heads, patch, sent_at, last = self._heads, _PATCH.pack_into, self._sent_at, len(lbas) - 1
        size, cmd_sn, exp_stat_sn = self.job.block_size, session.cmd_sn, session.exp_stat_sn
        digests, view, pack_digest = session.digests, memoryview(heads), _DIGEST.pack_into
        command = 52 if digests else 48
        pieces: list[memoryview] = []
        now = time.perf_counter_ns()
        for _ in range(count):
            slot = free.pop()
            if reads[cursor]:
                at = slot * 2 * command
                patch(heads, at + 16, slot, size, cmd_sn, exp_stat_sn, 0x2800, lbas[cursor])
                pieces += self._read_pieces[slot]
            else:
                at = (slot * 2 + 1) * command
                patch(heads, at + 16, slot, size, cmd_sn, exp_stat_sn, 0x2A00, lbas[cursor])
                pieces += self._write_pieces[slot]
            if digests:
                pack_digest(heads, at + 48, crc32c(view[at : at + 48], 0, 0))
            sent_at[slot] = now
            cmd_sn = (cmd_sn + 1) & 0xFFFFFFFF
            cursor = cursor + 1 if cursor < last else 0
        session.cmd_sn, self._cursor = cmd_sn, cursor
        self.send(pieces)

    def send(self, pieces: list[memoryview]) -> None:
        """Sends now what the socket takes; the rest waits in ``backlog``."""
        for start in range(0, len(pieces), PIECES):
            part = pieces[start : start + PIECES]
            if self.backlog:
                self.backlog += b"".join(part)
                continue
            try:
                sent = self.sock.sendmsg(part, (), socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            if sent < sum(map(len, part)):
                self.backlog += b"".join(part)[sent:]

    def flush(self) -> None:
        """Tries again to send the backlog."""
        with contextlib.suppress(BlockingIOError):
            del self.backlog[: self.sock.send(self.backlog, socket.MSG_DONTWAIT)]

    # Hot: once per turn, with a loop of one step per PDU.
    def receive(self, flags: int) -> bool:
        """One ``recv_into`` and all that came with it; False when nothing did."""
        view = self.view
        kept = len(self._left)
        view[:kept] = self._left
        try:
            got = self.sock.recv_into(view[kept:], 0, flags)
        except BlockingIOError:
            return False
        if not got:
            raise ConnectionError("the target closed the connection")
        now = time.perf_counter_ns()
        end, at = kept + got, 0
        unpack, free, sent_at, buckets = HEAD.unpack_from, self._free, self._sent_at, self.latency.buckets
        before, after = (52, 4) if self.session.digests else (48, 0)
        checked = self.job.digests == Digests.CHECKED
        ended = -1
        if self._skip:
            if self._skip > end:
                self._skip -= end
                return True
            at, self._skip, ended = self._skip, 0, self._skipped_slot
        last = -1
        while True:
            if ended >= 0:  # a command whose last byte is here
                microseconds = (now - sent_at[ended]) // 1000
                if microseconds < REACH:
                    buckets[microseconds] += 1
                else:
                    self.latency.beyond.append(microseconds)
                free.append(ended)
                self.done += 1
                ended = -1
            if end - at < before:
                break
            opcode, bits, response, status, lengths, slot, stat_sn = unpack(view, at)
            length = (lengths & DATA_LENGTH) + 3 & ~3
            if checked and not self._sums(at, end, length):
                break
            last = at
            at += before + length + after if length else before
            if opcode == DATA_IN:
                if bits & 1:
                    ended = slot
            elif opcode == RESPONSE:
                ended = slot
            elif opcode == R2T:
                transfer_tag, offset, count = (
                    int.from_bytes(view[last + start : last + start + 4], "big") for start in (20, 40, 44)
                )
                self.send(self._data_out(slot, transfer_tag, offset, count))
            else:
                self._other(opcode, bytes(view[last : last + 48]))
            if ended >= 0:
                self.session.exp_stat_sn = (stat_sn + 1) & 0xFFFFFFFF
                if status | response:
                    raise TargetError(f"command ended with response {response:02x}h status {status:02x}h")
            if at > end:
                self._skip, self._skipped_slot = at - end, ended
                break
        self._left = b"" if at >= end else bytes(view[at:end])
        if last >= 0:
            self.session.max_cmd_sn = int.from_bytes(view[last + 32 : last + 36], "big")
        return True

    def _sums(self, at: int, end: int, length: int) -> bool:
        """Whether the PDU at ``at`` is all here; if so, its digests are right."""
        view, start = self.view, at + 52
        stop = start + length
        if (stop + 4 if length else start) > end:
            if stop + 4 - at > BUFFER:
                raise TargetError(f"a data segment of {length} bytes is more than we said we take")
            return False
        if view[at + 48 : start] != digest(view[at : at + 48]):
            raise TargetError(f"wrong header digest: {bytes(view[at:start]).hex()}")
        if length and view[stop : stop + 4] != digest(view[start:stop]):
            raise TargetError(f"wrong data digest: {bytes(view[at:start]).hex()}")
        return True

    def _other(self, opcode: int, head: bytes) -> None:
        """What does not belong to a command: pings are answered, everything else ends the measurement."""
        if opcode != NOP_IN:
            raise TargetError(f"unexpected opcode {opcode:02x}h: {head.hex()}")
        if head[20:24] != b"\xff\xff\xff\xff":
            answer = bytearray(48)
            answer[:2] = bytes((NOP_OUT | 0x40, 0x80))
            answer[8:24] = head[8:16] + b"\xff\xff\xff\xff" + head[20:24]
            struct.pack_into(">II", answer, 24, self.session.cmd_sn, self.session.exp_stat_sn)
            if self.session.digests:
                answer += digest(answer)
            self.send([memoryview(answer)])


def run(url: Url, job: Job, watch: Watch = nobody) -> Report:
    """Opens the connections, measures, and logs out; ``watch`` hears the last rate several times a second.

    Raises OSError when there is no target, ValueError when the job does not fit the unit, and TargetError."""
    view = memoryview(bytearray(BUFFER))
    lanes: list[Lane] = []
    try:
        for number in range(job.connections):
            isid = random.getrandbits(24) << 8 | number & 0xFF  # never somebody else's session
            digests = job.digests != Digests.NONE
            session = Session.open(url, job.initiator, isid=isid, digests=digests)
            plan = make_plan(job, *session.capacity(), number)
            lanes.append(Lane(session, job, plan, view))
        return _measure(lanes, job, watch)
    finally:
        for lane in lanes:
            if lane.in_flight or lane.backlog:
                lane.sock.close()
            else:
                lane.session.close()


def _measure(lanes: list[Lane], job: Job, watch: Watch) -> Report:
    started, cpu = time.monotonic(), time.process_time()
    counted_from = counted = 0.0
    base, deadline = 0, started + job.ramp_seconds
    looked_at, seen = started, 0
    phase = "ramp"
    turn = _turns(lanes, job.spin)
    for lane in lanes:
        lane.issue()
    report = Report(job=job)
    while True:
        turn(issuing=phase != "drain")
        now = time.monotonic()
        if now - looked_at >= LOOK_SECONDS and phase != "drain":
            total = sum(lane.done for lane in lanes)
            rate = (total - seen) / (now - looked_at)
            if phase == "count":
                report.rates.append((round(now - counted_from, 3), round(rate, 1)))
            watch(now - started, rate)
            looked_at, seen = now, total
        if now < deadline and (phase != "drain" or any(lane.in_flight for lane in lanes)):
            continue
        total = sum(lane.done for lane in lanes)
        if phase == "ramp":
            phase, base, counted_from, deadline = "count", total, now, now + job.seconds
            for lane in lanes:
                lane.latency = Histogram()
        elif phase == "count":
            phase, report.operations, counted = "drain", total - base, now - counted_from
            report.latency.merge(lane.latency for lane in lanes)
            deadline = now + 10
        else:
            break
    report.operations_total = sum(lane.done for lane in lanes)
    report.seconds, report.cpu_seconds = counted, time.process_time() - cpu
    if not report.operations:
        raise TargetError("no command ended in the counted time")
    return report


def _turns(lanes: list[Lane], spin: bool) -> Any:
    """How to wait: block in ``recv`` for one connection, epoll for many, poll without end when spinning."""
    only = lanes[0]

    def one(issuing: bool) -> None:
        if only.backlog:
            poller = select.poll()
            poller.register(only.sock, select.POLLIN | select.POLLOUT)
            poller.poll(1000)
            only.flush()
            only.receive(socket.MSG_DONTWAIT)
        else:
            only.receive(socket.MSG_DONTWAIT if spin else 0)
        if issuing:
            only.issue()

    if len(lanes) == 1:
        return one

    waiting = select.epoll()
    by_fd = {lane.sock.fileno(): lane for lane in lanes}
    for fd in by_fd:
        waiting.register(fd, select.EPOLLIN)

    def many(issuing: bool) -> None:
        for fd, _ in waiting.poll(0 if spin else 1.0, len(lanes)):
            lane = by_fd[fd]
            lane.receive(socket.MSG_DONTWAIT)
            if issuing:
                lane.issue()
        for lane in lanes:
            if lane.backlog:
                lane.flush()

    return many
