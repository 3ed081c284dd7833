"""What a logical unit asks of the blocks beneath it, and nothing more.

The seam between the command set and the storage: units are logical blocks (never sectors, never bytes), and
every method may block, so a caller runs them where blocking is allowed.  A failure is an ``OSError``; it
becomes sense data in one place, ``scsi.sense.sense_for_oserror``."""

from collections.abc import Iterator
from typing import Protocol

Data = bytes | bytearray | memoryview


class Medium(Protocol):
    """A run of logical blocks.  Ranges are checked before they get here."""

    @property
    def block_size(self) -> int: ...

    @property
    def blocks(self) -> int: ...

    def read(self, first: int, count: int) -> Data: ...

    def write(self, first: int, data: Data, *, fua: bool = False) -> None: ...

    def write_same(self, first: int, count: int, block: bytes) -> None: ...

    def unmap(self, first: int, count: int) -> None: ...

    def flush(self) -> None: ...

    def mapped_runs(self, first: int, count: int) -> Iterator[tuple[bool, int, int]]:
        """Cover the range without gaps with ``(mapped, first, count)``."""
        ...
