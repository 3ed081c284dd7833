"""The guard: reservations and unit attentions, as the referee judges them.

Source: SPC-4 §5.13, SAM-5 §5.14, §6.3.  ``fence`` is the model of a unit's reservations; which attentions
wait is kept for each session, as far as one can know it from outside."""

from fuzz.effects import Disk
from fuzz.fence import CLEAR, PREEMPT, PREEMPT_AND_ABORT
from fuzz.find import Find
from fuzz.hearing import PARAMETERS_CHANGED, POWER_ON, Hearing, Task
from fuzz.steps import command_name

RESERVING = {0x5F, 0x16, 0x17, 0x56, 0x57}  # PERSISTENT RESERVE OUT; RESERVE and RELEASE of SPC-2


class Guard(Hearing):
    """Hears how commands end.  Raises ``Find``."""

    def guarded(self, task: Task, status: int, key: str) -> None:
        disk, path, opcode = task.disk, self.path(task.lun), task.cdb[0]
        if disk is None or path is None:
            return
        fence, name = disk.fence, command_name(task.cdb)
        sure = task.fence == fence.epoch and not self._reserving(task)
        if sure and task.conflict is not None:
            if task.conflict and not status:
                raise Find("reservation", f"{name} {task.cdb.hex()} past {fence}")
            if not task.conflict and status == 0x18:
                raise Find("reservation", f"{name} {task.cdb.hex()} in conflict with {fence}")
        waiting = self.pending[path]
        if key.startswith("6/"):
            code = int(key[2:4], 16)
            waiting.clear() if code == POWER_ON else waiting.pop(code, None)
        elif opcode == 0x03 and not status:
            waiting.clear()  # REQUEST SENSE takes one with it
        elif not status and opcode not in (0x12, 0xA0) and (lost := waiting.items() & task.attentions):
            raise Find("unit attention", f"{name} ended GOOD, {sorted(hex(code) for code, _ in lost)} wait")
        if opcode in (0x16, 0x17, 0x56, 0x57) and not status:
            fence.forget()
        elif opcode == 0x5F and not status:
            self._reserved(task, disk, path, sure)

    def _reserving(self, task: Task) -> bool:
        """Is another command under way that may have changed the reservation already?  What is in force may
        be met before its GOOD is heard."""
        return any(
            other is not task and other.disk is task.disk and other.cdb[0] in RESERVING
            for session in self.siblings
            for other in session.tasks.values()
        )

    def _reserved(self, task: Task, disk: Disk, path: int, sure: bool) -> None:
        fence, data = disk.fence, bytes(task.data)
        wrong = fence.must_fail(self.port, task.cdb, data) if sure else ""
        if wrong:
            raise Find("reservation", f"{wrong} ended GOOD: {data.hex()} at {fence}")
        if task.cdb[1] & 0x1F == PREEMPT_AND_ABORT:
            for session in self.siblings:  # whoever has lost its registration has lost its tasks
                session.lax |= session is not self and bool(session.tasks)
        before, known = set(fence.keys), not fence.unknown
        fence.done(self.port, task.cdb, data)
        if fence.unknown or not known:
            return
        # CLEAR and PREEMPT tell those who lose their registration.
        lost = (
            before - set(fence.keys) if task.cdb[1] & 0x1F in (CLEAR, PREEMPT, PREEMPT_AND_ABORT) else set()
        )
        for session in self.siblings:
            if session is not self and session.port in lost:
                session.attention(path, PARAMETERS_CHANGED)
