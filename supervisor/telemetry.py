"""What supervision tells an operator: every event in one place, with what to look at.

Pure.  Whoever supervises is given a function of one event; ``log`` is the default one.
"""

import logging
from collections.abc import Callable
from typing import ClassVar

import attrs

from supervisor.exits import Crashed, Exit

_log = logging.getLogger("supervisor")


@attrs.frozen
class ChildStarted:
    """A child runs.  Nothing to do."""

    level: ClassVar[int] = logging.DEBUG
    supervisor: str
    child: str

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.child} started"


@attrs.frozen
class ChildEnded:
    """A child ended, as it may.  Look at the reason if you did not expect it."""

    level: ClassVar[int] = logging.INFO
    supervisor: str
    exit: Exit

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.exit}"


@attrs.frozen
class ChildCrashed:
    """An exception escaped from a child: a bug.  Look at the traceback logged with it."""

    level: ClassVar[int] = logging.ERROR
    supervisor: str
    exit: Exit

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.exit}"


@attrs.frozen
class ChildRestarting:
    """A child is started again after ``delay`` seconds; ``recent`` restarts count against the budget."""

    level: ClassVar[int] = logging.WARNING
    supervisor: str
    child: str
    delay: float
    recent: int

    def __str__(self) -> str:
        return f"{self.supervisor}: {self.child} is restarted in {self.delay:g} s ({self.recent} lately)"


@attrs.frozen
class GaveUp:
    """Restarting did not help; the supervisor ends, and its own one decides.  Look at the last exits."""

    level: ClassVar[int] = logging.ERROR
    supervisor: str
    exit: Exit

    def __str__(self) -> str:
        return f"{self.supervisor}: gives up, for {self.exit}"


@attrs.frozen
class WorkerUp:
    """A worker process is ready.  Nothing to do."""

    level: ClassVar[int] = logging.INFO
    pool: str
    index: int
    incarnation: int
    pid: int

    def __str__(self) -> str:
        return f"{self.pool} {self.index} is ready (pid {self.pid}, incarnation {self.incarnation})"


@attrs.frozen
class WorkerDown:
    """A worker process ended.  ``verdict``: why we killed it, if we did.  Look at the exit's stderr lines."""

    pool: str
    index: int
    pid: int
    exit: Exit
    planned: bool
    verdict: str | None = None

    @property
    def level(self) -> int:
        return logging.INFO if self.planned else logging.WARNING

    def __str__(self) -> str:
        why = f": {self.verdict}" if self.verdict else ""
        return f"{self.exit} (pid {self.pid}){why}"


@attrs.frozen
class WorkerNotStarted:
    """The operating system would not run the program.  Look at the path, its permissions, and memory."""

    level: ClassVar[int] = logging.ERROR
    pool: str
    index: int
    exit: Exit

    def __str__(self) -> str:
        return str(self.exit)


@attrs.frozen
class SlotQuarantined:
    """A worker died again and again and is left alone for a while.  Look at its exits' stderr lines."""

    level: ClassVar[int] = logging.ERROR
    pool: str
    index: int
    exit: Exit | None
    seconds: float

    def __str__(self) -> str:
        return f"{self.pool} {self.index} keeps dying ({self.exit}): in quarantine for {self.seconds:g} s"


Event = (
    ChildStarted
    | ChildEnded
    | ChildCrashed
    | ChildRestarting
    | GaveUp
    | WorkerUp
    | WorkerDown
    | WorkerNotStarted
    | SlotQuarantined
)
Sink = Callable[[Event], object]


def log(event: Event) -> None:
    """To the logger ``supervisor``, at the event's level; a crash with its traceback."""
    error = None
    if isinstance(event, ChildCrashed) and isinstance(event.exit.reason, Crashed):
        error = event.exit.reason.error
    _log.log(event.level, "%s", event, exc_info=error)
