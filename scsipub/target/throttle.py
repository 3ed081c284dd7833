"""Throttle: commands wait for their turn when a target has used up its share.

Source: RFC 7143 §4.2.2.1 (the command window).  Sans-IO; time is an argument.  One throttle belongs to all
sessions of a target.  Commands that read, write or flush the medium wait, first come first served; whoever
asks what the disk is like, pings, aborts or logs out does not.  Nothing is ever refused.

An initiator gives a command some 30 seconds, so no more commands may be under way than are answered in
``PATIENCE_SECONDS``: the window shrinks with the rate.  It never shrinks in one step, for MaxCmdSN never goes
back; ``Answers.set_window`` takes it from the commands that end.  One command for each session is always
allowed, and a single one may move MAXIMUM TRANSFER LENGTH: at less than a MiB a second that can take longer
than its initiator waits."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from scsipub.iscsi.transfers import Task
from scsipub.target.bucket import Bucket
from scsipub.target.descriptor import Rates

if TYPE_CHECKING:
    from scsipub.target.nexus import Nexus

PATIENCE_SECONDS = 10.0
USUAL_BYTES = 1 << 20  # what one command moves at most, as initiators do it

# READ, WRITE, ORWRITE, WRITE AND VERIFY, VERIFY, COMPARE AND WRITE, WRITE SAME, UNMAP, SYNCHRONIZE CACHE,
# EXTENDED COPY.
THROTTLED = frozenset(
    (
        *(0x08, 0x28, 0xA8, 0x88),
        *(0x0A, 0x2A, 0xAA, 0x8A, 0x8B, 0x9C),
        *(0x2E, 0xAE, 0x8E, 0x2F, 0xAF, 0x8F),
        *(0x89, 0x41, 0x93, 0x42, 0x35, 0x91, 0x83),
    )
)
# These touch more than they carry: the blocks of the CDB count.
BY_BLOCKS = frozenset((0x2F, 0xAF, 0x8F, 0x41, 0x93))


class Throttle:
    """``alarm`` is called when somebody begins to wait; ``release`` must then be called in ``delay`` seconds,
    and again as long as ``delay`` says so."""

    __slots__ = ("alarm", "most_bytes", "moved", "operations", "waiting")

    def __init__(self, rates: Rates, alarm: Callable[["Throttle"], None], most_bytes: int) -> None:
        self.alarm = alarm
        self.most_bytes = most_bytes  # of one command: what it announces beyond that it will not get
        self.operations: Bucket | None = None
        self.moved: Bucket | None = None  # bytes
        self.waiting: dict[Task, Nexus] = {}  # in the order in which they came
        self.change(rates, 0.0)

    def change(self, rates: Rates, now: float) -> None:
        """Other rates from now on."""
        self.operations = _changed(self.operations, rates.iops, rates.iops_burst, now)
        self.moved = _changed(self.moved, rates.bytes_per_second, rates.bytes_burst, now)

    # Hot: once per READ or WRITE of a target that has limits.
    def open(self, now: float) -> bool:
        """May a command begin at once?"""
        if self.waiting:
            return False
        return self._ready(now)

    # Hot, too.
    def spend(self, size: int, operations: int = 1) -> None:
        """A command begins that moves ``size`` bytes."""
        if self.operations is not None:
            self.operations.level -= operations
        if self.moved is not None:
            self.moved.level -= size

    def _ready(self, now: float) -> bool:
        operations, moved = self.operations, self.moved
        return (operations is None or operations.open(now)) and (moved is None or moved.open(now))

    def enter(self, nexus: "Nexus", task: Task, now: float) -> bool:
        """May it begin?  If not it waits, and ``nexus.go`` is posted when it may."""
        if self.open(now):
            self.spend(self._size(task))
            return True
        self.waiting[task] = nexus
        if len(self.waiting) == 1:
            self.alarm(self)
        return False

    def _size(self, task: Task) -> int:
        return min(task.expected, self.most_bytes) if task.reads or task.writes else 0

    def delay(self, now: float) -> float | None:
        """Seconds until ``release`` has something to do; None: nobody waits."""
        if not self.waiting:
            return None
        return max(
            [bucket.delay(now) for bucket in (self.operations, self.moved) if bucket is not None] or [0]
        )

    def release(self, now: float) -> None:
        """Let those begin whose turn it is."""
        while self.waiting and self._ready(now):
            task = next(iter(self.waiting))
            nexus = self.waiting.pop(task)
            self.spend(self._size(task))
            nexus.post(partial(nexus.go, task, now))

    def release_all(self, now: float) -> None:
        """There are no limits any more."""
        waiting, self.waiting = self.waiting, {}
        for task, nexus in waiting.items():
            nexus.post(partial(nexus.go, task, now))

    def drop(self, task: Task) -> None:
        """It was aborted."""
        self.waiting.pop(task, None)

    def window(self, most: int, sessions: int) -> int:
        """How many commands each of so many sessions may have under way; 1 to ``most``."""
        for bucket, cost in ((self.operations, 1), (self.moved, USUAL_BYTES)):
            if bucket is not None:
                most = min(most, int(bucket.rate * PATIENCE_SECONDS / cost / max(1, sessions)))
        return max(1, most)


def _changed(bucket: Bucket | None, rate: float | None, burst: float | None, now: float) -> Bucket | None:
    if rate is None:
        return None
    burst = rate if burst is None else burst
    if bucket is None:
        return Bucket(rate, burst)
    bucket.change(rate, burst, now)
    return bucket
