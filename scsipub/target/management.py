"""Task management: abort, clear, reset.

Source: RFC 7143 §11.5, §11.6, SAM-5 §7.  Sans-IO.  A function is answered when the last thread that worked
for an affected task has ended, never before: after the answer nothing of those tasks reaches the disk."""

from typing import TYPE_CHECKING

from scsipub.iscsi import pdu
from scsipub.iscsi.constants import TaskFunction, TaskResponse
from scsipub.iscsi.data import NO_TAG
from scsipub.iscsi.numbering import serial_distance
from scsipub.iscsi.transfers import Task
from scsipub.scsi.unit import Reset

if TYPE_CHECKING:
    from scsipub.target.nexus import Nexus
    from scsipub.target.running import Path


class Management:
    """The task management of one nexus.  ``siblings`` finds the other nexuses of a shared unit."""

    __slots__ = ("nexus", "siblings")

    def __init__(self, nexus: "Nexus") -> None:
        self.nexus = nexus
        self.siblings: set[Nexus] = {nexus}  # replaced by the target's own set where a target is shared

    def receive(self, request: pdu.TaskManagementRequest) -> None:
        function = request.function
        if function == TaskFunction.ABORT_TASK:
            self._abort_task(request)
        elif function in (
            TaskFunction.ABORT_TASK_SET,
            TaskFunction.CLEAR_TASK_SET,
            TaskFunction.LOGICAL_UNIT_RESET,
        ):
            path = self.nexus.paths.get(request.lun)
            if path is None:
                self._done(request, TaskResponse.LUN_DOES_NOT_EXIST)
            else:
                self._on_unit(request, path)
        elif function in (TaskFunction.TARGET_WARM_RESET, TaskFunction.TARGET_COLD_RESET):
            self._reset_target(request)
        elif function == TaskFunction.TASK_REASSIGN:
            self._done(request, TaskResponse.TASK_ALLEGIANCE_REASSIGNMENT_NOT_SUPPORTED)
        else:  # CLEAR ACA: NACA is refused, so there is never an ACA to clear
            self._done(request, TaskResponse.FUNCTION_NOT_SUPPORTED)

    def _done(self, request: pdu.TaskManagementRequest, response: int) -> None:
        self.nexus.session.task_management_done(request, response)

    def _abort_task(self, request: pdu.TaskManagementRequest) -> None:
        nexus, session = self.nexus, self.nexus.session
        task = session.tasks.get(request.referenced_task_tag)
        if task is not None and task.lun == request.lun:
            self._end_all(request, [(nexus, task)])
            return
        # §11.5.1: a command that has not arrived yet, but will, counts as received and aborted.
        ahead = serial_distance(session.exp_cmd_sn, request.ref_cmd_sn)
        if request.referenced_task_tag != NO_TAG and 0 <= ahead < session.window and ahead > 0:
            held = session.held.get(request.ref_cmd_sn)
            if held is not None:
                held[:] = [session.nothing_in_its_place(held[0])]
                self._done(request, TaskResponse.FUNCTION_COMPLETE)
                return
        self._done(request, TaskResponse.TASK_DOES_NOT_EXIST)

    def _on_unit(self, request: pdu.TaskManagementRequest, path: "Path") -> None:
        mine_only = request.function == TaskFunction.ABORT_TASK_SET
        unit = path.lane.unit
        doomed: list[tuple[Nexus, Task]] = []
        for nexus in [self.nexus] if mine_only else list(self.siblings):
            tasks = [t for t in nexus.session.tasks.values() if nexus.paths.get(t.lun) is not None
                     and nexus.paths[t.lun].lane.unit is unit]  # fmt: skip
            doomed += [(nexus, t) for t in tasks]
            if tasks and nexus is not self.nexus and request.function == TaskFunction.CLEAR_TASK_SET:
                unit.commands_cleared([nexus.paths[tasks[0].lun].lane])
        if request.function == TaskFunction.LOGICAL_UNIT_RESET:
            unit.reset(Reset.LOGICAL_UNIT)
        self._end_all(request, doomed)

    def _reset_target(self, request: pdu.TaskManagementRequest) -> None:
        units = {id(p.lane.unit): p.lane.unit for p in self.nexus.paths.values()}
        doomed = [
            (nexus, task) for nexus in list(self.siblings) for task in list(nexus.session.tasks.values())
        ]
        cold = request.function == TaskFunction.TARGET_COLD_RESET
        for unit in units.values():
            unit.reset(Reset.TARGET_COLD if cold else Reset.TARGET_WARM)
        self._end_all(request, doomed)

    def _end_all(self, request: pdu.TaskManagementRequest, doomed: "list[tuple[Nexus, Task]]") -> None:
        left, at_once = 1, True

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                # The last thread may have ended in another session's turn.
                over() if at_once else self.nexus.post(over)

        def over() -> None:
            self._done(request, TaskResponse.FUNCTION_COMPLETE)
            if request.function == TaskFunction.TARGET_COLD_RESET:
                for nexus in list(self.siblings):
                    nexus.session.closing = True
                    nexus.wake()

        touched: set[Nexus] = set()
        for nexus, task in doomed:
            left += not nexus.abort(task, one_less)
            touched.add(nexus)
        for nexus in touched:
            if nexus is self.nexus:
                nexus.settle()
            else:
                nexus.post(nexus.settle)  # its window has opened
        one_less()
        at_once = False
