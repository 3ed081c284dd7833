"""Task management: abort, clear, reset.

Source: RFC 7143 §11.5, §11.6, SAM-5 §7.  Sans-IO.  A function is answered when the last thread that worked
for an affected task has ended, never before: after the answer nothing of those tasks reaches the disk."""

from typing import TYPE_CHECKING

from scsipub.errors import PduRejected
from scsipub.iscsi import pdu
from scsipub.iscsi.constants import RejectReason, TaskFunction, TaskResponse
from scsipub.iscsi.data import NO_TAG
from scsipub.iscsi.numbering import serial_distance
from scsipub.iscsi.session import tag_of
from scsipub.iscsi.transfers import Task
from scsipub.scsi.unit import Reset

if TYPE_CHECKING:
    from scsipub.target.nexus import Nexus
    from scsipub.target.running import Path


class Management:
    """The task management of one nexus.  ``siblings`` finds the other nexuses of a shared unit."""

    __slots__ = ("nexus", "siblings", "unanswered")

    def __init__(self, nexus: "Nexus") -> None:
        self.nexus = nexus
        self.siblings: list[Nexus] = [nexus]  # replaced by the target's own set where a target is shared
        self.unanswered = 0  # functions that wait for threads

    def receive(self, request: pdu.TaskManagementRequest) -> None:
        if self.unanswered >= self.nexus.limits.immediate_commands:
            # §4.2.2.1 bounds immediate requests; numbered ones that are not answered cost us as much.
            raise PduRejected(RejectReason.TOO_MANY_IMMEDIATE_COMMANDS, "too many task management functions")
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
        named = [
            t
            for t in (task, *nexus.dying)
            if t is not None
            and t.initiator_task_tag == request.referenced_task_tag
            and nexus.paths.get(t.lun) is nexus.paths.get(request.lun)
        ]
        if named:
            self._end_all(request, [(nexus, t) for t in named])
            return
        if self._still_to_come(request):
            session.skip(request.ref_cmd_sn)
            self._done(request, TaskResponse.FUNCTION_COMPLETE)
            session.run_held(nexus.now)
        else:
            self._done(request, TaskResponse.TASK_DOES_NOT_EXIST)

    def _still_to_come(self, request: pdu.TaskManagementRequest) -> bool:
        """§11.5.1: a command that has its place in the window and has not run yet, or not even arrived."""
        session, number, tag = self.nexus.session, request.ref_cmd_sn, request.referenced_task_tag
        if tag == NO_TAG or not 0 <= serial_distance(session.exp_cmd_sn, number) < session.window:
            return False
        held = session.held.get(number)
        if held is None:
            return serial_distance(number, request.cmd_sn) > 0
        return bool(held) and tag_of(held[0]) == tag

    def _on_unit(self, request: pdu.TaskManagementRequest, path: "Path") -> None:
        mine_only = request.function == TaskFunction.ABORT_TASK_SET
        unit = path.lane.unit
        doomed: list[tuple[Nexus, Task]] = []
        for nexus in [self.nexus] if mine_only else list(self.siblings):
            tasks = [t for t in nexus.session.tasks.values() if nexus.is_for(t, unit)]
            doomed += [(nexus, t) for t in (*tasks, *(t for t in nexus.dying if nexus.is_for(t, unit)))]
            if tasks and nexus is not self.nexus and request.function == TaskFunction.CLEAR_TASK_SET:
                unit.commands_cleared([nexus.paths[tasks[0].lun].lane])
        if request.function == TaskFunction.LOGICAL_UNIT_RESET:
            unit.reset(Reset.LOGICAL_UNIT)
        self._end_all(request, doomed)

    def _reset_target(self, request: pdu.TaskManagementRequest) -> None:
        units = {id(p.lane.unit): p.lane.unit for p in self.nexus.paths.values()}
        doomed = [
            (nexus, task) for nexus in self.siblings for task in (*nexus.session.tasks.values(), *nexus.dying)
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
            self.unanswered -= 1
            self._done(request, TaskResponse.FUNCTION_COMPLETE)
            if request.function == TaskFunction.TARGET_COLD_RESET:
                for nexus in list(self.siblings):
                    nexus.session.closing = True
                    nexus.wake()

        self.unanswered += 1
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
