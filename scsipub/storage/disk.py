"""A disk: a base below, an overlay on top once somebody has written, and the way through both.

Hot: ``read_now`` and ``write_now`` run once per command on the event loop.  They never wait for a medium that
is read; they answer False instead, and the caller calls ``read`` or ``write`` in a thread.  The plain version
of all this is tests/reference/disk.py.

Sectors are 512 bytes.  Knows files; no SCSI, no clock, no event loop.

The caller checks ranges against ``sectors``, and holds a range lock: reads and writes of the same sectors
never overlap in time, of different sectors they may, in any number of threads."""

import errno
import os
import threading
from collections.abc import Iterator
from typing import Self

import attrs

from scsipub.storage.base import SECTOR, SHIFT, Base, Blank, zero
from scsipub.storage.bitmap import joined, runs_of, windows
from scsipub.storage.durable import DurableOverlay
from scsipub.storage.files import Data
from scsipub.storage.layout import HEADER, OverlayPaths
from scsipub.storage.overlay import Overlay

# One expansion step of WRITE SAME: large enough to be quick, small enough to hold.
SAME_BYTES = 1 << 20
_ALL_OURS = b"\xff"
# Held while a disk's overlay is created.  A few for all disks: most disks are never written to, and ten
# thousand locks are a megabyte.
_CREATING = tuple(threading.Lock() for _ in range(64))

_preadv = os.preadv
_pwrite = os.pwrite


@attrs.frozen
class DiskStatistics:
    """How a disk is."""

    sectors: int
    allocated_bytes: int
    budget_bytes: int
    written: bool  # has an overlay
    failed: str  # why it is latched; empty while all is well


class Disk:
    """One disk of one or more sessions.

    Creates its overlay at the first write, so that a session that only looks costs no file.  ``paths`` None
    makes it read-only."""

    __slots__ = ("_creating", "_overlay", "base", "budget_bytes", "durable", "paths", "read_only", "sectors")

    def __init__(
        self,
        base: Base | Blank,
        paths: OverlayPaths | None,
        budget_bytes: int = 1 << 62,
        *,
        read_only: bool = False,
        sectors: int | None = None,
    ) -> None:
        self.base = base
        self.paths = paths
        self.budget_bytes = budget_bytes
        self.read_only = read_only or paths is None
        self.sectors = base.sectors if sectors is None else sectors
        self.durable = False
        self._overlay: Overlay | None = None
        self._creating = _CREATING[id(self) // 64 % len(_CREATING)]

    @classmethod
    def open_durable(
        cls,
        base: Base | Blank,
        paths: OverlayPaths,
        budget_bytes: int = 1 << 62,
        *,
        sectors: int | None = None,
    ) -> Self:
        """Open a disk that lasts; ``create_durable`` made its files.  May wait.

        BlockingIOError while another owner lives; OverlayRefused when the files are missing or wrong: then
        the disk is offline, for its base alone would look as if nobody had ever written."""
        disk = cls(base, paths, budget_bytes, sectors=sectors)
        disk.durable = True
        disk._overlay = DurableOverlay.open(paths, disk.sectors, base.identity, budget_bytes)
        return disk

    def adopt(self) -> bool:
        """Take over what a dead owner of the same disk left; True if there was something.

        May wait.  BlockingIOError while the owner lives, OverlayRefused if the files are another disk's."""
        if self._overlay is None and self.paths is not None:
            self._overlay = Overlay.open(self.paths, self.sectors, self.base.identity, self.budget_bytes)
        return self._overlay is not None

    # -- reading ------------------------------------------------------------------------------------------

    # Hot: once per read.
    def read_now(self, first: int, count: int, into: memoryview) -> bool:
        """Fill ``into`` with sectors that are at hand.  False: not all are, call ``read`` in a thread."""
        overlay = self._overlay
        base = self.base
        fd, flags = base.fd, base.nowait
        if overlay is not None:
            if overlay.failed is not None:
                return False
            if count == 8 and not first & 7:
                bits = overlay.bits[first >> 3]
                if bits == 255:
                    fd, flags = overlay.data_fd, overlay.nowait
                elif bits:
                    return self._read_mixed_now(overlay, first, count, into)
            elif overlay.live.all_set(first, count):
                fd, flags = overlay.data_fd, overlay.nowait
            elif not overlay.live.none_set(first, count):
                return self._read_mixed_now(overlay, first, count, into)
        if fd < 0:
            zero(into)
            return True
        try:
            if _preadv(fd, (into,), first << SHIFT, flags) == len(into):
                return True
        except BlockingIOError:
            return False  # not cached
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                return False  # read() will meet it again, and tell
        return self._read_otherwise(overlay, fd, first, into)

    def _read_mixed_now(self, overlay: Overlay, first: int, count: int, into: memoryview) -> bool:
        base = self.base
        done = 0
        for ours, offset, length in runs_of(overlay.live.value(first, count), count):
            end = done + (length << SHIFT)
            piece = into[done:end]
            done = end
            fd, flags = (overlay.data_fd, overlay.nowait) if ours else (base.fd, base.nowait)
            if fd < 0:
                zero(piece)
                continue
            try:
                if _preadv(fd, (piece,), (first + offset) << SHIFT, flags) == len(piece):
                    continue
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    return False
            if not self._read_otherwise(overlay, fd, first + offset, piece):
                return False
        return True

    def _read_otherwise(self, overlay: Overlay | None, fd: int, first: int, into: memoryview) -> bool:
        """A read without waiting came back short, or the file system knows no such thing.

        Then what is in memory can be read as usual: were it to go in between, that would cost a stall."""
        base = self.base
        if overlay is not None and fd == overlay.data_fd:
            if overlay.resident(first, len(into) >> SHIFT):
                _fill(fd, into, first << SHIFT)
                return True
            return False
        inside = min(max(base.length - (first << SHIFT), 0), len(into))
        if inside and not base.resident_bytes(first << SHIFT, inside):
            return False
        base.read(first, into)
        return True

    def read(self, first: int, count: int, into: memoryview) -> None:
        """Fill ``into`` with sectors; may wait.  Raises OSError."""
        self._check(first, count, into)
        overlay = self._overlay
        if overlay is None:
            self.base.read(first, into)
            return
        overlay.check()
        done = 0
        for ours, offset, length in runs_of(overlay.live.value(first, count), count):
            piece = into[done : done + (length << SHIFT)]
            done += len(piece)
            if ours:
                _fill(overlay.data_fd, piece, (first + offset) << SHIFT)
            else:
                self.base.read(first + offset, piece)

    # -- writing ------------------------------------------------------------------------------------------

    # Hot: once per write.
    def write_now(self, first: int, data: Data) -> bool:
        """Write sectors at once; True once they would survive ``kill -9``.

        False, with nothing acknowledged: there is no overlay yet, no budget, another thread has the books
        open, or something failed.  Call ``write`` in a thread, which does it or says why not."""
        overlay = self._overlay
        if overlay is None or overlay.failed is not None:
            return False
        count = len(data) >> SHIFT
        if count == 8 and not first & 7 and overlay.trimmed is None:
            bits = overlay.bits[first >> 3]
            if not bits and overlay.chunk_sectors == 8 and first + 8 <= self.sectors:
                return self._write_new_chunk_now(overlay, first >> 3, data)
            settled = bits == 255
        else:
            settled = overlay.settled(first, count)
        if settled:
            try:
                return _pwrite(overlay.data_fd, data, first << SHIFT) == len(data)
            except OSError as error:
                overlay.troubled(error)
                return False
        return self._write_new_now(overlay, first, count, data)

    # Hot: once per chunk of a disposable disk, when it is written as a whole.  ``_write_new_now`` is the long
    # way to the same.
    def _write_new_chunk_now(self, overlay: Overlay, chunk: int, data: Data) -> bool:
        lock = overlay.lock
        if not lock.acquire(blocking=False):
            return False
        try:
            charged, place, bit = overlay.charged.bits, chunk >> 3, 1 << (chunk & 7)
            if not charged[place] & bit:
                if overlay.charged_chunks >= overlay.budget_chunks:
                    return False
                charged[place] |= bit
                overlay.charged_chunks += 1
            if _pwrite(overlay.data_fd, data, chunk << 12) != 4096:
                return False
            if _pwrite(overlay.live_fd, _ALL_OURS, HEADER + chunk) != 1:
                return False
            overlay.bits[chunk] = 255
            return True
        except OSError as error:
            overlay.troubled(error)
            return False
        finally:
            lock.release()

    def _write_new_now(self, overlay: Overlay, first: int, count: int, data: Data) -> bool:
        if first + count > self.sectors or not overlay.lock.acquire(blocking=False):
            return False
        try:
            if not overlay.charge_now(first, count):
                return False
            if _pwrite(overlay.data_fd, data, first << SHIFT) != len(data):
                return False
            overlay.publish(first, count)
            return True
        except OSError as error:
            overlay.troubled(error)
            return False
        finally:
            overlay.lock.release()

    def write(self, first: int, data: Data, fua: bool = False) -> None:
        """Write sectors; may wait.  Raises OSError: ENOSPC when the budget or the file system is full."""
        self._check(first, len(data) >> SHIFT, data)
        self._writable().write(first, data, fua)

    def write_same(self, first: int, count: int, block: Data, fua: bool = False) -> None:
        """Write one block over and over; it is one sector long, or several."""
        size = len(block) >> SHIFT
        if not size or count % size or len(block) % SECTOR:
            raise ValueError(f"{count} sectors cannot be filled with blocks of {len(block)} bytes")
        self._check(first, count)
        step = max(1, SAME_BYTES // len(block))
        pattern = memoryview(bytes(block) * min(step, count // size))
        end = first + count
        while first < end:
            piece = pattern[: (end - first) << SHIFT]
            self.write(first, piece, fua)
            first += len(piece) >> SHIFT

    def unmap(self, first: int, count: int) -> None:
        """Make sectors read as zeros and give their room back; may wait.  The base does not return."""
        self._check(first, count)
        if not count:
            return
        if self._overlay is None and not self.base.mapped_sectors and not self.read_only:
            return  # zeros over zeros: mkfs trims the whole disk first, and need not cost a file
        self._writable().unmap(first, count)

    def flush(self) -> None:
        """Everything acknowledged until now is on the medium, as far as this kind of disk promises; may wait.

        A disposable disk dies with the machine whatever is flushed: nothing to do."""
        if self._overlay is not None:
            self._overlay.flush()

    # -- asking -------------------------------------------------------------------------------------------

    def mapped_runs(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        """Cut a range into ``(mapped, first, count)``: sectors that hold something, those known as zeros."""
        return joined(self._mapped_pieces(first, count))

    def _mapped_pieces(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        overlay = self._overlay
        for start, size in windows(first, count):
            below = min(max(self.base.mapped_sectors - start, 0), size)
            mapped = (1 << below) - 1
            if overlay is not None:
                live = overlay.live.value(start, size)
                trimmed = overlay.trimmed.value(start, size) if overlay.trimmed is not None else 0
                mapped = (mapped | live) & ~trimmed
            for bit, offset, length in runs_of(mapped, size):
                yield bit, start + offset, length

    @property
    def allocated_bytes(self) -> int:
        overlay = self._overlay
        return overlay.charged_chunks * overlay.chunk_sectors * SECTOR if overlay is not None else 0

    def statistics(self) -> DiskStatistics:
        overlay = self._overlay
        failed = str(overlay.failed) if overlay is not None and overlay.failed is not None else ""
        return DiskStatistics(
            self.sectors, self.allocated_bytes, self.budget_bytes, overlay is not None, failed
        )

    # -- growing ------------------------------------------------------------------------------------------

    def grow(self, sectors: int, base: Base | Blank) -> None:
        """Make a disk that lasts longer while it is in use; may wait.  Raises OSError, and nothing changed.

        Call ``grown`` afterwards, where ``read_now`` is called; until then it is used as long as it was."""
        overlay = self._overlay
        if not isinstance(overlay, DurableOverlay):
            raise OSError(errno.EINVAL, "the disk does not last")
        overlay.grow(sectors, base.identity)

    def grown(self, sectors: int, base: Base | Blank) -> None:
        """What ``grow`` has made is in force."""
        if self._overlay is not None:
            self._overlay.stretched()
        self.base = base
        self.sectors = sectors

    # -- the end ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the overlay and keep its files.  Nobody may be inside a call; the base stays open."""
        self.read_only = True
        if self._overlay is not None:
            self._overlay.close()

    def destroy(self) -> None:
        """Close, and remove what was written."""
        self.read_only = True
        if self._overlay is not None:
            self._overlay.destroy()

    # -- inside -------------------------------------------------------------------------------------------

    def _check(self, first: int, count: int, data: Data | None = None) -> None:
        # Against our own mistakes: a data file that grew would be refused at the next start.
        if first < 0 or count < 0 or first + count > self.sectors:
            raise ValueError(f"sectors {first}+{count} of a disk of {self.sectors}")
        if data is not None and len(data) != count << SHIFT:
            raise ValueError(f"{len(data)} bytes for {count} sectors")

    def _writable(self) -> Overlay:
        if self.read_only or self.paths is None:
            raise OSError(errno.EROFS, "the disk is read-only")
        overlay = self._overlay
        if overlay is None:
            with self._creating:
                overlay = self._overlay
                if overlay is None:
                    overlay = Overlay.create(self.paths, self.sectors, self.base.identity, self.budget_bytes)
                    self._overlay = overlay
        overlay.check()
        return overlay


def _fill(fd: int, into: memoryview, offset: int) -> None:
    while into:
        got = os.preadv(fd, (into,), offset)
        if not got:
            raise OSError(errno.EIO, "the data file is shorter than the disk")
        into = into[got:]
        offset += got
