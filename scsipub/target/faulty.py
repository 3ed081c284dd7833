"""Faulty: commands of one session that meet trouble because somebody asked for it.

Sans-IO.  ``faults`` decides which; here it is done to them.  Exists only while somebody tests an initiator:
such a session goes the slow way, all others never look.

A command that is struck ends as the standards have it (SAM-5 §5.3.1, SPC-4 §4.5); one whose response is
dropped stays a task, as a target's bug would leave it, until it is aborted."""

import errno
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from scsipub.errors import CommandEnded
from scsipub.iscsi.transfers import Task
from scsipub.scsi.sense import TASK_SET_FULL

if TYPE_CHECKING:
    from scsipub.target.nexus import Nexus

STATUSES = {"busy": 0x08, "task-set-full": TASK_SET_FULL}

Later = Callable[[float, Callable[[float], None]], None]


class Injector(Protocol):
    """Who knows the rules: ``faults.rules.Injector``."""

    def strike(self, now: float, lun: int, cdb: bytes) -> Any:
        """The rule that strikes this command, or None.  It has ``fault`` and ``seconds``."""

    def to_json(self) -> dict[str, Any]: ...


class Faulty:
    """One per session under test.  ``later`` calls something after so many seconds, with the time then."""

    __slots__ = ("injector", "later")

    def __init__(self, injector: Injector, later: Later) -> None:
        self.injector = injector
        self.later = later

    def strike(self, nexus: "Nexus", task: Task) -> bool:
        """A command is about to begin.  True: it does not, or not now."""
        rule = self.injector.strike(nexus.now, task.lun >> 48 & 0x3FFF, task.cdb)
        if rule is None:
            return False
        session = nexus.session
        match str(rule.fault):
            case "delay":
                nexus.writes.wait(task)
                self.later(rule.seconds, lambda now: nexus.post(partial(nexus.share, task, now)))
                return True
            case "medium-error":
                nexus.fail(task, OSError(errno.EIO, "asked for"), writing=not task.reads)
                return True
            case "busy" | "task-set-full" as status:
                nexus.fail(task, CommandEnded(STATUSES[status]), writing=not task.reads)
                return True
            case "drop-response":
                task.muted = True
                return task.reads  # what is written is written
            case "digest-error":
                session.spoiled += 1
                return False
            case "cut":
                session.closing = True
                return True
        return False
