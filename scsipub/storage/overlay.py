"""Overlays: the files that hold what was written to one disk, and the order in which they are written.

The rules, all of them held here for disposable disks and disks that last alike:

* data first, then the bit in the .live file, then the caller hears of it: an acknowledged write survives the
  death of the process at any moment;
* bits only ever go from 0 to 1; trimming makes zeros, it never brings the base back;
* one process owns an overlay, by ``flock`` on the data file;
* room is charged in chunks before it is written; sectors that were written stay writable when all is spent;
* an I/O error of the medium latches: afterwards the page cache and the medium may disagree, so nothing is
  served until an operator has looked.

Knows files and threads.  Does not know the base's contents, nor what a flush is: that is ``ledger``.

Writes of different sectors may run in several threads at once; of the same sectors they may not, the caller
holds a range lock.  ``lock`` guards the bitmaps and the budget, and is taken only where a bit will change."""

import contextlib
import errno
import os
import threading
from typing import Self

from scsipub.storage import kernel
from scsipub.storage.base import SECTOR, SHIFT, BaseIdentity
from scsipub.storage.bitmap import Bitmap
from scsipub.storage.files import (
    NEW,
    OLD,
    PIECE,
    Data,
    close_all,
    create_live,
    own,
    pread_all,
    pwrite_all,
    read_bits,
    remove_files,
)
from scsipub.storage.layout import HEADER, Header, OverlayPaths, OverlayRefused, Part, bitmap_bytes

# What the budget counts in: a block of ext4, and one byte of the bitmap.
CHUNK_SECTORS = 8

_ZEROS = memoryview(bytes(1 << 20))
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Overlay:
    """Open files of one overlay, with its bitmaps in memory."""

    __slots__ = (
        "_punch_works", "_residency", "_trimmed_at", "bits", "budget_chunks", "charged", "charged_chunks",
        "chunk_sectors", "creation", "data_fd", "failed", "live", "live_fd", "lock", "nowait", "paths",
        "resized", "sectors", "trimmed",
    )  # fmt: skip

    def __init__(
        self,
        paths: OverlayPaths,
        sectors: int,
        data_fd: int,
        live_fd: int,
        creation: bytes,
        budget_bytes: int,
    ) -> None:
        self.paths = paths
        self.sectors = sectors
        self.data_fd = data_fd
        self.live_fd = live_fd
        self.nowait = kernel.nowait_flags(data_fd)
        self._residency: kernel.Residency | None = None
        self.creation = creation
        self.lock = threading.Lock()
        self.failed: OSError | None = None
        self.resized = False  # holes or new extents since the last flush: fdatasync is not enough
        self.trimmed: Bitmap | None = None  # made at the first trim
        self._punch_works = True
        self._trimmed_at = HEADER + bitmap_bytes(sectors)
        self._take(Bitmap(sectors))
        self.chunk_sectors = self.chunk()
        self.budget_chunks = budget_bytes // (self.chunk_sectors * SECTOR)
        self.charged = Bitmap(-(-sectors // self.chunk_sectors))
        self.charged_chunks = 0

    def chunk(self) -> int:
        """How many sectors one unit of the budget has."""
        return CHUNK_SECTORS

    def _take(self, live: Bitmap) -> None:
        self.live = live
        self.bits = live.bits  # the hot paths' shortcut

    # -- coming and going ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, paths: OverlayPaths, sectors: int, base: BaseIdentity, budget_bytes: int) -> Self:
        """Make the files of a disk nobody has written to."""
        data_fd = paths.folder.open(paths.path(Part.DATA), NEW)
        live_fd = -1
        try:
            own(data_fd)
            os.ftruncate(data_fd, sectors * SECTOR)
            with contextlib.suppress(FileNotFoundError):
                paths.folder.unlink(paths.path(Part.LIVE))  # bits of data that is gone
            creation = os.urandom(16)
            live_fd = create_live(paths, sectors, base, creation)
            return cls(paths, sectors, data_fd, live_fd, creation, budget_bytes)
        except BaseException:
            paths.folder.unlink(paths.path(Part.DATA))
            close_all(data_fd, live_fd)
            raise

    @classmethod
    def open(cls, paths: OverlayPaths, sectors: int, base: BaseIdentity, budget_bytes: int) -> Self | None:
        """Take over the files of an owner that died since the machine was booted.

        None when nothing was ever acknowledged from them, or they are from before the last boot, when parts
        of them may never have reached the medium: such files are removed.  BlockingIOError while the owner
        lives; OverlayRefused when they belong to something else."""
        try:
            data_fd = paths.folder.open(paths.path(Part.DATA), OLD)
        except FileNotFoundError:
            return None
        live_fd = -1
        try:
            own(data_fd)
            try:
                live_fd = paths.folder.open(paths.path(Part.LIVE), OLD)
                raw = pread_all(live_fd, HEADER, 0)
            except FileNotFoundError:
                raw = b""
            # The header is written whole before anything is acknowledged: without one nothing was.
            header = Header.unpack(raw, Part.LIVE) if raw.strip(b"\0") else None
            if header is None or header.boot != paths.boot:
                remove_files(paths)
                close_all(data_fd, live_fd)
                return None
            header.must_fit(Part.LIVE, sectors, base, str(paths.id))
            if os.fstat(data_fd).st_size != sectors * SECTOR:
                raise OverlayRefused(".data has the wrong length")
            overlay = cls(paths, sectors, data_fd, live_fd, header.creation, budget_bytes)
            overlay.load_live()
            overlay.recount()
            return overlay
        except BaseException:
            close_all(data_fd, live_fd)
            raise

    def load_live(self) -> None:
        """Read both bitmaps of the .live file."""
        if os.fstat(self.live_fd).st_size != HEADER + 2 * bitmap_bytes(self.sectors):
            raise OverlayRefused(".live has the wrong length")
        self._take(read_bits(self.live_fd, self.sectors, HEADER))
        trimmed = read_bits(self.live_fd, self.sectors, self._trimmed_at)
        self.trimmed = trimmed if any(trimmed.pieces(PIECE)) else None

    def recount(self) -> None:
        """Charge what the bitmaps say is there."""
        step = self.chunk_sectors // 8
        trimmed = self.trimmed
        for start, bits in self.live.pieces(PIECE):
            held = int.from_bytes(bits, "little")
            if trimmed is not None:
                held &= ~int.from_bytes(trimmed.bits[start : start + len(bits)], "little")
            # One byte per chunk, 1 if any of its sectors is held; then one bit.
            each = held.to_bytes(-(-len(bits) // (8 * step)) * 8 * step, "little")
            some = 0
            for place in range(step):
                some |= int.from_bytes(each[place::step].translate(_ONE_IF_ANY), "little")
            digits = some.to_bytes(len(each) // step, "little").translate(_AS_DIGIT)[::-1]
            packed = int(digits, 2).to_bytes(len(digits) // 8, "little")
            at = start // (8 * step)
            self.charged.put(at, packed[: len(self.charged.bits) - at])
        self.charged_chunks = self.charged.count()

    def close(self) -> None:
        """Close the files; another process may own them then.  Nobody may be inside a call."""
        # Whoever comes too late gets an error, and never the base without what was written.
        self.failed = self.failed or OSError(errno.EBADF, "the disk is closed")
        if self._residency is not None:
            self._residency.close()
        close_all(self.data_fd, self.live_fd)
        self.data_fd = self.live_fd = -1

    def destroy(self) -> None:
        """Remove the files, then close them."""
        remove_files(self.paths)
        self.close()

    # -- trouble ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise if an earlier error latched."""
        if self.failed is not None:
            raise OSError(errno.EIO, f"latched: {self.failed}")

    def troubled(self, error: OSError, *, always: bool = False) -> OSError:
        """Remember an error that latches; give back the one to raise."""
        if (always or error.errno == errno.EIO) and self.failed is None:
            self.failed = error
            self.latched(error)
        return OSError(errno.EIO, str(error)) if always else error

    def latched(self, error: OSError) -> None:
        """It has just happened, for the first time.  A disposable disk takes it to its grave."""

    def resident(self, first: int, count: int) -> bool:
        """Are these sectors of the data file in memory?  Not for several threads at once."""
        if self._residency is None:
            self._residency = kernel.Residency(self.data_fd, self.sectors * SECTOR)
        return self._residency.resident(first << SHIFT, count << SHIFT)

    def stretched(self) -> None:
        """The data file is longer than it was.  Where ``resident`` is called."""
        residency, self._residency = self._residency, None
        if residency is not None:
            residency.close()

    # -- room ---------------------------------------------------------------------------------------------

    # Hot: once per write.
    def settled(self, first: int, count: int) -> bool:
        """Were all these sectors written, and none trimmed since?  Then a write needs no bookkeeping."""
        trimmed = self.trimmed
        return self.live.all_set(first, count) and (trimmed is None or trimmed.none_set(first, count))

    # Hot: once per first write of a sector.
    def charge(self, first: int, count: int) -> None:
        """Count the room that a write will take, or raise ENOSPC.  ``lock`` is held.

        A write that fails afterwards leaves its chunks charged: part of it may be on the medium."""
        chunk = first // self.chunk_sectors
        chunks = (first + count - 1) // self.chunk_sectors - chunk + 1
        new = 0 if self.charged.all_set(chunk, chunks) else chunks - self.charged.count(chunk, chunks)
        if new and self.charged_chunks + new > self.budget_chunks:
            raise OSError(errno.ENOSPC, "the disk's budget is spent")
        self.make_room(chunk, chunks, first, count)
        if new:
            self.charged.put(*self.charged.with_range(chunk, chunks))
            self.charged_chunks += new
        trimmed = self.trimmed
        if trimmed is not None and not trimmed.none_set(first, count):
            # Before the data: while a write is under way nobody may take its sectors for a hole (see unmap).
            start, new_bytes = trimmed.without_range(first, count)
            self._store(new_bytes, self._trimmed_at + start)
            trimmed.put(start, new_bytes)

    # Hot: once per first write of a sector.
    def charge_now(self, first: int, count: int) -> bool:
        """Charge, if that takes no waiting and the budget allows.  ``lock`` is held."""
        try:
            self.charge(first, count)
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise
        return True

    def make_room(self, chunk: int, chunks: int, first: int, count: int) -> None:
        """Have the file system set the room aside; ``lock`` is held.

        Disposable disks take their chance: room for all that might be written is more than there is."""

    # -- writing ------------------------------------------------------------------------------------------

    # Hot: once per first write of a sector.
    def publish(self, first: int, count: int) -> None:
        """Their data is in the page cache: set the sectors' bits, in the file first.  ``lock`` is held.

        Memory comes second: had the file refused, a later write would find the bit set, skip the file, and
        be lost with the process."""
        start, new = self.live.with_range(first, count)
        self._store(new, HEADER + start)
        self.live.put(start, new)

    def _store(self, new: bytes, offset: int) -> None:
        try:
            pwrite_all(self.live_fd, new, offset)
        except OSError as error:
            raise self.troubled(error) from error

    def write(self, first: int, data: Data, fua: bool = False) -> None:
        """Write sectors; may wait.  On return they survive the death of this process.

        More than that nobody promised for a disposable disk, so ``fua`` adds nothing."""
        self.write_cached(first, data)

    def flush(self) -> None:
        """Nothing to wait for: a disposable disk does not outlive the machine.  But an error that latched is
        told here too."""
        self.check()

    def write_cached(self, first: int, data: Data, flags: int = 0) -> None:
        count = len(data) >> SHIFT
        settled = self.settled(first, count)
        if not settled:
            with self.lock:
                self.charge(first, count)
        try:
            pwrite_all(self.data_fd, data, first << SHIFT, flags)
        except OSError as error:
            if flags:
                raise self.troubled(error, always=True) from error
            if settled and error.errno in _FULL:
                # The sectors have their room; that the file system fails all the same is a write error.
                raise OSError(errno.EIO, str(error)) from error
            raise self.troubled(error) from error
        if not settled:
            with self.lock:
                self.publish(first, count)

    # -- trimming -----------------------------------------------------------------------------------------

    def unmap(self, first: int, count: int) -> None:
        """Make sectors read as zeros and give their room back.  Bits are set, not cleared.

        The zeros are made even where no bit was set: a write that failed may have left bytes there."""
        punched = self._erase(first, count)
        size = self.chunk_sectors
        with self.lock:
            self.publish(first, count)
            if self.trimmed is None:
                self.trimmed = Bitmap(self.sectors)
            trimmed = self.trimmed
            start, new = trimmed.with_range(first, count)
            self._store(new, self._trimmed_at + start)
            trimmed.put(start, new)
            if not punched:
                return
            # A chunk of which every sector is trimmed by now goes back whole.  The lock is kept meanwhile: a
            # write into such a chunk takes the mark off its sectors first, and would be erased otherwise.
            for chunk in {first // size, (first + count - 1) // size}:
                begin = chunk * size
                length = min(size, self.sectors - begin)
                if trimmed.all_set(begin, length):
                    if begin < first or begin + length > first + count:
                        self._punch(begin, length)
                    self.charged_chunks -= self.charged.clear_range(chunk, 1)
            inner, end = first // size + 1, (first + count - 1) // size
            if inner < end:
                self.charged_chunks -= self.charged.clear_range(inner, end - inner)

    def _punch(self, first: int, count: int) -> None:
        try:
            kernel.punch(self.data_fd, first << SHIFT, count << SHIFT)
        except OSError as error:
            raise self.troubled(error) from error
        self.resized = True

    def _erase(self, first: int, count: int) -> bool:
        """Zero sectors; say whether their room went back to the file system."""
        if self._punch_works:
            try:
                self._punch(first, count)
                return True
            except OSError as error:
                if error.errno not in kernel.NOT_SUPPORTED:
                    raise
                self._punch_works = False
        # A file system without holes: write zeros where something may lie; what was never charged is a hole.
        size = self.chunk_sectors
        chunk, last = first // size, (first + count - 1) // size
        for charged, start, length in self.charged.runs(chunk, last - chunk + 1):
            if charged:
                begin = max(first, start * size)
                self._write_zeros(begin, min(first + count, (start + length) * size) - begin)
        return False

    def _write_zeros(self, first: int, count: int) -> None:
        offset, end = first << SHIFT, (first + count) << SHIFT
        while offset < end:
            size = min(len(_ZEROS), end - offset)
            try:
                pwrite_all(self.data_fd, _ZEROS[:size], offset)
            except OSError as error:
                raise self.troubled(error) from error
            offset += size


_ONE_IF_ANY = bytes([0] + [1] * 255)
_AS_DIGIT = bytes([0x30] + [0x31] * 255)
