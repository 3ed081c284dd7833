"""The slow twin of scsipub/storage/disk.py: sectors are entries of a dictionary, and nothing is a file."""

import errno
from collections.abc import Iterator

SECTOR = 512
CHUNK = 8  # sectors in a unit of the budget


class PlainDisk:
    def __init__(self, base: bytes, sectors: int, budget_bytes: int, base_mapped: bool = True) -> None:
        self.base = base.ljust(sectors * SECTOR, b"\0")[: sectors * SECTOR]
        self.base_sectors = -(-len(base) // SECTOR) if base_mapped else 0
        self.sectors = sectors
        self.budget = budget_bytes // (CHUNK * SECTOR)
        self.written: dict[int, bytes] = {}
        self.trimmed: set[int] = set()
        self.charged: set[int] = set()
        self.has_overlay = False

    def sector(self, n: int) -> bytes:
        if n in self.trimmed:
            return bytes(SECTOR)
        return self.written.get(n, self.base[n * SECTOR : (n + 1) * SECTOR])

    def read(self, first: int, count: int) -> bytes:
        return b"".join(self.sector(n) for n in range(first, first + count))

    def write(self, first: int, data: bytes) -> None:
        self.has_overlay = True
        touched = range(first, first + len(data) // SECTOR)
        chunks = {n // CHUNK for n in touched} | self.charged
        if len(chunks) > self.budget and chunks != self.charged:
            raise OSError(errno.ENOSPC, "budget")
        self.charged = chunks
        for n in touched:
            self.written[n] = data[(n - first) * SECTOR : (n - first + 1) * SECTOR]
            self.trimmed.discard(n)

    def unmap(self, first: int, count: int) -> None:
        if not self.has_overlay and not self.base_sectors:
            return  # zeros over zeros leave no trace
        self.has_overlay = True
        self.trimmed |= set(range(first, first + count))
        for chunk in list(self.charged):
            if set(range(chunk * CHUNK, min((chunk + 1) * CHUNK, self.sectors))) <= self.trimmed:
                self.charged.discard(chunk)

    def reopen(self) -> None:
        """A new owner counts what holds data, and forgives chunks that hold only zeros by now."""
        self.charged = {n // CHUNK for n in self.written if n not in self.trimmed}

    @property
    def allocated_bytes(self) -> int:
        return len(self.charged) * CHUNK * SECTOR

    def mapped(self, n: int) -> bool:
        return n not in self.trimmed and (n in self.written or n < self.base_sectors)

    def mapped_runs(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        start = first
        for n in range(first, first + count):
            if n + 1 == first + count or self.mapped(n + 1) != self.mapped(n):
                yield self.mapped(n), start, n + 1 - start
                start = n + 1
