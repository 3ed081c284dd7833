"""The file an image comes in, read strictly: what is not in it is not made up.

Knows one descriptor that can be read anywhere.  Every byte of it was written by a stranger."""

import array
import os
import sys
from collections.abc import Iterator
from typing import Protocol

import attrs

from scsipub.errors import OperatorError

PIECE = 1 << 20  # the most that is handed on at once, but for whole clusters of 2 MiB


class Disk(Protocol):
    """What a format makes of a file.  ``pieces`` come in order; between them there are zeros."""

    size: int

    def pieces(self) -> Iterator[tuple[int, bytes]]: ...


def refused(why: str, do: str = "") -> OperatorError:
    """This file is not taken, and why."""
    return OperatorError(
        why, do or "Make a raw image of it where you trust it: qemu-img convert -O raw IN OUT."
    )


def truncated() -> OperatorError:
    return refused("The file ends in the middle of the image.", "Fetch it again; it is incomplete.")


@attrs.frozen
class File:
    """A file and its length, as it was when it was opened."""

    fd: int
    size: int

    @classmethod
    def of(cls, fd: int) -> "File":
        # fstat(3) may be a call that takes a path, and those are not to be had where this runs.
        return cls(fd, os.lseek(fd, 0, os.SEEK_END))

    def at(self, offset: int, size: int) -> bytes:
        """Exactly these bytes, or OperatorError."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise truncated()
        data = os.pread(self.fd, size, offset)
        while len(data) < size:
            more = os.pread(self.fd, size - len(data), offset + len(data))
            if not more:
                raise truncated()  # it has become shorter meanwhile
            data += more
        return data

    def numbers(self, offset: int, count: int, width: int = 8, order: str = "big") -> "array.array[int]":
        """A table of unsigned numbers, ``width`` bytes each."""
        table = array.array("Q" if width == 8 else "I")
        table.frombytes(self.at(offset, count * width))
        if order != sys.byteorder:
            table.byteswap()
        return table


def in_pieces(file: File, runs: Iterator[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
    """Read ``(offset in the image, offset in the file, bytes)``, neighbours together, ``PIECE`` at a time."""
    where = start = length = 0
    for guest, host, size in runs:
        if length and guest == where + length and host == start + length and length + size <= PIECE:
            length += size
            continue
        if length:
            yield where, file.at(start, length)
        where, start, length = guest, host, size
    if length:
        yield where, file.at(start, length)
