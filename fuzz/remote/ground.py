"""What is known of a unit far away: its bytes, as far as they were written or looked at by us.

Source: ``fuzz.content`` and ``fuzz.effects``, the same second opinion as in process.  Far away nobody knows
when a thread came back, so commands that overlapped in time prove nothing about one another."""

import attrs

from fuzz import effects
from fuzz.content import SECTOR, Content
from fuzz.effects import Disk
from fuzz.hearing import Task

WHOLE = (0, 1 << 62)
# WRITE SAME, UNMAP, SANITIZE, EXTENDED COPY, FORMAT UNIT: what lies there afterwards is the target's affair.
UNPREDICTABLE = {0x42, 0x48, 0x83, 0x04, 0x8B}
CHANGERS = (effects.MOVERS - effects.VERIFIES) | UNPREDICTABLE
HAUNTING = 2.0  # seconds in which an abandoned write may still reach the disk
CANARY = b"\xc3witness\x3c"


@attrs.define(eq=False)
class FarTask(Task):
    """A command that is under way at a target far away."""

    clean: bool = True  # said as the standard wants it
    mixed: bool = False  # something else touched the same blocks meanwhile
    when: float = 0.0
    simple: bool = True  # its task attribute; others stop what comes behind them


@attrs.define(eq=False)
class FarDisk(Disk):
    """The modelled part of a unit: its first ``content.sectors``.  ``capacity`` is in blocks."""

    capacity: int = 0
    running: list[FarTask] = attrs.field(factory=list)
    haunted: list[tuple[float, int, int]] = attrs.field(factory=list)  # (until, first sector, end)
    ghosts: list[FarTask] = attrs.field(factory=list)  # given up in a session that goes on: any time now
    unsure: bool = False  # somebody has to look at all of it again
    disturbed: bool = False  # modes, reservations or the medium may not be what they were

    @property
    def blocks(self) -> int:
        return self.capacity

    def sectors_of(self, cdb: bytes) -> tuple[int, int]:
        """First sector and the one behind the last that a command may touch."""
        if cdb[0] in effects.READS or (cdb[0] in effects.MOVERS and cdb[0] not in UNPREDICTABLE):
            first, count = effects.extent(cdb)
            if cdb[0] in effects.SAMES and not count:
                return WHOLE
            return first << self.shift, first + max(1, count) << self.shift
        return WHOLE if cdb[0] in CHANGERS else (0, 0)

    def begin(self, task: FarTask, now: float) -> None:
        """A command that reads or writes has been sent."""
        low, high = self.sectors_of(task.cdb)
        if low == high:
            return
        self.haunted = [one for one in self.haunted if one[0] > now]
        ghosts = [self.sectors_of(ghost.cdb) for ghost in self.ghosts]
        task.mixed = any(a < high and low < b for a, b in [*(one[1:] for one in self.haunted), *ghosts])
        writes = task.cdb[0] in CHANGERS
        for other in self.running:
            a, b = self.sectors_of(other.cdb)
            if a < high and low < b and (writes or other.cdb[0] in CHANGERS):
                other.mixed = task.mixed = True
        self.running.append(task)

    def end(self, task: FarTask, now: float, *, well: bool | None) -> None:
        """It is over: well, not well, or (None) nobody knows."""
        if task not in self.running:
            return
        self.running.remove(task)
        if task.cdb[0] not in CHANGERS:
            return
        low, high = self.sectors_of(task.cdb)
        low, high = min(low, self.content.sectors), min(high, self.content.sectors)
        if well is None:
            self.ghosts.append(task)
            for other in self.running:
                a, b = self.sectors_of(other.cdb)
                other.mixed |= a < high and low < b
        simple = task.cdb[0] not in UNPREDICTABLE and not (task.cdb[0] in effects.SAMES and task.cdb[1] & 8)
        if well and task.clean and simple and not task.mixed:
            for first, data in effects.changes(self, task.cdb, bytes(task.data)):
                self._put(first, data)
        else:
            self.content.forget(low, high - low)

    def laid(self, tasks: list[FarTask], now: float) -> None:
        """The session of these is over, so it is not long until none of them can come any more."""
        for task in tasks:
            if task in self.ghosts:
                self.ghosts.remove(task)
                low, high = self.sectors_of(task.cdb)
                low, high = min(low, self.content.sectors), min(high, self.content.sectors)
                self.haunted.append((now + HAUNTING, low, high))
                self.content.forget(low, high - low)

    def _put(self, first: int, data: bytes) -> None:
        room = max(0, self.content.sectors - first) * SECTOR
        if len(data) % SECTOR:
            self.content.forget(first, -(-len(data) // SECTOR))
        elif data[:room]:
            self.content.put(first, data[:room])

    def complaint(self, first: int, data: bytes) -> str:
        """Why these sectors cannot be what was read."""
        room = max(0, self.content.sectors - first) * SECTOR
        data = data[: len(data) // SECTOR * SECTOR][:room]
        return self.content.complaint(first, data, epoch=self.content.epoch) if data else ""


def fresh(data: bytes, block_size: int, capacity: int) -> FarDisk:
    """A unit whose first bytes are these."""
    return FarDisk(Content(data), (block_size // SECTOR).bit_length() - 1, capacity=capacity)


def successor(before: FarDisk, now: FarDisk, when: float) -> FarDisk:
    """``now`` has just been read: but where a write was given up shortly before, it may still come."""
    now.haunted = [one for one in before.haunted if one[0] > when]
    now.ghosts = list(before.ghosts)
    for low, high in [
        *(one[1:] for one in now.haunted),
        *(now.sectors_of(ghost.cdb) for ghost in now.ghosts),
    ]:
        low, high = min(low, now.content.sectors), min(high, now.content.sectors)
        now.content.forget(low, high - low)
    return now
