"""The slow twin of scsipub/storage/bitmap.py: a set of numbers."""

from collections.abc import Iterator


class PlainBitmap:
    def __init__(self, length: int) -> None:
        self.length = length
        self.ones: set[int] = set()

    def all_set(self, first: int, count: int) -> bool:
        return all(n in self.ones for n in range(first, first + count))

    def none_set(self, first: int, count: int) -> bool:
        return not any(n in self.ones for n in range(first, first + count))

    def count(self, first: int, count: int) -> int:
        return sum(n in self.ones for n in range(first, first + count))

    def set_range(self, first: int, count: int) -> int:
        new = set(range(first, first + count)) - self.ones
        self.ones |= new
        return len(new)

    def clear_range(self, first: int, count: int) -> int:
        old = set(range(first, first + count)) & self.ones
        self.ones -= old
        return len(old)

    def runs(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        start = first
        for n in range(first, first + count):
            if n + 1 == first + count or (n + 1 in self.ones) != (n in self.ones):
                yield n in self.ones, start, n + 1 - start
                start = n + 1
