"""Deliberate mistakes, put over the real code from outside, to see that the run notices them.

Each swaps two steps of an order, or leaves one out, as somebody might who simplifies."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from scsipub.storage import grow
from scsipub.storage.bitmap import Bitmap
from scsipub.storage.durable import DurableOverlay
from scsipub.storage.files import pwrite_all
from scsipub.storage.folder import Direct
from scsipub.storage.layout import HEADER, PAGE
from scsipub.storage.overlay import Overlay

Patch = Callable[[Callable[[Any, str, Any], None]], None]


def swap_flush(put: Callable[[Any, str, Any], None]) -> None:
    """A flush writes and syncs the map first, and the data then."""
    commit, flush = DurableOverlay._commit_pages, DurableOverlay.flush

    def swapped(self: DurableOverlay) -> None:
        commit(
            self, {page: bytes(self.bits[page * PAGE : (page + 1) * PAGE]) for page in sorted(self._dirty)}
        )
        flush(self)

    put(DurableOverlay, "flush", swapped)
    put(DurableOverlay, "_commit_pages", lambda self, snapshot: None)


def live_bits(put: Callable[[Any, str, Any], None]) -> None:
    """A FUA write writes the live bits of its bytes to the map, not its own."""

    def commit(self: DurableOverlay, first: int, count: int) -> None:
        start, _ = self.committed.with_range(first, count)
        end = (first + count - 1) // 8 + 1
        new = bytes(self.bits[start:end])
        pwrite_all(self.map_fd, new, HEADER + start, os.RWF_DSYNC)
        self.committed.put(start, new)

    put(DurableOverlay, "_commit_range", commit)


def fua_without_bits(put: Callable[[Any, str, Any], None]) -> None:
    """A FUA write leaves the map alone when the sectors have live bits."""
    commit, publish = DurableOverlay._commit_range, DurableOverlay.publish
    fresh: list[int] = []

    def published(self: DurableOverlay, first: int, count: int) -> None:
        if self.live.none_set(first, count):
            fresh.append(first)
        publish(self, first, count)

    def committed(self: DurableOverlay, first: int, count: int) -> None:
        if first in fresh:
            fresh.remove(first)
            commit(self, first, count)

    put(DurableOverlay, "publish", published)
    put(DurableOverlay, "_commit_range", committed)


def holes_without_fsync(put: Callable[[Any, str, Any], None]) -> None:
    """A flush is always ``fdatasync``, also after a hole was made."""
    put(DurableOverlay, "flush", _forgetting_holes(DurableOverlay.flush))


def _forgetting_holes(flush: Callable[[DurableOverlay], None]) -> Callable[[DurableOverlay], None]:
    def forgetful(self: DurableOverlay) -> None:
        self.resized = False
        flush(self)

    return forgetful


def early_bits(put: Callable[[Any, str, Any], None]) -> None:
    """The live bit is set before the data is written."""
    write = Overlay.write_cached

    def eager(self: Overlay, first: int, data: Any, flags: int = 0) -> None:
        with self.lock:
            self.charge(first, len(data) >> 9)
            self.publish(first, len(data) >> 9)
        write(self, first, data, flags)

    put(Overlay, "write_cached", eager)


def bits_in_memory(put: Callable[[Any, str, Any], None]) -> None:
    """Live bits are kept in memory only, and reach their file with the next flush."""

    def publish(self: DurableOverlay, first: int, count: int) -> None:
        self.live.put(*self.live.with_range(first, count))
        self._dirty.update(range(first >> 15, (first + count - 1 >> 15) + 1))

    put(DurableOverlay, "publish", publish)


def growth_without_sync(put: Callable[[Any, str, Any], None]) -> None:
    """The longer map takes the old one's name before it is on the medium."""
    put(grow, "os", _WithoutSync(grow.os))


class _WithoutSync:
    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return (lambda fd: None) if name == "fsync" else getattr(self.real, name)


def creation_without_directory(put: Callable[[Any, str, Any], None]) -> None:
    """The names of new files are not synced."""
    put(Direct, "sync", lambda self, directory: None)


def no_room(put: Callable[[Any, str, Any], None]) -> None:
    """First writes take what room they find."""
    put(DurableOverlay, "make_room", lambda self, *args: None)


def no_latch(put: Callable[[Any, str, Any], None]) -> None:
    """An error of the medium is told once, and forgotten."""
    put(Overlay, "troubled", lambda self, error, always=False: OSError(5, str(error)) if always else error)


def fresh_when_missing(put: Callable[[Any, str, Any], None]) -> None:
    """A growth that cannot read the map begins with an empty one."""
    put(grow, "_acknowledged", lambda paths, header: Bitmap(header.sectors))


MISTAKES: dict[str, Patch] = {
    "swap-flush": swap_flush,
    "live-bits": live_bits,
    "fua-without-bits": fua_without_bits,
    "holes-without-fsync": holes_without_fsync,
    "early-bits": early_bits,
    "bits-in-memory": bits_in_memory,
    "growth-without-sync": growth_without_sync,
    "creation-without-directory": creation_without_directory,
    "no-room": no_room,
    "no-latch": no_latch,
    "fresh-when-missing": fresh_when_missing,
}


@contextlib.contextmanager
def made(name: str | None) -> Iterator[None]:
    """With the mistake; None: without any."""
    undo: list[tuple[Any, str, Any]] = []

    def put(where: Any, attribute: str, value: Any) -> None:
        undo.append((where, attribute, getattr(where, attribute)))
        setattr(where, attribute, value)

    if name is not None:
        MISTAKES[name](put)
    try:
        yield
    finally:
        for where, attribute, value in reversed(undo):
            setattr(where, attribute, value)
