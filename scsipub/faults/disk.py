"""A faulty disk: a disk around another one, whose reads and writes fail, fall short, or take their time.

Knows the methods of ``scsipub.storage.disk.Disk``, not the class; sectors are 512 bytes.  What is asked for
comes as the ``OSError`` that the kernel would raise, so everything above it, the sense data included, is the
real thing.  Nothing is taken from the cache in passing: each access is one that may fail.

The disk inside never hears of a fault, so it does not latch: once the trouble is over it is as it was."""

import enum
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from scsipub.faults.written import Dice, Written, chance, count, delay, span

MOST_EVENTS = 1000


class DiskFault(enum.StrEnum):
    """What can befall an access."""

    EIO = "eio"  # the medium fails
    ENOSPC = "enospc"  # no room; only what writes can meet it
    SHORT = "short"  # the first half is done, then the medium fails
    SLOW = "slow"  # it is done ``seconds`` later


class Access(enum.StrEnum):
    """What was to be done."""

    READ = "read"
    WRITE = "write"
    UNMAP = "unmap"
    FLUSH = "flush"


@attrs.frozen(kw_only=True)
class DiskRule(Written):
    """One fault of a disk: ``eio access=read sectors=100-199 p=0.5``."""

    FAULTS = tuple(DiskFault)

    fault: DiskFault = attrs.field(converter=DiskFault)
    access: Access | None = attrs.field(default=None, converter=attrs.converters.optional(Access))
    sectors: tuple[int, int] | None = attrs.field(default=None, converter=span)
    p: float = attrs.field(default=1.0, converter=chance)
    skip: int = attrs.field(default=0, converter=count)
    times: int = attrs.field(default=0, converter=count)
    seconds: float = attrs.field(default=0.1, converter=delay)

    def fits(self, access: Access, first: int, sectors: int) -> bool:
        if self.access is not None and access is not self.access:
            return False
        if self.fault is DiskFault.ENOSPC and access is not Access.WRITE:
            return False
        if self.sectors is None:
            return True
        return bool(sectors) and first <= self.sectors[1] and self.sectors[0] < first + sectors


@attrs.frozen
class DiskEvent:
    """One fault that happened: at the ``number``-th access, ``at`` seconds after the rules were set."""

    at: float
    number: int
    fault: DiskFault
    rule: int  # which, counted from 0
    access: Access
    first: int
    sectors: int

    def to_json(self) -> dict[str, Any]:
        said = attrs.asdict(self) | {"at": round(self.at, 6)}
        return said | {"fault": str(self.fault), "access": str(self.access)}


class FaultyDisk:
    """``disk`` with trouble.

    ``wait`` is how time (seconds) is spent: a test gives its own; otherwise ``calm`` ends it.  ``may_wait``
    is asked in the thread of an access that is to be slow: False, it is done at once.  ``events`` says what
    happened, the oldest forgotten after a thousand.  OperatorError for too many rules."""

    def __init__(
        self,
        disk: Any,
        rules: Iterable[DiskRule],
        seed: int,
        wait: Callable[[float], object] | None = None,
        may_wait: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._disk = disk
        self._dice = Dice(rules, seed)
        self._seed = seed
        self._over = threading.Event()
        self._wait = wait or self._over.wait
        self._may_wait = may_wait
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()  # accesses come from several threads; the dice are thrown in order
        self._number = self._struck = 0
        self.events: deque[DiskEvent] = deque(maxlen=MOST_EVENTS)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Settings of the disk (``read_only``) are the inner one's.
        own = name.startswith("_") or name == "events"
        object.__setattr__(self if own else self._disk, name, value)

    def calm(self) -> None:
        """The trouble is over: nothing fails any more, and what waits goes on.  From any thread."""
        self._over.set()

    def to_json(self) -> dict[str, Any]:
        """The rules, and what came of them."""
        with self._lock:
            return {
                "seed": self._seed,
                "rules": [rule.to_json() for rule in self._dice.rules],
                "accesses": self._number,
                "struck": self._struck,
                "events": [event.to_json() for event in self.events],
            }

    def _meet(self, access: Access, first: int = 0, sectors: int = 0, unit: int = 1) -> int:
        """How many sectors are done, having waited: all, or whole ``unit``s of them.

        Raises what must be raised before any is."""
        with self._lock:
            if self._over.is_set():
                return sectors
            self._number += 1
            struck = self._dice.roll([rule.fits(access, first, sectors) for rule in self._dice.rules])
            if struck is None:
                return sectors
            self._struck += 1
            rule: DiskRule = self._dice.rules[struck]
            at = self._clock() - self._began
            self.events.append(DiskEvent(at, self._number, rule.fault, struck, access, first, sectors))
        match rule.fault:
            case DiskFault.SLOW:
                if self._may_wait is None or self._may_wait():
                    self._wait(rule.seconds)
                return sectors
            case DiskFault.SHORT if sectors > unit:
                return sectors // 2 // unit * unit
            case DiskFault.ENOSPC:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def read_now(self, first: int, count: int, into: memoryview) -> bool:
        return False

    def write_now(self, first: int, data: Any) -> bool:
        return False

    def read(self, first: int, count: int, into: memoryview) -> None:
        done = self._meet(Access.READ, first, count)
        self._disk.read(first, done, into[: done * 512])
        _short(done, count)

    def write(self, first: int, data: Any, fua: bool = False) -> None:
        sectors = len(data) // 512
        done = self._meet(Access.WRITE, first, sectors)
        self._disk.write(first, memoryview(data)[: done * 512], fua)
        _short(done, sectors)

    def write_same(self, first: int, count: int, block: Any, fua: bool = False) -> None:
        done = self._meet(Access.WRITE, first, count, max(1, len(block) // 512))
        self._disk.write_same(first, done, block, fua)
        _short(done, count)

    def unmap(self, first: int, count: int) -> None:
        done = self._meet(Access.UNMAP, first, count)
        self._disk.unmap(first, done)
        _short(done, count)

    def flush(self) -> None:
        self._meet(Access.FLUSH)
        self._disk.flush()


def _short(done: int, wanted: int) -> None:
    if done < wanted:
        raise OSError(errno.EIO, f"only {done} of {wanted} sectors")
