"""Children that come and go, by the tens of thousands, and crash alone.

Source: Elixir's DynamicSupervisor, less the restarting:
what a dynamic child serves (a connection, a job) is gone with it.
Knows trio.  A child costs one task, one cancel scope and one small record; no nursery of its own.
"""

import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from supervisor import stopping as asking
from supervisor.exits import Crashed, Exit, Killed, Reason, Returned, Stopped
from supervisor.stopping import StopRequest, stopping
from supervisor.telemetry import ChildCrashed, Sink, log

_log = logging.getLogger(__name__)


class NameTaken(Exception):
    """A child of this name lives already."""


class NotRunning(Exception):
    """The supervisor has not started yet, or is ending: it takes no children."""


class TooManyChildren(Exception):
    """The supervisor holds as many children as it may."""


class Child:
    """One living child.  Four fields and a cancel scope: there may be tens of thousands."""

    __slots__ = ("_killed", "_scope", "name", "started_at")

    def __init__(self, name: str, started_at: float) -> None:
        self.name = name
        self.started_at = started_at
        self._scope = trio.CancelScope()
        self._killed = False

    def cancel(self) -> None:
        """End it.  Its exit reason is ``Stopped``."""
        self._scope.cancel()

    def cancel_at(self, deadline: float) -> None:
        """End it when trio's clock shows ``deadline``, if it still lives then."""
        self._scope.deadline = deadline


@attrs.frozen
class DynamicStatistics:
    alive: int
    started: int
    returned: int
    crashed: int
    stopped: int


def _ignore(exit: Exit) -> None: ...


class DynamicSupervisor:
    """``run`` it in a nursery, then ``start_child`` as often as ``max_children`` allows.

    No child is started again.  ``on_exit`` hears of every end, in the child's own task, after its
    name is free; it must not wait.
    """

    def __init__(
        self,
        *,
        name: str = "dynamic",
        on_exit: Callable[[Exit], object] = _ignore,
        max_children: int | None = None,
        drain_seconds: float = 5.0,
        on_event: Sink = log,
    ) -> None:
        self.name = name
        self._emit = on_event
        self._drain_seconds = drain_seconds
        self._on_exit = on_exit
        self._max_children = max_children
        self._children: dict[str, Child] = {}
        self._nursery: trio.Nursery | None = None
        self._empty: trio.Event | None = None
        self._started = self._returned = self._crashed = self._stopped = 0

    @property
    def children(self) -> dict[str, Child]:
        """The living, by name, in start order.  Read only."""
        return self._children

    def statistics(self) -> DynamicStatistics:
        return DynamicStatistics(
            len(self._children), self._started, self._returned, self._crashed, self._stopped
        )

    async def run(self, task_status: "trio.TaskStatus[DynamicSupervisor]" = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the children until ``shutdown``, until asked to stop, or until cancelled."""
        parent = stopping()
        self._request = StopRequest()
        self._finished = trio.Event()
        # Children inherit this context, not that of whoever starts them: one StopRequest for all of them.
        self._context = contextvars.copy_context()
        self._context.run(asking.current.set, self._request)
        try:
            async with trio.open_nursery() as nursery, trio.open_nursery() as ours:
                self._nursery = nursery

                async def heed_parent() -> None:
                    await parent.wait()
                    await self.shutdown(self._drain_seconds)

                ours.start_soon(heed_parent)
                task_status.started(self)
                await self._finished.wait()
                ours.cancel_scope.cancel()
        finally:
            self._nursery = None

    def start_child(self, name: str, fn: Callable[..., Awaitable[object]], *args: Any) -> Child:
        """Start ``fn(*args)`` in a task of its own.  Does not wait for anything."""
        if self._nursery is None:
            raise NotRunning(self.name)
        if name in self._children:
            raise NameTaken(name)
        if self._max_children is not None and len(self._children) >= self._max_children:
            raise TooManyChildren(self.name)
        child = Child(name, trio.current_time())
        self._children[name] = child
        self._started += 1
        self._context.run(functools.partial(self._nursery.start_soon, self._hold, child, fn, args, name=name))
        return child

    async def _hold(
        self, child: Child, fn: Callable[..., Awaitable[object]], args: tuple[object, ...]
    ) -> None:
        reason: Reason | None = None
        try:
            with child._scope:
                running = fn(*args)
                # This frame lasts as long as the child does: it need not hold what that has in hand already.
                del fn, args
                await running
                reason = Returned()
        except Exception as exc:
            reason = Crashed(exc)
        except BaseExceptionGroup as group:
            # Cancelled from above and crashed on the way out: both are told.
            crash, rest = group.split(Exception)
            if crash is not None:
                reason = Crashed(crash)
            if rest is not None:
                raise rest from None
        finally:
            self._ended(child, reason or (Killed() if child._killed else Stopped()))

    def _ended(self, child: Child, reason: Reason) -> None:
        del self._children[child.name]
        exit = Exit(child.name, reason, trio.current_time() - child.started_at)
        match reason:
            case Returned():
                self._returned += 1
            case Crashed():
                self._crashed += 1
                self._emit(ChildCrashed(self.name, exit))
            case _:
                self._stopped += 1
        if self._empty is not None and not self._children:
            self._empty.set()
        try:
            self._on_exit(exit)
        except Exception:
            _log.exception("the exit callback of %s failed", self.name)

    async def shutdown(self, deadline: float = 0.0) -> None:
        """Take no more children, ask the living to end, and cancel who is left at the ``deadline``.

        Asked are those who listen (``stopping()``).  If no child ever did, all are cancelled at once.
        Returns when all are gone; ``run`` returns, too.
        """
        nursery = self._nursery
        if nursery is None:
            return
        self._nursery = None
        if self._children:
            self._empty = trio.Event()
            if self._request.heard:
                self._request.event.set()
                with trio.move_on_after(deadline):
                    await self._empty.wait()
            for child in list(self._children.values()):
                child._killed = self._request.heard
                child.cancel()
            while self._children:
                await self._empty.wait()
        self._finished.set()
