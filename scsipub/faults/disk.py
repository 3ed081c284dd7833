"""A faulty disk: a disk around another one, whose reads and writes fail, fall short, or take their time.

Knows the methods of ``scsipub.storage.disk.Disk``, not the class; sectors are 512 bytes.  What is asked for
comes as the ``OSError`` that the kernel would raise, so everything above it, the sense data included, is the
real thing.  Nothing is taken from the cache in passing: each access is one that may fail."""

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
    """One fault that happened: at the ``number``-th access."""

    number: int
    fault: DiskFault
    access: Access
    first: int
    sectors: int


class FaultyDisk:
    """``disk`` with trouble.  ``wait`` is how time is spent: a test gives its own.

    ``events`` says what happened, the oldest forgotten after a thousand."""

    def __init__(
        self, disk: Any, rules: Iterable[DiskRule], seed: int, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._disk = disk
        self._dice = Dice(rules, seed)
        self._wait = wait
        self._lock = threading.Lock()  # accesses come from several threads; the dice are thrown in order
        self._number = 0
        self.events: deque[DiskEvent] = deque(maxlen=MOST_EVENTS)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Settings of the disk (``read_only``) are the inner one's.
        own = name.startswith("_") or name == "events"
        object.__setattr__(self if own else self._disk, name, value)

    def _meet(self, access: Access, first: int = 0, sectors: int = 0) -> int:
        """How many sectors are done, having waited; raises what must be raised before any is."""
        with self._lock:
            self._number += 1
            struck = self._dice.roll([rule.fits(access, first, sectors) for rule in self._dice.rules])
            if struck is None:
                return sectors
            rule: DiskRule = self._dice.rules[struck]
            self.events.append(DiskEvent(self._number, rule.fault, access, first, sectors))
        match rule.fault:
            case DiskFault.SLOW:
                self._wait(rule.seconds)
                return sectors
            case DiskFault.SHORT if sectors > 1:
                return sectors // 2
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
        done = self._meet(Access.WRITE, first, count)
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
