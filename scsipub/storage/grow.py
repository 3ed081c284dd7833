"""A disk that lasts gets longer, while nobody has it open.

Any step may be the last one before a crash; doing it again finishes it:

1. everything acknowledged goes to the medium, so that the map says it all;
2. the data file gets longer: what is added reads as zeros, and no bit says that it was written;
3. a new map, with the old bits and the new length in its header, takes the old one's name;
4. the .live file, which has the old length, goes; opening makes one from the map.

Between 2 and 3 the lengths disagree and nobody can open the disk; that is what tells that 1 was done."""

import contextlib
import os

from scsipub.storage.base import SECTOR, BaseIdentity
from scsipub.storage.durable import DurableOverlay
from scsipub.storage.files import OLD, close_all, own, pread_all, pwrite_all, sync_directory
from scsipub.storage.layout import HEADER, Header, OverlayPaths, OverlayRefused, Part, bitmap_bytes

_FRESH = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_BUDGET = 1 << 62


def grow_durable(paths: OverlayPaths, sectors: int, base: BaseIdentity) -> bool:
    """Make the disk ``sectors`` long; ``base`` is what it stands on then.  False: it is so long already.

    Raises OverlayRefused when files are missing or damaged, BlockingIOError while somebody has it open."""
    header = _header(paths)
    if header.sectors > sectors:
        raise OverlayRefused(f"{paths.id} has {header.sectors} sectors: a disk never shrinks")
    if header.sectors == sectors:
        return False
    if os.stat(paths.path(Part.DATA)).st_size == header.sectors * SECTOR:
        overlay = DurableOverlay.open(paths, header.sectors, header.base, _NO_BUDGET)
        try:
            overlay.flush()
        finally:
            overlay.close()
    _lengthen(paths, header, sectors, base)
    return True


def _header(paths: OverlayPaths) -> Header:
    try:
        fd = os.open(paths.path(Part.MAP), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise OverlayRefused(f"{paths.id}.map is missing") from None
    try:
        return Header.unpack(pread_all(fd, HEADER, 0), Part.MAP)
    finally:
        close_all(fd)


def _lengthen(paths: OverlayPaths, header: Header, sectors: int, base: BaseIdentity) -> None:
    fresh = paths.longer_map
    fds = [os.open(paths.path(Part.DATA), OLD)]
    try:
        own(fds[0])
        fds.append(os.open(paths.path(Part.MAP), OLD))
        bits = pread_all(fds[1], bitmap_bytes(header.sectors), HEADER)
        os.ftruncate(fds[0], sectors * SECTOR)
        os.fsync(fds[0])
        fds.append(os.open(fresh, _FRESH, 0o600))
        longer = Header(sectors, base, header.creation, header.boot, header.owner, header.name)
        # Written, not left as a hole: a flush must not find the file system full.
        pwrite_all(fds[2], bits.ljust(bitmap_bytes(sectors), b"\0"), HEADER)
        pwrite_all(fds[2], longer.pack(Part.MAP), 0)
        os.fsync(fds[2])
        os.replace(fresh, paths.path(Part.MAP))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(paths.path(Part.LIVE))
        sync_directory(paths.directory)
    finally:
        close_all(*fds)
