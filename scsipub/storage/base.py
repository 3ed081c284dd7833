"""Bases: what a disk shows where nobody has written yet.  Read-only, shared by all disks of a worker.

Knows files and sectors of 512 bytes.  Does not know overlays.  A base is opened ``O_RDONLY``, so that even a
bug of ours cannot change one: the kernel would say EBADF.

A file whose length is no multiple of 512 ends in a sector filled up with zeros, and whatever lies beyond
reads as zeros too."""

import os
from typing import Self

import attrs

from scsipub.storage.kernel import Residency, nowait_flags

SECTOR = 512
SHIFT = 9

_CLOSED = 0x7FFFFFFF  # no file has this number: EBADF for whoever comes too late, never zeros

_ZEROS = memoryview(bytes(1 << 20))


@attrs.frozen
class BaseIdentity:
    """What an overlay remembers of its base: over any other bytes it would be garbage."""

    sha256: bytes  # 32 bytes; zeros when the base has no recorded hash
    length: int  # bytes


def zero(into: memoryview) -> None:
    """Fill with zeros, a megabyte at a time."""
    size = len(into)
    if size <= len(_ZEROS):
        into[:] = _ZEROS[:size]
        return
    for offset in range(0, size, len(_ZEROS)):
        piece = into[offset : offset + len(_ZEROS)]
        piece[:] = _ZEROS[: len(piece)]


class Blank:
    """A base without a file: so many sectors of zeros, none of them mapped."""

    __slots__ = ("fd", "identity", "length", "mapped_sectors", "nowait", "sectors")

    def __init__(self, sectors: int) -> None:
        self.fd = -1
        self.nowait = 0
        self.sectors = sectors
        self.length = 0  # bytes that come from a file
        self.mapped_sectors = 0
        self.identity = BaseIdentity(bytes(32), sectors * SECTOR)

    def read(self, first: int, into: memoryview) -> None:
        zero(into)

    def resident_bytes(self, offset: int, length: int) -> bool:
        return False  # there is no file to send from

    def close(self) -> None:
        """Nothing to close."""


class Base:
    """An image file.  One per image and worker, closed when the last disk on it is gone."""

    __slots__ = ("_residency", "fd", "identity", "length", "mapped_sectors", "nowait", "path", "sectors")

    def __init__(self, fd: int, path: str, sha256: str = "") -> None:
        self.fd = fd
        self.nowait = nowait_flags(fd)
        self.path = path
        self.length = os.fstat(fd).st_size
        self.sectors = (self.length + SECTOR - 1) // SECTOR
        self.mapped_sectors = self.sectors
        self.identity = BaseIdentity(bytes.fromhex(sha256) if sha256 else bytes(32), self.length)
        self._residency: Residency | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], sha256: str = "") -> Self:
        """Open an image.  ``sha256`` is what its record says, in hex; it is not computed again here."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return cls(fd, os.fspath(path), sha256)

    def read(self, first: int, into: memoryview) -> None:
        """Fill ``into`` from sector ``first`` on; may wait.  Beyond the end there are zeros."""
        offset = first << SHIFT
        while into:
            got = os.preadv(self.fd, (into,), offset)
            if not got:
                zero(into)
                return
            into = into[got:]
            offset += got

    def resident_bytes(self, offset: int, length: int) -> bool:
        """Could these bytes be sent or read without waiting?  Not for several threads at once."""
        if self._residency is None:
            self._residency = Residency(self.fd, self.length)
        return self._residency.resident(offset, length)

    def close(self) -> None:
        if self._residency is not None:
            self._residency.close()
            self._residency = None
        if self.fd != _CLOSED:
            os.close(self.fd)
            self.fd = _CLOSED
