"""Overlays that last: what a flush promises, and how a disk comes back after the power failed.

On top of what ``overlay`` holds:

* the .map file has a bit only where the data is on the medium already, so that any state of it, torn or
  half written, is safe to start from;
* a flush first remembers which bits are set, then waits for the data, then writes those bits to the map and
  waits for the map: a write that lands meanwhile is not covered, and not harmed;
* a write with FUA waits for its own data and its own bits only;
* room is set aside in the file system before a sector is first written, so that an acknowledged write does
  not find it full afterwards;
* after a flush that failed nothing is served: the kernel may have dropped the pages, and a second flush
  would succeed without them.

After a death of the process the .live file is current, and all of it counts; after a death of the machine
only the map does.  What was trimmed is then held for written, with zeros in it, until it is trimmed again."""

import contextlib
import os
import threading
from typing import Self

from scsipub.storage.base import SECTOR, SHIFT, BaseIdentity
from scsipub.storage.bitmap import Bitmap
from scsipub.storage.files import (
    NEW,
    OLD,
    Data,
    close_all,
    create_live,
    must_not_have_failed,
    own,
    pread_all,
    pwrite_all,
    read_bits,
    remember_failure,
    remove_files,
    set_aside,
    write_longer_live,
    write_longer_map,
)
from scsipub.storage.layout import HEADER, PAGE, Header, OverlayPaths, OverlayRefused, Part, bitmap_bytes
from scsipub.storage.overlay import Overlay

# 64 KiB at a time is set aside and charged: fewer, larger extents than with 4 KiB.
CHUNK_SECTORS = 128
PAGE_SHIFT = 15  # a page of the map covers so many sectors, as a power of two


def create_durable(paths: OverlayPaths, sectors: int, base: BaseIdentity) -> None:
    """Make the files of a new disk.  On return they survive a power failure; only then may a row say so."""
    fds: list[int] = []
    try:
        fds.append(paths.folder.open(paths.path(Part.DATA), NEW))
        fds.append(paths.folder.open(paths.path(Part.MAP), NEW))
        data_fd, map_fd = fds
        os.ftruncate(data_fd, sectors * SECTOR)
        size = HEADER + bitmap_bytes(sectors)
        os.ftruncate(map_fd, size)
        set_aside(map_fd, 0, size)  # a flush must not find the file system full
        header = Header(sectors, base, os.urandom(16), paths.boot, paths.owner, str(paths.id))
        pwrite_all(map_fd, header.pack(Part.MAP), 0)
        # The map first: it has data.  The journal that is written for it takes the names and the other inode
        # along, and there is nothing left to do for the two that follow.
        os.fsync(map_fd)
        os.fsync(data_fd)
        paths.folder.sync(paths.directory)
    except BaseException:
        if fds:  # else the data file was there before: it is somebody's
            remove_files(paths)
        raise
    finally:
        close_all(*fds)


class DurableOverlay(Overlay):
    """An open overlay whose flushes mean something."""

    __slots__ = (
        "_arrived", "_committing", "_covered", "_dirty", "_flushing", "committed", "map_fd", "room",
    )  # fmt: skip

    def chunk(self) -> int:
        return CHUNK_SECTORS

    @classmethod
    def create(cls, paths: OverlayPaths, sectors: int, base: BaseIdentity, budget_bytes: int) -> Self:
        """Make the files and open them."""
        create_durable(paths, sectors, base)
        return cls.open(paths, sectors, base, budget_bytes)

    @classmethod
    def open(cls, paths: OverlayPaths, sectors: int, base: BaseIdentity, budget_bytes: int) -> Self:
        """Open what is there, or OverlayRefused; never make a fresh one in its place."""
        fds: list[int] = []
        try:
            for part in (Part.DATA, Part.MAP):
                try:
                    fds.append(paths.folder.open(paths.path(part), OLD))
                except FileNotFoundError:
                    raise OverlayRefused(f"{paths.id}.{part.value} is missing: the disk is offline") from None
                if part is Part.DATA:
                    own(fds[0])
            data_fd, map_fd = fds
            must_not_have_failed(paths)
            header = Header.unpack(pread_all(map_fd, HEADER, 0), Part.MAP)
            header.must_fit(Part.MAP, sectors, base, str(paths.id))
            for what, fd, size in (
                ("data", data_fd, sectors * SECTOR),
                ("map", map_fd, HEADER + bitmap_bytes(sectors)),
            ):
                if os.fstat(fd).st_size != size:
                    raise OverlayRefused(f".{what} has the wrong length")
            committed = read_bits(map_fd, sectors, HEADER)
            live_fd = _open_live(paths, header, committed)
            fds.append(live_fd)
            overlay = cls(paths, sectors, data_fd, live_fd, header.creation, budget_bytes)
            overlay._begin(map_fd, committed)
            return overlay
        except BaseException:
            close_all(*fds)
            raise

    def _begin(self, map_fd: int, committed: Bitmap) -> None:
        self.map_fd = map_fd
        self.committed = committed
        self.load_live()
        # Live is what either says; normally .live says it all.
        for start, bits in committed.pieces(PAGE):
            both = int.from_bytes(bits, "little") | int.from_bytes(self.bits[start : start + PAGE], "little")
            self.live.put(start, both.to_bytes(len(bits), "little"))
        if self.trimmed is None:
            self.trimmed = Bitmap(self.sectors)
        self.recount()
        self.room = Bitmap(self.charged.length)  # chunks known to be set aside, since it was opened
        self._dirty = {
            start // PAGE
            for start, bits in self.live.pieces(PAGE)
            if bits != committed.bits[start : start + PAGE]
        }
        self.resized = True  # whoever was here before may have punched
        self._committing = threading.Lock()  # of the map
        self._flushing = threading.Lock()
        self._arrived = self._covered = 0

    def close(self) -> None:
        super().close()
        close_all(self.map_fd)
        self.map_fd = -1

    def destroy(self) -> None:
        """Remove the files, for good; only then may the row go."""
        super().destroy()
        self.paths.folder.sync(self.paths.directory)

    def latched(self, error: OSError) -> None:
        """The next owner must not serve it either: page cache and medium may disagree until the next boot."""
        remember_failure(self.paths, str(error))

    # -- growing ------------------------------------------------------------------------------------------

    def grow(self, sectors: int, base: BaseIdentity) -> None:
        """Make the disk longer while it is in use; on return it is so on the medium.  May wait long.

        Reads and writes go on meanwhile, but for first writes and trims, which wait.  The order is that of
        ``grow``: the data file, then the map, with every bit that is set by then, then .live.  As no bit is
        set in between, a death at any step loses nothing: without a .live of the new length there is one in
        the map.  Raises OSError; then the disk is as long as before."""
        paths = self.paths
        self.flush()  # so that little is left to wait for while others wait for us
        with self._flushing, self.lock, self._committing:
            self.check()
            if sectors <= self.sectors:
                if sectors < self.sectors:
                    raise OverlayRefused(f"{self.paths.id} has {self.sectors} sectors: a disk never shrinks")
                return
            map_fd, live_fd = self._write_longer(sectors, base)
            try:
                paths.folder.replace(paths.path(Part.MAP), paths.longer_map)
                paths.folder.replace(paths.path(Part.LIVE), paths.longer_live)
                paths.folder.sync(paths.directory)
            except OSError as error:
                close_all(map_fd, live_fd)
                raise self.troubled(error, always=True) from error
            close_all(self.map_fd, self.live_fd)
            self.map_fd, self.live_fd = map_fd, live_fd
            self._take_longer(sectors)

    def _write_longer(self, sectors: int, base: BaseIdentity) -> tuple[int, int]:
        """The new files beside the old ones.  ``OSError``: there are none, and the data file is as it was."""
        paths, fds, before = self.paths, [], self.sectors * SECTOR
        header = Header(sectors, base, self.creation, paths.boot, paths.owner, str(paths.id))
        try:
            os.ftruncate(self.data_fd, sectors * SECTOR)
            try:
                os.fsync(self.data_fd)
            except OSError as error:
                raise self.troubled(error, always=True) from error
            fds.append(write_longer_map(paths, header, self.live))
            fds.append(write_longer_live(paths, header, self.live, self.trimmed))
        except OSError:
            close_all(*fds)
            for fresh in (paths.longer_map, paths.longer_live):
                with contextlib.suppress(OSError):
                    paths.folder.unlink(fresh)
            if self.failed is None:
                try:
                    os.ftruncate(self.data_fd, before)
                except OSError as error:
                    raise self.troubled(error, always=True) from error
            raise
        return fds[0], fds[1]

    def _take_longer(self, sectors: int) -> None:
        """In memory.  Whoever reads bits meanwhile sees the old ones or the new, which agree."""
        chunks = -(-sectors // self.chunk_sectors)
        partly, rest = divmod(self.sectors, self.chunk_sectors)
        self.sectors = sectors
        self._trimmed_at = HEADER + bitmap_bytes(sectors)
        if self.trimmed is not None:
            self.trimmed = self.trimmed.longer(sectors)
        self.charged = self.charged.longer(chunks)
        self.room = self.room.longer(chunks)
        if rest:  # of the last chunk there is room for what there was of it
            self.room.clear_range(partly, 1)
        self.committed = self.live.longer(sectors)
        self._take(self.live.longer(sectors))
        self._dirty.clear()
        self.resized = False

    # -- room ---------------------------------------------------------------------------------------------

    def settled(self, first: int, count: int) -> bool:
        if not super().settled(first, count):
            return False
        chunk = first // self.chunk_sectors
        return self.room.all_set(chunk, (first + count - 1) // self.chunk_sectors - chunk + 1)

    def charge_now(self, first: int, count: int) -> bool:
        chunk = first // self.chunk_sectors
        chunks = (first + count - 1) // self.chunk_sectors - chunk + 1
        trimmed = self.trimmed
        if not self.room.all_set(chunk, chunks) or (
            trimmed is not None and not trimmed.none_set(first, count)
        ):
            return False  # fallocate may wait for the journal
        return super().charge_now(first, count)

    def make_room(self, chunk: int, chunks: int, first: int, count: int) -> None:
        trimmed = self.trimmed
        if self.room.all_set(chunk, chunks) and (trimmed is None or trimmed.none_set(first, count)):
            return
        begin = chunk * self.chunk_sectors
        length = min(chunks * self.chunk_sectors, self.sectors - begin)
        try:
            set_aside(self.data_fd, begin << SHIFT, length << SHIFT)
        except OSError as error:
            raise self.troubled(error) from error
        self.room.put(*self.room.with_range(chunk, chunks))

    # -- making it last -----------------------------------------------------------------------------------

    def publish(self, first: int, count: int) -> None:
        super().publish(first, count)
        self._dirty.update(range(first >> PAGE_SHIFT, (first + count - 1 >> PAGE_SHIFT) + 1))

    def write(self, first: int, data: Data, fua: bool = False) -> None:
        """Write sectors; with ``fua`` they survive a power failure too."""
        self.write_cached(first, data, os.RWF_DSYNC if fua else 0)
        if fua:
            self._commit_range(first, len(data) >> SHIFT)

    def _commit_range(self, first: int, count: int) -> None:
        """The data of these sectors is on the medium: so be their bits.

        What counts is the map, not .live: a sector written before without FUA has its live bit already, and
        a power failure would forget it."""
        with self._committing:
            self.check()
            if self.committed.all_set(first, count):
                return
            start, new = self.committed.with_range(first, count)
            try:
                pwrite_all(self.map_fd, new, HEADER + start, os.RWF_DSYNC)
            except OSError as error:
                raise self.troubled(error, always=True) from error
            # Memory last: who finds the bit set relies on the medium having it.
            self.committed.put(start, new)

    def flush(self) -> None:
        """All that was acknowledged before this call survives a power failure.  May wait long.

        Calls that arrive while one is under way share the next."""
        with self.lock:
            self._arrived += 1
            ticket = self._arrived
        with self._flushing:
            self.check()
            if self._covered >= ticket:
                return
            with self.lock:
                covers = self._arrived
                dirty, self._dirty = self._dirty, set()
                snapshot = {page: bytes(self.bits[page * PAGE : (page + 1) * PAGE]) for page in sorted(dirty)}
                resized, self.resized = self.resized, False
            try:
                # A hole is a change of the file's map, which fdatasync need not wait for.
                (os.fsync if resized else os.fdatasync)(self.data_fd)
                self._commit_pages(snapshot)
            except OSError as error:
                raise self.troubled(error, always=True) from error
            self._covered = covers

    def _commit_pages(self, snapshot: dict[int, bytes]) -> None:
        with self._committing:
            changed = []
            for page, bits in snapshot.items():
                # From the committed bits, not the live ones: those may have grown since the data was synced.
                old = bytes(self.committed.bits[page * PAGE : (page + 1) * PAGE])
                new = int.from_bytes(old, "little") | int.from_bytes(bits, "little")
                raw = new.to_bytes(len(old), "little")
                if raw != old:
                    pwrite_all(self.map_fd, raw, HEADER + page * PAGE)
                    changed.append((page * PAGE, raw))
            if changed:
                os.fdatasync(self.map_fd)
                for start, raw in changed:
                    self.committed.put(start, raw)


def _open_live(paths: OverlayPaths, map_header: Header, committed: Bitmap) -> int:
    """Open .live if it is of this boot and this disk; else make one from the map."""
    fd = -1
    with contextlib.suppress(FileNotFoundError, OverlayRefused):
        fd = paths.folder.open(paths.path(Part.LIVE), OLD)
        header = Header.unpack(pread_all(fd, HEADER, 0), Part.LIVE)
        if (header.boot, header.creation) == (paths.boot, map_header.creation):
            header.must_fit(Part.LIVE, committed.length, map_header.base, str(paths.id))
            return fd
    close_all(fd)
    with contextlib.suppress(FileNotFoundError):
        paths.folder.unlink(paths.path(Part.LIVE))
    return create_live(paths, committed.length, map_header.base, map_header.creation, committed)
