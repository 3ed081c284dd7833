"""Reserving: carrying out a change of persistent reservations, from decision to GOOD.

Source: SPC-4 §5.13 (persistent reservations), §6.16.  Sans-IO.

The order is the promise.  Whoever loses its registration by PREEMPT AND ABORT is fenced first: from then on
its commands meet RESERVATION CONFLICT.  Then its tasks are ended, and every write that a thread is at work
on, whoever's it is, is waited for.  Then the new state is kept by whoever keeps it.  Only then it is put in
force, the others hear of it, and the initiator gets GOOD.  A crash in between leaves the old state and no
answer: the initiator asks again.

Property: once GOOD for PREEMPT AND ABORT is sent, no write of a fenced nexus begins or is under way."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from scsipub.errors import CheckCondition
from scsipub.iscsi.transfers import Task
from scsipub.scsi.lane import Lane
from scsipub.scsi.plan import Plan
from scsipub.scsi.reservations import Change
from scsipub.target.backing import Backing

if TYPE_CHECKING:
    from scsipub.target.nexus import Nexus

# SPC-4: INTERNAL TARGET FAILURE, when the new state could not be kept and the old one holds on.
NOT_KEPT = (0x04, 0x44, 0x00)


def reserve(nexus: "Nexus", task: Task, plan: Plan, backing: Backing) -> None:
    """The parameter list has been read and the outcome decided: make it so."""
    ports = plan.aborts() if plan.aborts is not None else ()
    if not ports:
        _keep(nexus, task, plan, backing, [])
        return
    backing.unit.fence(ports)
    lost = _end_tasks(nexus, task, [lane for lane in backing.unit.lanes if lane.fenced])
    _after_all(_within_reach(nexus), lambda: _keep(nexus, task, plan, backing, lost))


def _within_reach(nexus: "Nexus") -> list[Backing]:
    """Every unit of the target.  Who is fenced may have a thread at work for a session that has ended, and
    an EXTENDED COPY writes to this unit from the one that it was sent to."""
    paths = [path for other in nexus.management.siblings for path in other.paths.values()]
    return list({id(path.backing): path.backing for path in paths}.values())


def _after_all(backings: list[Backing], then: Callable[[], None]) -> None:
    left = len(backings) + 1

    def one_less() -> None:
        nonlocal left
        left -= 1
        if not left:
            then()

    for backing in backings:
        backing.after_running_writes(one_less)
    one_less()


def _end_tasks(nexus: "Nexus", but: Task, lanes: list[Lane]) -> list[Lane]:
    """End every task of these nexuses on the unit.  Returns those that had any."""
    lost: list[Lane] = []
    for other in list(nexus.management.siblings):
        for task in list(other.session.tasks.values()):
            path = other.paths.get(task.lun)
            if task is but or path is None or path.lane not in lanes:
                continue
            other.abort(task, _nothing)
            if path.lane not in lost:
                lost.append(path.lane)
        other.post(other.settle)
    return lost


def _keep(nexus: "Nexus", task: Task, plan: Plan, backing: Backing, lost: list[Lane]) -> None:
    def kept(error: str | None) -> None:
        if error is not None:
            if plan.undo is not None:
                plan.undo()
        else:
            if plan.after is not None:
                plan.after()
        backing.unit.commands_cleared([lane for lane in lost if lane.attached])  # they are, either way
        backing.unit.fence(())  # last: threads look, too
        nexus.post(lambda: _answer(nexus, task, plan, error))

    change = plan.commit() if plan.commit is not None else None
    if backing.keep is None or not isinstance(change, Change):
        kept(None)
    else:
        backing.keep(change, kept)


def _answer(nexus: "Nexus", task: Task, plan: Plan, error: str | None) -> None:
    if task.ended:
        return
    if error is None:
        nexus.session.respond(task, 0x00, actual=plan.data_out)
    else:
        nexus.session.check_condition(task, CheckCondition(*NOT_KEPT, why=f"reservations not kept: {error}"))
    nexus.settle()


def _nothing() -> None: ...
