"""A medium with a volatile cache, that dies when it is told to.

Real files carry the data; this watches the calls that change them, and knows which sectors would be on the
medium.  After a death of the process all that was written is there; after a power failure only what was
synced is, and of every other sector any version since."""

import os
import pathlib
import random
import threading
from collections.abc import Callable

import attrs
import pytest

from scsipub.storage import disk as disk_module
from scsipub.storage import kernel
from scsipub.storage.base import SECTOR, Base, BaseIdentity
from scsipub.storage.disk import Disk
from scsipub.storage.durable import create_durable
from scsipub.storage.layout import OverlayPaths, Part


class Died(BaseException):
    """The process, or the machine, ended here."""


@attrs.define
class Volatile:
    """Counts the calls that reach the medium, and dies before the one numbered ``die_at``."""

    die_at: int | None = None
    calls: int = 0
    synced: dict[str, bytearray] = attrs.field(factory=dict)
    pending: dict[str, list[tuple[int, bytes]]] = attrs.field(factory=dict)
    lock: threading.Lock = attrs.field(factory=threading.Lock)  # of the two above

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real_pwritev, real_punch = os.pwritev, kernel.punch

        def pwritev(fd: int, buffers: tuple[bytes, ...], offset: int, flags: int = 0) -> int:
            self.one_more()
            # Flags matter to this medium, not to the files below it: syncing them would only take time.
            done = real_pwritev(fd, buffers, offset)
            self.changed(fd, offset, done, synced=bool(flags & os.RWF_DSYNC))
            return done

        def punch(fd: int, offset: int, length: int) -> None:
            self.one_more()
            real_punch(fd, offset, length)
            self.changed(fd, offset, length)

        monkeypatch.setattr(os, "pwritev", pwritev)
        monkeypatch.setattr(disk_module, "_pwrite", lambda fd, data, offset: pwritev(fd, (data,), offset))
        monkeypatch.setattr(os, "fdatasync", self.sync)
        monkeypatch.setattr(os, "fsync", self.sync)
        monkeypatch.setattr(kernel, "punch", punch)

    def one_more(self) -> None:
        self.calls += 1
        if self.calls == self.die_at:
            raise Died

    def changed(self, fd: int, offset: int, length: int, synced: bool = False) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        first, last = offset // SECTOR, (offset + length - 1) // SECTOR
        with self.lock:
            for sector in range(first, last + 1):
                content = os.pread(fd, SECTOR, sector * SECTOR)
                self.pending.setdefault(path, []).append((sector, content))
            if synced:
                self.settle(path, lambda sector: first <= sector <= last)

    def sync(self, fd: int) -> None:
        self.one_more()
        with self.lock:
            self.settle(os.readlink(f"/proc/self/fd/{fd}"), lambda sector: True)

    def settle(self, path: str, which: Callable[[int], bool]) -> None:
        if os.path.isdir(path):
            return
        content = self.synced.setdefault(path, bytearray())
        content.extend(bytes(os.path.getsize(path) - len(content)))
        left = []
        for sector, data in self.pending.get(path, []):
            if which(sector):
                content[sector * SECTOR : sector * SECTOR + len(data)] = data
            else:
                left.append((sector, data))
        self.pending[path] = left

    def after_power_failure(self, path: str, choice: random.Random, luck: float) -> bytes:
        """What the medium may hold: each sector as it was synced, or any later version of it."""
        content = bytearray(self.synced.get(path, bytearray()))
        for sector, data in self.pending.get(path, []):
            if choice.random() < luck:
                content[sector * SECTOR : sector * SECTOR + len(data)] = data
        return bytes(content)


@attrs.define
class Promises:
    """What each sector may hold after a power failure: its value at the last flush, or any since."""

    now: list[bytes]
    floor: list[bytes] = attrs.field(init=False)
    since: list[set[bytes]] = attrs.field(init=False)
    # Values of the one call that was not answered: after a death of the process both are fine.
    open: dict[int, bytes] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.floor = list(self.now)
        self.since = [set() for _ in self.now]

    def begin(self, first: int, values: list[bytes]) -> None:
        self.open = {first + n: value for n, value in enumerate(values)}
        for sector, value in self.open.items():
            self.since[sector].add(value)

    def answered(self) -> None:
        for sector, value in self.open.items():
            self.now[sector] = value
        self.open = {}

    def kept(self, sectors: range) -> None:
        for sector in sectors:
            self.floor[sector] = self.now[sector]
            self.since[sector] = set()


def work(disk: Disk, promises: Promises, seed: int, steps: int) -> None:
    """A client's day: writes of all kinds, trims, flushes; every promise it was given is noted."""
    choice = random.Random(seed)
    for step in range(steps):
        first = choice.randrange(disk.sectors) & choice.choice([-1, -8])
        count = min(choice.choice([1, 2, 3, 8, 8, 16, 40]), disk.sectors - first)
        what = choice.choice(["write"] * 6 + ["fua"] * 2 + ["same", "unmap", "flush", "flush"])
        if what == "flush":
            disk.flush()
            promises.kept(range(disk.sectors))
            continue
        if what == "unmap":
            promises.begin(first, [bytes(SECTOR)] * count)
            disk.unmap(first, count)
            promises.answered()
            continue
        if what == "same":
            value = b"%08d" % step * 64
            promises.begin(first, [value] * count)
            disk.write_same(first, count, value)
            promises.answered()
            continue
        values = [b"%08d" % (seed * 1000 + step) + b"%08d" % n * 63 for n in range(count)]
        data = memoryview(b"".join(values))
        promises.begin(first, values)
        if what == "fua" or not disk.write_now(first, data):
            disk.write(first, data, what == "fua")
        promises.answered()
        if what == "fua":
            promises.kept(range(first, first + count))


def sectors_of(disk: Disk) -> list[bytes]:
    into = bytearray(disk.sectors * SECTOR)
    disk.read(0, disk.sectors, memoryview(into))
    return [bytes(into[n : n + SECTOR]) for n in range(0, len(into), SECTOR)]


def fresh_durable(base: Base, paths: OverlayPaths, sectors: int) -> Disk:
    create_durable(paths, sectors, BaseIdentity(base.identity.sha256, base.identity.length))
    return Disk.open_durable(base, paths, sectors=sectors)


def revive(
    medium: Volatile, old: OverlayPaths, new: OverlayPaths, choice: random.Random, luck: tuple[float, float]
) -> None:
    """Lay out in ``new`` what a power failure left of ``old``: luck is how much of data and map made it."""
    for part, share in ((Part.DATA, luck[0]), (Part.MAP, luck[1])):
        content = medium.after_power_failure(old.path(part), choice, share)
        pathlib.Path(new.path(part)).write_bytes(content)
    # The live file may have reached the medium whole; it is of another boot and must not count.
    pathlib.Path(new.path(Part.LIVE)).write_bytes(pathlib.Path(old.path(Part.LIVE)).read_bytes())
