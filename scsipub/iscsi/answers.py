"""Answers: everything a session says, and the numbers it says them with.

Source: RFC 7143 §4.2.2 (StatSN, ExpCmdSN, MaxCmdSN), §11.4, §11.6-11.9, §11.17, §11.19.  Sans-IO: answers go
into the outbox, in the order in which they must leave.  Does not know what was asked; ``session`` does."""

from typing import Protocol

import attrs

from scsipub.errors import CheckCondition, PduRejected
from scsipub.iscsi import pdu
from scsipub.iscsi.data import (
    DATA_IN,
    FINAL,
    NO_TAG,
    OP_DATA_IN,
    OP_R2T,
    OP_RESPONSE,
    R2T,
    RESPONSE,
    STATUS_HERE,
    residual,
)
from scsipub.iscsi.digest import digest
from scsipub.iscsi.framing import BHS
from scsipub.iscsi.login_records import Negotiated
from scsipub.iscsi.numbering import MASK
from scsipub.iscsi.outbox import Outbox
from scsipub.iscsi.transfers import Task, next_burst
from scsipub.limits import Limits

UNIT_ATTENTION = 6
DISCARD_MEMORY = 64  # ended tasks whose late Data-Out is still swallowed; a window is half of this


class Host(Protocol):
    """Who runs the SCSI commands.  Implemented by ``target.nexus``."""

    def command(self, task: Task) -> None:
        """Run it, or call ``session.expect`` when it takes write data.  Raises CheckCondition or CommandEnded
        for nothing: refusals are answered with ``session.respond``."""

    def data(self, task: Task, offset: int, data: memoryview) -> None:
        """The next piece of write data, in order.  The view dies with the call."""

    def burst(self, task: Task) -> None:
        """A burst is complete: call ``session.solicit`` for the next, or finish the command."""

    def manage(self, request: pdu.TaskManagementRequest) -> None:
        """A task management function; answer with ``session.task_management_done``."""

    def sense(self, task: Task, check: CheckCondition) -> bytes:
        """Sense data in the format that this initiator is to see."""

    def room_for(self, size: int) -> bool:
        """May so many bytes that nobody has invited be held, besides what is held already?"""

    def leave(self) -> None:
        """The initiator logs out: end every task in silence, for nothing may follow the Logout Response."""

    def abandoned(self, task: Task) -> None:
        """The session has ended the task by itself (a transfer that went wrong)."""


@attrs.define(eq=False)
class Counters:
    """What the data path counts.  Sizes are bytes."""

    operations: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    rejects: int = 0
    last_error: str = ""
    reasons: dict[int, int] | None = None  # rejects since somebody took note, by reason

    def add(self, other: "Counters") -> None:
        """Count what ``other`` has counted."""
        self.operations += other.operations
        self.bytes_read += other.bytes_read
        self.bytes_written += other.bytes_written

    def take_reasons(self) -> dict[int, int]:
        """Rejects by reason, since the last time."""
        reasons, self.reasons = self.reasons, None
        return reasons or {}


def _wrong(right: bytes) -> bytes:
    """A digest that does not fit."""
    return bytes((right[0] ^ 1, *right[1:]))


class Answers:
    """The sending half of a session, with the tasks whose answers are owed."""

    __slots__ = (
        "counters", "discarding", "exp_cmd_sn", "host", "immediate_outstanding", "last_ping", "limits",
        "negotiated", "next_ttt", "out", "ping_tag", "spoiled", "stat_sn", "surplus", "tasks", "window",
        "window_size",
    )  # fmt: skip

    def __init__(
        self, negotiated: Negotiated, limits: Limits, out: Outbox, host: Host | None, stat_sn: int
    ) -> None:
        self.negotiated = negotiated
        self.limits = limits
        self.out = out
        self.host = host  # None: a discovery session, which knows no SCSI
        self.counters = Counters()
        self.stat_sn = stat_sn
        self.exp_cmd_sn = negotiated.cmd_sn
        self.window = limits.command_window  # what is left of it; shrinks with every numbered task
        self.window_size = self.window
        self.surplus = 0  # by so much the window is still larger than it should be
        self.immediate_outstanding = 0
        self.tasks: dict[int, Task] = {}
        self.discarding: dict[int, None] = {}  # tags of ended tasks whose Data-Out may still come
        self.next_ttt = 1
        self.ping_tag: int | None = None  # a NOP-In of ours that is not answered yet
        self.last_ping = 0.0
        self.spoiled = 0  # so many PDUs get a wrong digest: somebody tests the initiator

    # -- numbers -----------------------------------------------------------------------------------------

    @property
    def max_cmd_sn(self) -> int:
        return (self.exp_cmd_sn + self.window - 1) & MASK

    def set_window(self, size: int) -> None:
        """So many numbered commands at once, from 1 up.

        MaxCmdSN never goes back (§4.2.2.1): a smaller window comes about as commands end."""
        more = size - self.window_size
        self.window_size = size
        back = min(self.surplus, max(0, more))
        self.surplus += max(0, -more) - back
        self.window += max(0, more) - back

    def take_stat_sn(self) -> int:
        number = self.stat_sn
        self.stat_sn = (number + 1) & MASK
        return number

    def next_tag(self) -> int:
        tag = self.next_ttt
        self.next_ttt = tag + 1 if tag < NO_TAG - 1 else 1
        return tag

    # -- tasks -------------------------------------------------------------------------------------------

    def start(self, task: Task) -> None:
        task.started = True
        self.tasks[task.initiator_task_tag] = task
        if task.immediate:
            self.immediate_outstanding += 1
        else:
            self.window -= 1

    def end(self, task: Task) -> None:
        """The task is over: forget it, and open the window by one.  Sends nothing."""
        if task.ended:
            return
        task.ended = True
        if task.started:
            self.tasks.pop(task.initiator_task_tag, None)
            if task.immediate:
                self.immediate_outstanding -= 1
            elif self.surplus:
                self.surplus -= 1
            else:
                self.window += 1
        if task.unsolicited or task.target_transfer_tag is not None:
            self.discard(task.initiator_task_tag)

    def discard(self, tag: int) -> None:
        """Data-Out of this tag is on its way and nobody wants it: swallow it up to its F bit."""
        if len(self.discarding) >= DISCARD_MEMORY:
            self.discarding.pop(next(iter(self.discarding)))
        self.discarding[tag] = None

    # -- what is said of tasks ---------------------------------------------------------------------------

    @property
    def burst_bytes(self) -> int:
        """The largest burst that one R2T asks for."""
        limits = self.limits
        return min(self.negotiated.max_burst, limits.r2t_bytes, limits.session_write_bytes // 2)

    def solicit(self, task: Task, now: float) -> None:
        """Ask for the next burst with an R2T.  Call when the host can take it."""
        tag = self.next_tag()
        sn, offset, length = next_burst(
            task,
            tag=tag,
            max_burst=self.burst_bytes,
            deadline=now + self.limits.r2t_seconds,
        )
        header = bytearray(BHS)
        R2T.pack_into(
            header,
            0,
            OP_R2T,
            FINAL,
            0,
            task.lun,
            task.initiator_task_tag,
            tag,
            self.stat_sn,
            self.exp_cmd_sn,
            self.max_cmd_sn,
            sn,
            offset,
            length,
        )
        self.send(header)

    def send(self, header: bytearray, data: bytes | bytearray | memoryview = b"") -> None:
        """Header (its data length filled in here), digests and padding into the outbox."""
        length = len(data)
        header[5:8] = length.to_bytes(3)
        pad = bytes(-length % 4)
        of_header = digest(header) if self.negotiated.header_digest else b""
        of_data = digest(data, pad) if length and self.negotiated.data_digest else b""
        if self.spoiled and (of_header or of_data):
            self.spoiled -= 1
            of_header, of_data = (of_header, _wrong(of_data)) if of_data else (_wrong(of_header), of_data)
        for part in (header, of_header, data, pad, of_data):
            if part:
                self.out.add(part)

    def send_pdu(self, answer: pdu.TargetPdu) -> None:
        """A rare PDU, whose numbers the caller has filled in."""
        self.send(bytearray(answer.pack()), getattr(answer, "data", b""))

    def respond(self, task: Task, status: int, *, sense: bytes = b"", actual: int | None = None) -> None:
        """End the task with a SCSI Response.

        ``actual``: how many bytes the CDB asks to move.  None: nothing to compare, no residual."""
        if task.ended or task.muted:
            return
        flag, count = (0, 0) if actual is None else residual(task.expected, actual)
        self.end(task)
        header = bytearray(BHS)
        RESPONSE.pack_into(
            header,
            0,
            OP_RESPONSE,
            FINAL | flag,
            0,
            status,
            0,
            0,
            task.initiator_task_tag,
            0,
            self.take_stat_sn(),
            self.exp_cmd_sn,
            self.max_cmd_sn,
            task.data_sn,
            0,
            count,
        )
        self.send(header, len(sense).to_bytes(2) + sense if sense else b"")
        self.counters.operations += 1

    def check_condition(self, task: Task, check: CheckCondition, *, actual: int | None = 0) -> None:
        """End the task with CHECK CONDITION."""
        if check.key != UNIT_ATTENTION:  # every session begins with one; nobody did anything wrong
            self.counters.last_error = str(check)
        self.respond(
            task, 0x02, sense=self.host.sense(task, check) if self.host is not None else b"", actual=actual
        )

    def data_in(
        self, task: Task, data: bytes | bytearray | memoryview, *, offset: int, total: int, actual: int
    ) -> None:
        """One piece of read data, cut to the initiator's segments.

        ``total``: how much is sent in all (min of expected and actual); the piece that reaches it carries
        GOOD status.  ``actual``: what the CDB asked for, for the residual.  §11.7.4"""
        if task.muted:
            return
        step, burst, view = self.negotiated.max_xmit_data_segment, self.negotiated.max_burst, memoryview(data)
        at = 0
        while at < len(data):
            # F closes a sequence of at most MaxBurstLength.
            room = burst - (offset + at) % burst
            piece = view[at : at + min(step, room)]
            at += len(piece)
            last = offset + at == total
            flags = (FINAL if last or len(piece) == room else 0) | (STATUS_HERE if last else 0)
            count = 0
            if last:
                flag, count = residual(task.expected, actual)
                flags |= flag
                self.end(task)
            header = bytearray(BHS)
            DATA_IN.pack_into(
                header,
                0,
                OP_DATA_IN,
                flags,
                0,
                0,
                0,
                task.initiator_task_tag,
                NO_TAG,
                self.take_stat_sn() if last else 0,
                self.exp_cmd_sn,
                self.max_cmd_sn,
                task.data_sn,
                offset + at - len(piece),
                count,
            )
            task.data_sn += 1
            self.send(header, piece)
        if task.ended:
            self.counters.operations += 1

    def reply(self, task: Task, data: bytes, *, actual: int | None = None) -> None:
        """End the task GOOD with ``data`` (parameter data, at most the allocation length)."""
        actual = len(data) if actual is None else actual
        total = min(len(data), task.expected) if task.reads else 0
        if total:
            self.data_in(task, memoryview(data)[:total], offset=0, total=total, actual=actual)
        else:
            self.respond(task, 0x00, actual=actual)

    def reject(self, rejected: PduRejected, header: bytes) -> None:
        """§11.17: quote the header, stay connected."""
        counters = self.counters
        counters.rejects += 1
        counters.last_error = str(rejected)
        if counters.reasons is None:
            counters.reasons = {}
        counters.reasons[rejected.reason] = counters.reasons.get(rejected.reason, 0) + 1
        self.send_pdu(
            pdu.Reject(
                reason=rejected.reason,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                data_sn=0,
                data=header,
            )
        )

    def task_management_done(self, request: pdu.TaskManagementRequest, response: int) -> None:
        self.send_pdu(
            pdu.TaskManagementResponse(
                response=response,
                initiator_task_tag=request.initiator_task_tag,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
            )
        )

    # -- what is said unasked ----------------------------------------------------------------------------

    def ping(self, now: float) -> None:
        """Ask whether the initiator is still there.  Only for those who answer (``may_ping``)."""
        self.ping_tag = self.next_tag()
        self.last_ping = now
        self.send_pdu(
            pdu.NopIn(
                lun=0,
                initiator_task_tag=NO_TAG,
                target_transfer_tag=self.ping_tag,
                stat_sn=self.stat_sn,
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                data=b"",
            )
        )

    def ask_for_logout(self, seconds: int) -> None:
        """Asynchronous message 1 before a shutdown: please log out within ``seconds``.  §11.9"""
        self.send_pdu(
            pdu.AsyncMessage(
                lun=0,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                async_event=1,
                async_vcode=0,
                parameter1=0,
                parameter2=0,
                parameter3=seconds,
                data=b"",
            )
        )
