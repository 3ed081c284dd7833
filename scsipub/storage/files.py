"""Handling the files of an overlay: whole reads and writes, owners, creation and removal.

Knows files, and the names and headers of ``layout``; keeps nothing."""

import contextlib
import fcntl
import os

from scsipub.storage import kernel
from scsipub.storage.base import BaseIdentity
from scsipub.storage.bitmap import Bitmap
from scsipub.storage.folder import DIRECT, Folder
from scsipub.storage.layout import (
    HEADER,
    Header,
    OverlayPaths,
    OverlayRefused,
    Part,
    bitmap_bytes,
    parse_file_name,
)

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
FRESH = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
OLD = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
# The same in words, for who may not open them and asks somebody who may.
WAYS = {"old": OLD, "new": NEW, "fresh": FRESH, "look": LOOK}
PIECE = 64 * 1024  # how much of a bitmap is read, written and counted at a time

Data = bytes | bytearray | memoryview


def pwrite_all(fd: int, data: Data, offset: int, flags: int = 0) -> None:
    """Write everything: the kernel may take less at a time, close to a full disk for example."""
    done = os.pwritev(fd, (data,), offset, flags)
    if done != len(data):
        view = memoryview(data)
        while done < len(view):
            done += os.pwritev(fd, (view[done:],), offset + done, flags)


def pread_all(fd: int, size: int, offset: int) -> bytes:
    """Read so many bytes; fewer only where the file ends."""
    pieces = []
    while size:
        piece = os.pread(fd, size, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def set_aside(fd: int, offset: int, length: int) -> None:
    """Have room for these bytes, where the file system can promise that."""
    try:
        kernel.reserve(fd, offset, length)
    except OSError as error:
        if error.errno not in kernel.NOT_SUPPORTED:
            raise


def own(fd: int) -> None:
    """Become the one owner of a data file, or raise BlockingIOError.

    The kernel lets go of the lock only when every thread of a dead owner is gone, so none of its writes can
    land after a new owner has begun."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_bits(fd: int, sectors: int, offset: int) -> Bitmap:
    """Read a bitmap from a file that is long enough."""
    bitmap = Bitmap(sectors)
    for start in range(0, len(bitmap.bits), PIECE):
        piece = pread_all(fd, min(PIECE, len(bitmap.bits) - start), offset + start)
        if piece.strip(b"\0"):
            bitmap.put(start, piece)
    return bitmap


def write_longer_map(paths: OverlayPaths, header: Header, bits: Bitmap) -> int:
    """The map of a disk that grows, beside the one in force; on the medium on return."""
    fd = paths.folder.open(paths.longer_map, FRESH)
    try:
        size = HEADER + bitmap_bytes(header.sectors)
        os.ftruncate(fd, size)
        # No hole: a flush must not find the file system full.  Nor zeros that are written: a long disk has
        # hundreds of MiB of them.
        set_aside(fd, 0, size)
        for start, piece in bits.pieces(PIECE):
            pwrite_all(fd, piece, HEADER + start)
        pwrite_all(fd, header.pack(Part.MAP), 0)
        os.fsync(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_longer_live(paths: OverlayPaths, header: Header, live: Bitmap, trimmed: Bitmap | None) -> int:
    """The live bitmaps of a disk that grows, beside those in force."""
    fd = paths.folder.open(paths.longer_live, FRESH)
    try:
        size = bitmap_bytes(header.sectors)
        os.ftruncate(fd, HEADER + 2 * size)
        for bitmap, at in ((live, HEADER), (trimmed, HEADER + size)):
            for start, piece in bitmap.pieces(PIECE) if bitmap is not None else ():
                pwrite_all(fd, piece, at + start)
        pwrite_all(fd, header.pack(Part.LIVE), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_live(
    paths: OverlayPaths, sectors: int, base: BaseIdentity, creation: bytes, bits: Bitmap | None = None
) -> int:
    """Make a .live file, its header last: without one it says nothing."""
    fd = paths.folder.open(paths.path(Part.LIVE), NEW)
    try:
        os.ftruncate(fd, HEADER + 2 * bitmap_bytes(sectors))
        for start, piece in bits.pieces(PIECE) if bits is not None else ():
            pwrite_all(fd, piece, HEADER + start)
        header = Header(sectors, base, creation, paths.boot, paths.owner, str(paths.id))
        pwrite_all(fd, header.pack(Part.LIVE), 0)
    except BaseException:
        paths.folder.unlink(paths.path(Part.LIVE))
        os.close(fd)
        raise
    return fd


def allocated(paths: OverlayPaths) -> int:
    """Bytes that the data takes on its file system; 0 when it is not there."""
    try:
        return os.stat(paths.path(Part.DATA)).st_blocks * 512
    except FileNotFoundError:
        return 0


def remove_files(paths: OverlayPaths) -> None:
    """Unlink whatever is there of an overlay: the bits first, for without them the data means nothing."""
    parts = (Part.LIVE, Part.MAP, Part.DATA, Part.FAILED)
    for path in (paths.longer_live, paths.longer_map, *map(paths.path, parts)):
        with contextlib.suppress(FileNotFoundError):
            paths.folder.unlink(path)


def remember_failure(paths: OverlayPaths, why: str) -> None:
    """Nobody opens this disk again until ``forget_failure``.  As good as can be: its medium is failing."""
    paths.folder.remember(paths.path(Part.FAILED), why)


def failure(path: str, folder: Folder = DIRECT) -> str | None:
    """What ``remember_failure`` wrote to this file; None when there is none."""
    try:
        fd = folder.open(path, LOOK)
    except FileNotFoundError:
        return None
    try:
        why = pread_all(fd, PIECE, 0).decode(errors="replace")
    finally:
        os.close(fd)
    return f"its medium has failed, and nobody has looked at it since: {why}"


def failures(directory: str) -> dict[str, str]:
    """All of them: by the owner that the overlay's id names."""
    found = {}
    for entry in os.scandir(directory):
        parsed = parse_file_name(entry.name)
        if parsed is not None and parsed[1] is Part.FAILED:
            why = failure(entry.path)
            if why is not None:
                found[parsed[0].owner] = why
    return found


def must_not_have_failed(paths: OverlayPaths) -> None:
    """Raises OverlayRefused with the words of ``remember_failure``."""
    why = failure(paths.path(Part.FAILED), paths.folder)
    if why is not None:
        raise OverlayRefused(why)


def forget_failure(paths: OverlayPaths) -> None:
    """An operator has looked, and what is there may be served."""
    with contextlib.suppress(FileNotFoundError):
        paths.folder.unlink(paths.path(Part.FAILED))
        paths.folder.sync(paths.directory)


def close_all(*fds: int) -> None:
    """Close what was opened; -1 was not."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)
