"""A medium in memory: the obvious version of what the storage does, and it can be made to fail."""

from collections import deque
from collections.abc import Iterator

import attrs

from scsipub.scsi.medium import Data


@attrs.define(eq=False, slots=False)
class MemoryMedium:
    """Blocks are bytes in a dict; what is not there reads as zeros and is not mapped."""

    blocks: int = 1024
    block_size: int = 512
    flushes: int = 0
    writes: int = 0
    next_errors: deque[int] = attrs.field(factory=deque)  # an errno per call to come, 0: let it pass
    _content: dict[int, bytes] = attrs.field(factory=dict)

    def read(self, first: int, count: int) -> bytes:
        self._enter(first, count)
        nothing = bytes(self.block_size)
        return b"".join(self._content.get(block, nothing) for block in range(first, first + count))

    def write(self, first: int, data: Data, *, fua: bool = False) -> None:
        count, rest = divmod(len(data), self.block_size)
        if rest:
            raise ValueError("not whole blocks")
        self._enter(first, count)
        self.writes += 1
        for index in range(count):
            at = index * self.block_size
            self._content[first + index] = bytes(data[at : at + self.block_size])
        if fua:
            self.flushes += 1

    def write_same(self, first: int, count: int, block: bytes) -> None:
        self._enter(first, count)
        for index in range(first, first + count):
            self._content[index] = bytes(block)

    def unmap(self, first: int, count: int) -> None:
        self._enter(first, count)
        if count > len(self._content):
            for index in [block for block in self._content if first <= block < first + count]:
                del self._content[index]
        else:
            for index in range(first, first + count):
                self._content.pop(index, None)

    def flush(self) -> None:
        self._enter(0, 0)
        self.flushes += 1

    def mapped_runs(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        self._enter(first, count)
        start = first
        for block in range(first, first + count):
            if (block in self._content) != (start in self._content):
                yield start in self._content, start, block - start
                start = block
        if count:
            yield start in self._content, start, first + count - start

    def _enter(self, first: int, count: int) -> None:
        if first < 0 or count < 0 or first + count > self.blocks:
            raise ValueError(f"{count} blocks at {first} of {self.blocks}: the range was not checked")
        if self.next_errors:
            number = self.next_errors.popleft()
            if number:
                raise OSError(number, "injected")
