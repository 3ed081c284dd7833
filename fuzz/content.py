"""What must lie on a disk, as far as one can know it from outside.

Sectors of 512 bytes.  A sector is known, or it is one of a few candidates (a write was aborted, or two
met), or anything (a command whose outcome we do not model).  Reading settles a doubt, when nothing was
under way."""

from collections.abc import Iterable

SECTOR = 512
KNOWN, DOUBTFUL, WILD = 0, 1, 2


class Content:
    """The model of one disk.  ``epoch`` moves with every change: a read that spans one proves less."""

    __slots__ = ("candidates", "data", "epoch", "puts", "sectors", "state")

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.sectors = len(data) // SECTOR
        self.state = bytearray(self.sectors)
        self.candidates: dict[int, set[bytes]] = {}
        self.epoch = 0
        self.puts = 0  # writes that ended, well or not

    def put(self, first: int, data: bytes) -> None:
        """Written for certain."""
        count = len(data) // SECTOR
        self.epoch += 1
        self.puts += 1
        self.data[first * SECTOR : first * SECTOR + len(data)] = data
        if self.state.count(0, first, first + count) != count:
            self._settle(first, count)

    def perhaps(self, first: int, data: bytes) -> None:
        """Written, or not, sector by sector."""
        self.epoch += 1
        for sector in range(first, min(first + len(data) // SECTOR, self.sectors)):
            if self.state[sector] == WILD:
                continue
            at = (sector - first) * SECTOR
            old = bytes(self.data[sector * SECTOR : sector * SECTOR + SECTOR])
            new = data[at : at + SECTOR]
            if self.state[sector] == KNOWN and old == new:
                continue
            self.state[sector] = DOUBTFUL
            self.candidates.setdefault(sector, {old}).add(new)

    def forget(self, first: int, count: int) -> None:
        """Anything may be there now."""
        self.epoch += 1
        for sector in range(first, min(first + count, self.sectors)):
            self.state[sector] = WILD
            self.candidates.pop(sector, None)

    def complaint(self, first: int, data: bytes, *, epoch: int, settle: bool = True) -> str:
        """Why this cannot be what was read; empty when it can.

        ``epoch``: when the read was sent.  ``settle``: nobody is writing, so what was read stays."""
        count = len(data) // SECTOR
        if self.state.count(0, first, first + count) == count:
            if data == self.data[first * SECTOR : first * SECTOR + len(data)]:
                return ""
            return "" if epoch != self.epoch else self._first_wrong(first, data)
        if epoch != self.epoch:
            return ""
        wrong = self._first_wrong(first, data)
        if not wrong and settle:
            self.data[first * SECTOR : first * SECTOR + len(data)] = data
            self._settle(first, count)
        return wrong

    def _first_wrong(self, first: int, data: bytes) -> str:
        if data == self.data[first * SECTOR : first * SECTOR + len(data)]:
            # What is held to be there is always one of the candidates, unless all of them are known.
            return ""
        for index in range(len(data) // SECTOR):
            sector = first + index
            got = data[index * SECTOR : index * SECTOR + SECTOR]
            if self.state[sector] == WILD or got in self.candidates.get(sector, ()):
                continue
            want = self.data[sector * SECTOR : sector * SECTOR + SECTOR]
            if self.state[sector] == DOUBTFUL or got != want:
                return f"sector {sector}: {got[:16].hex()} instead of {bytes(want[:16]).hex()}"
        return ""

    def _settle(self, first: int, count: int) -> None:
        self.state[first : first + count] = bytes(count)
        if self.candidates:
            for sector in range(first, first + count):
                self.candidates.pop(sector, None)

    def known(self, first: int, count: int) -> bool:
        """Is there no doubt about any of these?"""
        return self.state.count(0, first, first + count) == count

    def forget_all(self, ranges: Iterable[tuple[int, int]]) -> None:
        for first, count in ranges:
            self.forget(first, count)
