"""One bit per sector: which sectors are ours, and where the runs of equal bits begin and end.

Pure: no files, no locks, no sectors' contents.  Whoever shares a bitmap between threads brings the lock for
setting and clearing; reading needs none, because each byte changes in one step.

Bit ``n`` lies in byte ``n >> 3`` at ``n & 7``, lowest first, as the files of ``layout`` store it.  A whole
range is looked at as one big integer: shifting and masking one of those is quicker than any loop over bits,
and a megabyte of disk is only 256 bytes of it."""

import mmap
import re
from collections.abc import Iterator
from typing import Self

# How many bits are looked at in one step: a big integer of 4 KiB, so that a walk over a whole disk neither
# makes huge integers nor holds the interpreter for long.
WINDOW = 32 * 1024

# A bitmap of more bytes than this takes memory only where it was touched: a disk of a terabyte has 256 MiB of
# bits, and most of them are never looked at.
LAZY = 1 << 20
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # named since Python 3.13

_EQUAL = re.compile("0+|1+")


def runs_of(value: int, count: int) -> Iterator[tuple[bool, int, int]]:
    """Cut the lowest ``count`` bits of ``value`` into ``(bit, first, count)`` runs, lowest bit first."""
    if value == 0:
        yield False, 0, count
    elif value == (1 << count) - 1:
        yield True, 0, count
    else:
        # The extra top bit keeps leading zeros; it and the "0b" stay out of the reversed text.
        for run in _EQUAL.finditer(bin(value | 1 << count)[:2:-1]):
            start, end = run.span()
            yield run[0][0] == "1", start, end - start


def windows(first: int, count: int) -> Iterator[tuple[int, int]]:
    """Cut a range into pieces of at most ``WINDOW`` bits."""
    end = first + count
    while first < end:
        size = min(WINDOW, end - first)
        yield first, size
        first += size


def joined(runs: Iterator[tuple[bool, int, int]]) -> Iterator[tuple[bool, int, int]]:
    """Merge neighbouring runs of the same kind, as pieces of a longer walk leave them."""
    held: tuple[bool, int, int] | None = None
    for bit, first, count in runs:
        if held is not None and held[0] == bit:
            held = (bit, held[1], held[2] + count)
        else:
            if held is not None:
                yield held
            held = (bit, first, count)
    if held is not None:
        yield held


class LazyZeros(mmap.mmap):
    """As a bytearray of zeros, but pages come into being when they are written."""

    def __new__(cls, size: int) -> Self:
        return super().__new__(cls, -1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)

    def count(self, byte: int, start: int, end: int) -> int:
        return self[start:end].count(byte)


class Bitmap:
    """A fixed number of bits.  Ranges given to it lie inside; the caller has checked."""

    __slots__ = ("bits", "length")

    def __init__(self, length: int, bits: bytearray | None = None) -> None:
        self.length = length
        size = (length + 7) >> 3
        self.bits: bytearray | LazyZeros
        if bits is not None:
            self.bits = bits
        else:
            self.bits = LazyZeros(size) if size > LAZY else bytearray(size)
        if len(self.bits) != (length + 7) >> 3:
            raise ValueError(f"{len(self.bits)} bytes cannot be a bitmap of {length} bits")

    def longer(self, length: int) -> Self:
        """A copy with more bits, which are 0."""
        copy = type(self)(length)
        for start, piece in self.pieces(WINDOW):
            copy.put(start, piece)
        return copy

    def value(self, first: int, count: int) -> int:
        """The range as an integer, ``first`` in its lowest bit."""
        end = first + count
        number = int.from_bytes(self.bits[first >> 3 : (end + 7) >> 3], "little")
        return number >> (first & 7) & (1 << count) - 1

    # Hot: once per read and write.  The plain version is tests/reference/bitmap.py.
    def all_set(self, first: int, count: int) -> bool:
        """Is every bit of the range 1?"""
        if (first | count) & 7:
            return self.value(first, count) == (1 << count) - 1
        if count == 8:
            return self.bits[first >> 3] == 255
        return self.bits.count(255, first >> 3, (first + count) >> 3) == count >> 3

    # Hot: once per read and write of a disk that has been written to.
    def none_set(self, first: int, count: int) -> bool:
        """Is every bit of the range 0?"""
        if (first | count) & 7:
            return self.value(first, count) == 0
        if count == 8:
            return not self.bits[first >> 3]
        return self.bits.count(0, first >> 3, (first + count) >> 3) == count >> 3

    def count(self, first: int = 0, count: int | None = None) -> int:
        """How many bits of the range are 1?"""
        if count is None:
            count = self.length - first
        return sum(self.value(start, size).bit_count() for start, size in windows(first, count))

    def with_range(self, first: int, count: int) -> tuple[int, bytes]:
        """Which byte the range starts in, and what its bytes will be once the range is set."""
        start, end = first >> 3, (first + count + 7) >> 3
        if (first | count) & 7:
            mask = (1 << count) - 1 << (first & 7)
            number = int.from_bytes(self.bits[start:end], "little") | mask
            return start, number.to_bytes(end - start, "little")
        return start, b"\xff" * (end - start)

    def without_range(self, first: int, count: int) -> tuple[int, bytes]:
        """The same, once the range is cleared."""
        start, end = first >> 3, (first + count + 7) >> 3
        mask = (1 << count) - 1 << (first & 7)
        number = int.from_bytes(self.bits[start:end], "little")
        return start, (number & ~mask).to_bytes(end - start, "little")

    def put(self, start: int, new: bytes) -> None:
        """Store bytes that ``with_range`` or ``without_range`` gave; one step for whoever reads meanwhile."""
        self.bits[start : start + len(new)] = new

    def set_range(self, first: int, count: int) -> int:
        """Set a range; say how many of its bits were 0 before."""
        new = count - self.count(first, count)
        if new:
            self.put(*self.with_range(first, count))
        return new

    def clear_range(self, first: int, count: int) -> int:
        """Clear a range; say how many of its bits were 1 before."""
        old = self.count(first, count)
        if old:
            self.put(*self.without_range(first, count))
        return old

    def pieces(self, size: int) -> Iterator[tuple[int, bytes]]:
        """Cut the bytes into pieces of ``size`` and yield those that are not all zeros, with their place."""
        bits = self.bits
        for start in range(0, len(bits), size):
            end = min(start + size, len(bits))
            if bits.count(0, start, end) != end - start:
                yield start, bytes(bits[start:end])

    def runs(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        """Yield ``(bit, first, count)`` covering the range without gaps, neighbours always differing."""
        return joined(self._pieces(first, count))

    def _pieces(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        for start, size in windows(first, count):
            for bit, offset, length in runs_of(self.value(start, size), size):
                yield bit, start + offset, length
