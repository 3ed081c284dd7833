"""The keeper: what commands that ended have made of the disks, and what reads must therefore show.

Source: SBC-3 §5, SAM-5 §7 (what is left of an aborted task).  ``effects`` knows what a command does,
``content`` what lies there as far as one can know; this joins them with who is still writing.  Raises
``Find``."""

from collections.abc import Callable

from fuzz import effects
from fuzz.content import Content
from fuzz.effects import Disk
from fuzz.find import Find
from fuzz.guard import Guard
from fuzz.hearing import MANAGED, Facts, Task
from fuzz.steps import command_name

# What lies on a disk at this moment; None when somebody else may still change it.
Peek = Callable[[Disk, int, int], bytes | None]


class Keeper(Guard):
    """Hears how tasks end, as far as disks are concerned."""

    def __init__(self, facts: Facts, disks: dict[int, Disk]) -> None:
        super().__init__(facts, disks)
        self.peek: Peek | None = None

    def _spread_doubts(self) -> None:
        """Data has come for tasks that go on: some of it may be there by now."""
        for task in self.doubts:
            if self.tasks.get(task.tag) is task:
                self._doubt(task)
        self.doubts.clear()

    def _went_well(self, task: Task) -> None:
        if task.spoiled:
            raise Find("mistake overlooked", f"{task.spoiled}: {command_name(task.cdb)} ended GOOD")
        disk, opcode = task.disk, task.cdb[0]
        if disk is None:
            return
        if opcode in effects.READS:
            self._read_well(task, disk)
            return
        if opcode in effects.WILD:
            self._anything(disk, opcode)
            return
        moving = opcode in effects.MOVERS
        if moving and not effects.in_range(disk, task.cdb):
            raise Find("out of range", f"{command_name(task.cdb)} {task.cdb.hex()} ended GOOD")
        if not moving:
            return
        data = bytes(task.data)
        compared = effects.compared(disk, task.cdb, data)
        if compared is not None:
            self._compare(disk.content, *compared, epoch=task.epoch)
        sure = opcode != 0x8B or self._sure(disk, task)
        alone = task.puts == disk.content.puts  # else pieces of it may have come before or after others
        for first, written in effects.changes(disk, task.cdb, data):
            if sure and alone and len(written) % 512 == 0:
                disk.content.put(first, written)
            elif sure and len(written) % 512 == 0:
                disk.content.perhaps(first, written)
            else:
                disk.content.forget(first, -(-len(written) // 512))
        if opcode in effects.SAMES and task.cdb[1] & 8 and any(data):
            disk.content.forget_all((a, len(d) // 512) for a, d in effects.changes(disk, task.cdb, data))
        disk.content.puts += 1
        self._doubt_others(disk)

    def _sure(self, disk: Disk, task: Task) -> bool:
        first, count = effects.extent(task.cdb)
        return (
            disk.content.known(first << disk.shift, count << disk.shift) and task.epoch == disk.content.epoch
        )

    def _read_well(self, task: Task, disk: Disk) -> None:
        first, count = effects.extent(task.cdb)
        if first + count > disk.blocks:
            raise Find("out of range", f"{command_name(task.cdb)} of {count} at {first} ended GOOD")
        whole = len(task.answer) // 512 * 512
        self._compare(disk.content, first << disk.shift, bytes(task.answer[:whole]), epoch=task.epoch)

    def _compare(self, content: Content, first: int, data: bytes, *, epoch: int) -> None:
        if first + len(data) // 512 > content.sectors:
            return
        if self.doubts:
            self._spread_doubts()
        complaint = content.complaint(first, data, epoch=epoch, settle=not self._writes_under_way(content))
        if complaint:
            raise Find("content", complaint)

    def _writes_under_way(self, content: Content) -> bool:
        # An aborted write may still come, until the abort is answered.
        if any(kind == MANAGED for session in self.siblings for kind, _ in session.owed):
            return True
        return any(
            t.writes and t.disk is not None and t.disk.content is content
            for session in self.siblings
            for t in session.tasks.values()
        )

    def _failed(self, task: Task) -> None:
        """Ended otherwise than well: whatever was sent for it may be there or not."""
        if task.disk is not None:
            if task.cdb[0] in effects.WILD:
                self._anything(task.disk, task.cdb[0])
            self._doubt(task)
            task.disk.content.puts += 1

    def _anything(self, disk: Disk, opcode: int) -> None:
        for each in self.disks.values() if opcode == 0x83 else [disk]:
            each.content.forget(0, each.content.sectors)

    def _doubt(self, task: Task) -> None:
        """Some of what the task has sent may be there by now."""
        disk, data, opcode = task.disk, bytes(task.data), task.cdb[0]
        if disk is None or opcode not in effects.MOVERS or not effects.in_range(disk, task.cdb):
            return
        if opcode in effects.SAMES and task.cdb[1] & 9:  # UNMAP, or no data at all
            first, count = effects.extent(task.cdb)
            count = count or disk.blocks - first
            disk.content.forget(first << disk.shift, count << disk.shift)
        elif opcode == 0x8B and data:
            first, count = effects.extent(task.cdb)
            disk.content.forget(first << disk.shift, min(count << disk.shift, -(-len(data) // 512)))
        elif data:
            for first, written in effects.changes(disk, task.cdb, data):
                disk.content.perhaps(first, written + bytes(-len(written) % 512))
                if len(written) % 512:
                    disk.content.forget(first + len(written) // 512, 1)

    def _doubt_others(self, disk: Disk) -> None:
        for session in self.siblings:
            for task in session.tasks.values():
                if task.writes and task.data and task.disk is not None and task.disk.content is disk.content:
                    self._doubt(task)

    def _stays(self, task: Task) -> None:
        """An abort is complete: what its task has written by now stays as it is.  SAM-5 §7.2"""
        disk = task.disk
        if disk is None or self.peek is None or any(session.lax for session in self.siblings):
            return
        if task.cdb[0] not in effects.MOVERS or not effects.in_range(disk, task.cdb):
            return
        busy = [t for s in self.siblings for t in s.tasks.values() if t.writes or t.cdb[0] in effects.SAMES]
        busy += [t for s in self.siblings for tasks in s.aborted.values() for t in tasks]
        if any(t.disk is not None and (t.disk is disk or t.cdb[0] in effects.WILD) for t in busy):
            return
        for first, written in effects.changes(disk, task.cdb, bytes(task.data)):
            count = -(-len(written) // 512)
            there = self.peek(disk, first, count) if count else None
            if there is not None:
                disk.content.put(first, there)
