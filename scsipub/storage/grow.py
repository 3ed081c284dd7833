"""A disk that lasts gets longer, while nobody has it open.  ``DurableOverlay.grow`` does it to one in use.

Any step may be the last one before a crash; doing it again finishes it, whoever began:

1. everything acknowledged goes to the medium;
2. the data file gets longer: what is added reads as zeros, and no bit says that it was written;
3. a new map, with every bit of the old one and of .live, and the new length in its header, takes the old
   one's name;
4. the .live file, which has the old length, goes; opening makes one from the map.

Between 2 and 3 the lengths disagree and nobody can open the disk.  Then .live may have bits that the map has
not: a disk in use goes on being written to until the map changes."""

import contextlib
import os

from scsipub.storage.base import SECTOR, BaseIdentity
from scsipub.storage.bitmap import Bitmap
from scsipub.storage.durable import DurableOverlay
from scsipub.storage.files import (
    OLD,
    PIECE,
    close_all,
    must_not_have_failed,
    own,
    pread_all,
    read_bits,
    write_longer_map,
)
from scsipub.storage.folder import sync_directory
from scsipub.storage.layout import HEADER, Header, OverlayPaths, OverlayRefused, Part

_NO_BUDGET = 1 << 62


def grow_durable(paths: OverlayPaths, sectors: int, base: BaseIdentity) -> bool:
    """Make the disk ``sectors`` long; ``base`` is what it stands on then.  False: it is so long already.

    Raises OverlayRefused when files are missing or damaged, BlockingIOError while somebody has it open."""
    header = _header(paths)
    if header.sectors > sectors:
        raise OverlayRefused(f"{paths.id} has {header.sectors} sectors: a disk never shrinks")
    if header.sectors == sectors:
        return False
    must_not_have_failed(paths)
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
    fds = [os.open(paths.path(Part.DATA), OLD)]
    try:
        own(fds[0])
        if os.fstat(fds[0]).st_size < header.sectors * SECTOR:
            raise OverlayRefused(".data is shorter than the disk")
        bits = _acknowledged(paths, header)
        os.ftruncate(fds[0], sectors * SECTOR)
        os.fsync(fds[0])
        longer = Header(sectors, base, header.creation, header.boot, header.owner, header.name)
        fds.append(write_longer_map(paths, longer, bits))
        os.replace(paths.longer_map, paths.path(Part.MAP))
        for gone in (paths.path(Part.LIVE), paths.longer_live):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(gone)
        sync_directory(paths.directory)
    finally:
        close_all(*fds)


def _acknowledged(paths: OverlayPaths, header: Header) -> Bitmap:
    """The bits of the map, and those of .live if the machine still runs that wrote them."""
    with open(paths.path(Part.MAP), "rb", buffering=0) as file:
        bits = read_bits(file.fileno(), header.sectors, HEADER)
    with contextlib.suppress(FileNotFoundError, OverlayRefused), open(paths.path(Part.LIVE), "rb", 0) as file:
        live = Header.unpack(pread_all(file.fileno(), HEADER, 0), Part.LIVE)
        if (live.boot, live.creation, live.sectors) == (paths.boot, header.creation, header.sectors):
            for start, piece in read_bits(file.fileno(), header.sectors, HEADER).pieces(PIECE):
                both = int.from_bytes(piece, "little") | int.from_bytes(
                    bits.bits[start : start + len(piece)], "little"
                )
                bits.put(start, both.to_bytes(len(piece), "little"))
    return bits
