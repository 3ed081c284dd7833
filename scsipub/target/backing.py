"""Backing: one logical unit joined to its disk, and the order in which slow work on it may run.

Sans-IO: hands out jobs; whoever has threads runs them.

Work that would block leaves the event loop as a ``Job`` that names the sectors it touches.  Readers share a
range, writers have it alone; a job that meets another's range waits its turn, and everything that meets a
waiting job waits behind it (first come, first served, so nobody starves).  No more than ``threads`` run at
once.  A sector is never half old and half new because of this, not because of the file system."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import attrs

from scsipub.scsi.lane import Lane
from scsipub.scsi.reservations import Change
from scsipub.scsi.unit import LogicalUnit
from scsipub.storage.base import Base, Blank
from scsipub.storage.disk import Disk

SECTOR = 512

T = TypeVar("T")


class BlockMedium:
    """``scsi.medium.Medium`` in the unit's blocks over a ``Disk`` in sectors of 512 bytes."""

    __slots__ = ("block_size", "blocks", "disk", "per_block")

    def __init__(self, disk: Disk, block_size: int) -> None:
        self.disk = disk
        self.block_size = block_size
        self.per_block = block_size // SECTOR
        self.blocks = disk.sectors // self.per_block

    def read(self, first: int, count: int) -> bytes:
        data = bytearray(count * self.block_size)
        self.disk.read(first * self.per_block, count * self.per_block, memoryview(data))
        return bytes(data)

    def write(self, first: int, data: bytes | bytearray | memoryview, *, fua: bool = False) -> None:
        self.disk.write(first * self.per_block, memoryview(data), fua=fua)

    def write_same(self, first: int, count: int, block: bytes) -> None:
        self.disk.write_same(first * self.per_block, count * self.per_block, block)

    def unmap(self, first: int, count: int) -> None:
        self.disk.unmap(first * self.per_block, count * self.per_block)

    def flush(self) -> None:
        self.disk.flush()

    def mapped_runs(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        """A block is mapped when any of its sectors is."""
        k = self.per_block
        if k == 1:
            yield from self.disk.mapped_runs(first, count)
            return
        at = first
        for mapped, sector, sectors in self.disk.mapped_runs(first * k, count * k):
            if not mapped:
                continue
            start, end = max(sector // k, at), -(-(sector + sectors) // k)
            if start > at:
                yield False, at, start - at
            if end > start:
                yield True, start, end - start
            at = max(at, end)
        if at < first + count:
            yield False, at, first + count - at


@attrs.define(eq=False)
class Job:
    """Work for a thread.  ``first``..``last`` are sectors; ``last < first`` touches no range at all."""

    backing: "Backing"
    work: Callable[[], Any]
    done: Callable[[Any, BaseException | None], None]  # on the event loop, with the result or what was raised
    ready: Callable[["Job"], None]  # tells the job's owner that it may run now
    first: int = 0
    last: int = -1
    writes: bool = False

    def meets(self, other: "Job") -> bool:
        return (
            (self.writes or other.writes)
            and self.first <= other.last
            and other.first <= self.last
            and self.last >= self.first
            and other.last >= other.first
        )


class Trouble(Protocol):
    """What somebody who tests has put between a unit and its disk."""

    @property
    def disk(self) -> Any:
        """Stands around the real one, and has its methods."""

    @property
    def threads(self) -> Any:
        """What limits the threads in which it is waited for: others' must not be used up."""

    def calm(self) -> None:
        """From now on it does what the real one does, and what waits goes on."""


class Backing:
    """One logical unit, its disk, and the jobs that are under way on it.

    Commands go to ``disk``.  Whoever grows it, closes it or saves what was acknowledged goes to ``real``."""

    __slots__ = (
        "backgrounds", "disk", "gone", "inline_after", "keep", "medium", "per_block", "real", "running",
        "threads", "trouble", "unit", "waiting", "watchers",
    )  # fmt: skip

    def __init__(self, unit: LogicalUnit, disk: Disk, block_size: int, threads: int = 4) -> None:
        self.unit = unit
        self.disk = self.real = disk
        self.trouble: Trouble | None = None
        self.medium = BlockMedium(disk, block_size)
        self.per_block = block_size // SECTOR
        self.threads = threads  # so many jobs at once: one slow disk must not keep every thread of the worker
        # Empty most of the time; see ``Nexus``.
        self.running: tuple[Job, ...] = ()
        self.watchers: tuple[tuple[set[Job], Callable[[], None]], ...] = ()  # who waits for which jobs
        # Keeps reservations beyond the life of this process: (change, called with None or what went wrong).
        self.keep: Callable[[Change, Callable[[str | None], None]], None] | None = None
        self.waiting: tuple[Job, ...] = ()
        self.gone = False  # the unit was removed: whoever works for it in the background ends
        self.backgrounds = 0  # how many do
        self.inline_after = 0.0  # until then writes go to threads: the last inline one was slow

    @property
    def quiet(self) -> bool:
        return not self.running and not self.waiting

    def after_running_writes(self, then: Callable[[], None]) -> None:
        """Call ``then`` when every write that is in a thread now has ended; at once if there is none."""
        self._after({job for job in self.running if job.writes}, then)

    def after_running(self, then: Callable[[], None]) -> None:
        """The same for everything that is in a thread."""
        self._after(set(self.running), then)

    def _after(self, pending: set[Job], then: Callable[[], None]) -> None:
        if pending:
            self.watchers += ((pending, then),)
        else:
            then()

    def grown(self, sectors: int, base: Base | Blank) -> int:
        """The disk is longer; how many blocks that is.  Sessions hear of it through the unit."""
        self.real.grown(sectors, base)
        self.medium.blocks = sectors // self.per_block
        return self.medium.blocks

    def meet(self, trouble: Trouble | None) -> None:
        """Commands meet this on their way to the disk, in place of what they met; None: nothing any more."""
        before, self.trouble = self.trouble, trouble
        self.disk = self.medium.disk = self.real if trouble is None else trouble.disk
        if before is not None:
            before.calm()

    def left(self, lane: Lane) -> None:
        """A session is gone, and with the last of them all trouble."""
        self.unit.detach(lane)
        if self.trouble is not None and not self.unit.lanes:
            self.meet(None)

    def clear(self, first: int, last: int, *, writes: bool) -> bool:
        """May sectors ``first``..``last`` be touched here and now, without a job?"""
        if not self.running and not self.waiting:
            return True
        probe = Job(self, _nothing, _ignore, _ignore_job, first, last, writes)
        return not any(probe.meets(j) for j in self.running) and not any(probe.meets(j) for j in self.waiting)

    def admit(self, job: Job) -> None:
        """Run the job as soon as nothing before it is in its way, and a thread is left for it."""
        if (
            len(self.running) >= self.threads
            or any(job.meets(j) for j in self.running)
            or any(job.meets(j) for j in self.waiting)
        ):
            self.waiting += (job,)
        else:
            self.running += (job,)
            job.ready(job)

    def finished(self, job: Job) -> None:
        """The job's thread is done: let those run that waited for it."""
        self.running = without(self.running, job)
        for watcher in [w for w in self.watchers if job in w[0]]:
            watcher[0].discard(job)
            if not watcher[0]:
                self.watchers = without(self.watchers, watcher)
                watcher[1]()
        self._promote()

    def withdraw(self, job: Job) -> bool:
        """Take back a job that has not begun.  True if it was still waiting."""
        if job not in self.waiting:
            return False
        self.waiting = without(self.waiting, job)
        self._promote()
        return True

    def _promote(self) -> None:
        passed: list[Job] = []
        for candidate in self.waiting:
            if len(self.running) >= self.threads:
                return
            if any(candidate.meets(j) for j in self.running) or any(candidate.meets(j) for j in passed):
                passed.append(candidate)
            else:
                self.waiting = without(self.waiting, candidate)
                self.running += (candidate,)
                candidate.ready(candidate)


def without(things: tuple[T, ...], gone: T) -> tuple[T, ...]:
    return tuple(thing for thing in things if thing is not gone)


def _nothing() -> None: ...


def _ignore(result: Any, error: BaseException | None) -> None: ...


def _ignore_job(job: Job) -> None: ...
