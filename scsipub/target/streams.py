"""Streams: reads that are too long, or come too thick, to be answered within their own turn.

Sans-IO.  A long read is produced piece by piece, and only while the answers already queued are few: so one
READ of 32 MiB costs no more memory than one of 256 KiB, and a NOP-In never waits behind more than
``session_output_bytes``.

Pieces are read into the outbox and leave many at a time.  Sending each from the page cache with ``sendfile``
was tried: on one core a header and a sendfile per piece cost nearly twice as much as copying, because the
kernel then walks page by page what one large ``send`` takes in a few steps."""

from typing import TYPE_CHECKING, Any

import attrs

from scsipub.iscsi.data import DATA_IN, FINAL, NO_TAG, OP_DATA_IN, STATUS_HERE, residual
from scsipub.iscsi.digest import DIGEST, crc32c
from scsipub.iscsi.framing import BHS
from scsipub.iscsi.transfers import Task
from scsipub.scsi.plan import Plan
from scsipub.target.backing import Job, without

if TYPE_CHECKING:
    from scsipub.target.nexus import Nexus
    from scsipub.target.running import Path

PIECE = 256 * 1024


@attrs.define(eq=False)
class Stream:
    """One READ under way.  ``at``: next sector.  ``sent`` and ``total`` are bytes."""

    task: Task
    path: "Path"
    at: int
    total: int
    actual: int
    sent: int = 0
    job: Job | None = None


class Streams:
    """The reads of one nexus, first come first served."""

    __slots__ = ("in_threads", "nexus", "queue", "threaded")

    def __init__(self, nexus: "Nexus") -> None:
        self.nexus = nexus
        self.queue: list[Stream] = []
        self.threaded: tuple[Stream, ...] = ()  # a thread reads for these
        self.in_threads = 0  # bytes being read by threads

    def start(self, task: Task, path: "Path", plan: Plan) -> None:
        actual = plan.count * path.block_size
        total = min(actual, task.expected) if task.reads else 0
        if total == 0:
            self.nexus.session.respond(task, 0x00, actual=actual)
            self.nexus.settle()
            return
        self.queue.append(Stream(task, path, plan.first << path.shift, total, actual))

    # Hot: once per long READ.
    def take(self, tag: int, lun: int, path: "Path", first: int, size: int) -> None:
        """Start a READ of which ``turn`` has checked everything.  ``first`` is a sector, ``size`` bytes."""
        task = Task(tag, lun, b"", 0, True, False, size, False, b"")
        self.nexus.session.start(task)
        self.queue.append(Stream(task, path, first, size, size))

    def pump(self, unsent: int, room: int | None = None) -> None:
        """Produce answers while there is room.  ``unsent``: bytes the connection could not send yet.

        ``room``: how many to produce now, if that is less than there is room for."""
        out, bound = self.nexus.session.out, self.nexus.limits.session_output_bytes
        if room is not None:
            bound = min(bound, unsent + room)
        queue = self.queue
        while queue and unsent + out.queued + self.in_threads < bound:
            stream = queue[0]
            if not self._piece(stream):
                queue.pop(0)
                self._read_in_thread(stream)
            elif stream.sent == stream.total:
                queue.pop(0)
                self.nexus.settle()

    def _piece(self, stream: Stream) -> bool:
        """Put the next piece into the outbox.  False: it must come from a thread."""
        session, path = self.nexus.session, stream.path
        negotiated, out = session.negotiated, session.out
        burst = negotiated.max_burst
        size = min(
            stream.total - stream.sent, negotiated.max_xmit_data_segment, burst - stream.sent % burst, PIECE
        )
        before = BHS + 4 if negotiated.header_digest else BHS
        after = 4 if negotiated.data_digest else 0
        if size % 512 or session.spoiled or out.size - out.used < before + size + after:
            return self._piece_by_copy(stream)
        sectors = size // 512
        disk, backing = path.backing.disk, path.backing
        if not backing.clear(stream.at, stream.at + sectors - 1, writes=False):
            return False
        at = out.used
        start = at + before
        stop = start + size
        if not disk.read_now(stream.at, sectors, out.view[start:stop]):
            return False
        task = stream.task
        offset = stream.sent
        stream.at += sectors
        stream.sent += size
        last = stream.sent == stream.total
        flags, count = (FINAL if last or stream.sent % burst == 0 else 0), 0
        if last:
            flag, count = residual(task.expected, stream.actual)
            flags |= flag | STATUS_HERE
            session.end(task)
            session.counters.operations += 1
        DATA_IN.pack_into(
            out.view, at, OP_DATA_IN, flags, 0, size, 0, task.initiator_task_tag, NO_TAG,
            session.take_stat_sn() if last else 0, session.exp_cmd_sn, session.max_cmd_sn, task.data_sn,
            offset, count,
        )  # fmt: skip
        task.data_sn += 1
        session.counters.bytes_read += size
        if negotiated.header_digest:
            DIGEST.pack_into(out.view, at + BHS, crc32c(out.view[at : at + BHS]))
        if negotiated.data_digest:
            DIGEST.pack_into(out.view, stop, crc32c(out.view[start:stop]))
        out.used = stop + after
        return True

    def _span(self, stream: Stream) -> tuple[int, int]:
        """(bytes, sectors) of the next piece when it is copied."""
        size = min(stream.total - stream.sent, PIECE)
        return size, -(-size // 512)

    def _piece_by_copy(self, stream: Stream) -> bool:
        size, sectors = self._span(stream)
        if not stream.path.backing.clear(stream.at, stream.at + sectors - 1, writes=False):
            return False
        data = memoryview(bytearray(sectors * 512))
        if not stream.path.backing.disk.read_now(stream.at, sectors, data):
            return False
        self._deliver(stream, data[:size])
        return True

    def _deliver(self, stream: Stream, data: memoryview) -> None:
        session = self.nexus.session
        session.data_in(stream.task, data, offset=stream.sent, total=stream.total, actual=stream.actual)
        session.counters.bytes_read += len(data)
        stream.at += -(-len(data) // 512)
        stream.sent += len(data)

    def _read_in_thread(self, stream: Stream) -> None:
        size, sectors = self._span(stream)
        backing, at = stream.path.backing, stream.at
        data = memoryview(bytearray(sectors * 512))

        def after(_: Any, error: BaseException | None) -> None:
            self.in_threads -= size
            stream.job = None
            self.threaded = without(self.threaded, stream)
            if stream.task.ended:
                self.nexus.gone(stream.task)
            elif error is not None:
                self.nexus.fail(stream.task, error, writing=False)
            else:
                self._deliver(stream, data[:size])
                if stream.sent < stream.total:
                    self.queue.insert(0, stream)
                else:
                    self.nexus.settle()

        self.in_threads += size
        stream.job = Job(
            backing,
            lambda: backing.disk.read(at, sectors, data),
            after,
            self.nexus._ready,
            at,
            at + sectors - 1,
        )
        self.threaded += (stream,)
        backing.admit(stream.job)

    def drop(self, task: Task) -> None:
        """Forget the rest of an aborted read; a thread that is at it cannot be stopped."""
        stream = next((s for s in self.threaded if s.task is task), None)
        if stream is None or stream.job is None:
            for waiting in [s for s in self.queue if s.task is task]:
                self.queue.remove(waiting)
        elif stream.job.backing.withdraw(stream.job):
            self.in_threads -= self._span(stream)[0]
            self.threaded = without(self.threaded, stream)
        else:
            self.nexus.dying.setdefault(task, [])
