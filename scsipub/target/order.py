"""Order: which commands of a nexus must wait for which.

Source: SAM-5 §8.8 (task attributes).  Sans-IO.  An ORDERED command runs after everything that came before it
and before everything that comes after it; HEAD OF QUEUE passes all of them; the rest run as they like."""

from typing import TYPE_CHECKING

from scsipub.iscsi.transfers import Task

if TYPE_CHECKING:
    from scsipub.target.nexus import Nexus

ORDERED, HEAD_OF_QUEUE = 2, 3


class Order:
    """The queue of one nexus.  Empty, unless somebody sends ORDERED commands."""

    __slots__ = ("barriers", "nexus", "waiting")

    def __init__(self, nexus: "Nexus") -> None:
        self.nexus = nexus
        self.waiting: tuple[Task, ...] = ()
        self.barriers: tuple[Task, ...] = ()  # ORDERED commands that have begun

    def must_wait(self, task: Task) -> bool:
        """Is something before ``task`` that it must not overtake?"""
        if task.attribute == HEAD_OF_QUEUE:
            return False
        if self.waiting:
            return True
        return (task.attribute == ORDERED or bool(self.barriers)) and self._blocked(task)

    def wait(self, task: Task) -> None:
        self.waiting += (task,)

    def begins(self, task: Task) -> None:
        if task.attribute == ORDERED:
            self.barriers += (task,)

    def settle(self) -> None:
        """A task ended: let those begin that waited for it."""
        if self.barriers:
            self.barriers = tuple(t for t in self.barriers if not t.ended)
        while self.waiting:
            task = self.waiting[0]
            if not task.ended and self._blocked(task):
                return
            self.waiting = self.waiting[1:]
            if not task.ended:
                self.nexus.begin(task)

    def _blocked(self, task: Task) -> bool:
        paths, waiting = self.nexus.paths, set(map(id, self.waiting))
        path = paths.get(task.lun)
        return any(
            t is not task
            and (task.attribute == ORDERED or t.attribute == ORDERED)
            and id(t) not in waiting
            and paths.get(t.lun) is path
            for t in self.nexus.session.tasks.values()
        )
