"""A disk in memory with dials: what is cached, what fails, what was asked of it.

The obvious version of ``storage.disk.Disk`` as far as a target uses one.  The real one serves in the tests
where files matter."""

from collections import deque
from collections.abc import Iterator

import attrs

SECTOR = 512


@attrs.define(eq=False, slots=False)
class MemoryDisk:
    """Sectors of 512 bytes in one bytearray."""

    sectors: int
    content: bytearray = attrs.field(init=False)
    mapped: set[int] = attrs.field(factory=set)
    cached: bool = True  # False: ``read_now`` has to go to a thread
    settled: bool = True  # False: ``write_now`` has to go to a thread
    next_errors: deque[int] = attrs.field(factory=deque)  # an errno per blocking call to come; 0 lets it pass
    calls: list[tuple[str, int, int]] = attrs.field(factory=list)  # (what, first, count)

    def __attrs_post_init__(self) -> None:
        self.content = bytearray(self.sectors * SECTOR)

    def read_now(self, first: int, count: int, into: memoryview) -> bool:
        if not self.cached:
            return False
        self._copy(first, count, into)
        return True

    def read(self, first: int, count: int, into: memoryview) -> None:
        self._enter("read", first, count)
        self._copy(first, count, into)

    def write_now(self, first: int, data: bytes | memoryview) -> bool:
        if not self.settled:
            return False
        self._store(first, data)
        return True

    def write(self, first: int, data: bytes | memoryview, fua: bool = False) -> None:
        self._enter("write", first, len(data) // SECTOR)
        self._store(first, data)

    def write_same(self, first: int, count: int, block: bytes) -> None:
        self._enter("write_same", first, count)
        self._store(first, bytes(block) * (count * SECTOR // len(block)))

    def unmap(self, first: int, count: int) -> None:
        self._enter("unmap", first, count)
        self.content[first * SECTOR : (first + count) * SECTOR] = bytes(count * SECTOR)
        self.mapped -= set(range(first, first + count))

    def flush(self) -> None:
        self._enter("flush", 0, 0)

    def mapped_runs(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        start = first
        for sector in range(first, first + count):
            if (sector in self.mapped) != (start in self.mapped):
                yield start in self.mapped, start, sector - start
                start = sector
        if count:
            yield start in self.mapped, start, first + count - start

    def close(self) -> None: ...

    def _copy(self, first: int, count: int, into: memoryview) -> None:
        self._check(first, count)
        into[: count * SECTOR] = self.content[first * SECTOR : (first + count) * SECTOR]

    def _store(self, first: int, data: bytes | memoryview) -> None:
        count, rest = divmod(len(data), SECTOR)
        if rest:
            raise ValueError(f"{len(data)} bytes are not whole sectors")
        self._check(first, count)
        self.content[first * SECTOR : first * SECTOR + len(data)] = data
        self.mapped |= set(range(first, first + count))

    def _check(self, first: int, count: int) -> None:
        if first < 0 or first + count > self.sectors:
            raise ValueError(f"sectors {first}+{count} of {self.sectors}: the range was not checked")

    def _enter(self, what: str, first: int, count: int) -> None:
        self._check(first, count)
        self.calls.append((what, first, count))
        if self.next_errors:
            number = self.next_errors.popleft()
            if number:
                raise OSError(number, "injected")
