"""A supervisor on Trio: starts its children in order, restarts what dies, stops them in reverse.

Source: Erlang's supervisor; the rules: ``docs/supervisor.md``; the arithmetic: ``plan`` and ``budget``.
Knows trio.  Does not know processes (``pool``) nor what the children do.

One task per child holds it and reports its end; one task, ``_Life.rule``, reads these reports one after
another and is the only one to start and to stop anybody.
"""

from collections import deque

import attrs
import trio

from supervisor import stopping as asking
from supervisor.budget import RestartBudget
from supervisor.dynamic import DynamicSupervisor as DynamicSupervisor
from supervisor.exits import Crashed, Exit, Killed, Reason, Returned, Stopped
from supervisor.plan import after_death, wants_restart
from supervisor.spec import ChildSpec, Drain, Strategy, SupervisorSpec
from supervisor.stopping import StopRequest
from supervisor.stopping import stopping as stopping
from supervisor.telemetry import ChildCrashed, ChildEnded, ChildRestarting, ChildStarted, GaveUp, Sink, log


class StartFailed(Exception):
    """A child ended before it had started, when the supervisor itself started.  ``exit`` says why."""

    def __init__(self, supervisor: str, exit: Exit) -> None:
        super().__init__(supervisor, exit)
        self.supervisor = supervisor
        self.exit = exit

    def __str__(self) -> str:
        return f"{self.supervisor} could not start: {self.exit}"


class RestartsExhausted(Exception):
    """Escalation: the children died more often than the budget allows.  ``exit`` is the last straw."""

    def __init__(self, supervisor: str, exit: Exit) -> None:
        super().__init__(supervisor, exit)
        self.supervisor = supervisor
        self.exit = exit

    def __str__(self) -> str:
        return f"{self.supervisor} gave up: {self.exit}"


@attrs.frozen
class ChildStatistics:
    name: str
    alive: bool
    starts: int
    last_exit: Exit | None


@attrs.frozen
class SupervisorStatistics:
    name: str
    children: tuple[ChildStatistics, ...]
    restarts: int


@attrs.define(eq=False)
class _Running:
    """One life of one child."""

    spec: ChildSpec
    began: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    stop: StopRequest = attrs.field(factory=StopRequest)
    has_started: bool = False
    expected: bool = False  # we ended it
    overdue: bool = False  # we had to cancel it, although it listened
    exit: Exit | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class _StartReport:
    """What a child gets as ``task_status``."""

    life: "_Life"
    running: _Running

    def started(self, value: object = None) -> None:
        self.running.has_started = True
        self.life.wake()


class Supervisor:
    """``run`` may be called again after it ended; each time is a new life with a new budget."""

    def __init__(self, spec: SupervisorSpec, *, on_event: Sink = log) -> None:
        self.spec = spec
        self._on_event = on_event
        self._life: _Life | None = None

    async def run(self, task_status: "trio.TaskStatus[Supervisor]" = trio.TASK_STATUS_IGNORED) -> None:
        """Has started when every child has.  Returns when asked to stop, raises when it gives up.

        Cancelled, it cancels its children one by one, the last started first, and drains nobody.
        """
        life = _Life(self.spec, self._on_event)
        self._life = life
        parent = stopping()
        async with trio.open_nursery() as nursery:

            async def heed_parent() -> None:
                await parent.wait()
                life.stop()

            async def rule() -> None:
                # The shield keeps Trio from ending all children at once: life.cancel() does it in order.
                with trio.CancelScope(shield=True):
                    await life.rule(self, task_status)
                nursery.cancel_scope.cancel()

            nursery.start_soon(heed_parent)
            nursery.start_soon(rule)
            try:
                await trio.sleep_forever()
            finally:
                life.cancel()
        if life.failure is not None:
            raise life.failure

    async def stop(self) -> None:
        """Ask it to end and wait until all children have."""
        if self._life is not None:
            self._life.stop()
            await self._life.over.wait()

    def statistics(self) -> SupervisorStatistics:
        life = self._life
        return SupervisorStatistics(
            self.spec.name,
            tuple(
                ChildStatistics(
                    child.name,
                    life is not None and child.name in life.alive,
                    0 if life is None else life.starts.get(child.name, 0),
                    None if life is None else life.exits.get(child.name),
                )
                for child in self.spec.children
            ),
            0 if life is None else life.restarts,
        )


class _Life:
    """From start to end of one ``run``."""

    def __init__(self, spec: SupervisorSpec, on_event: Sink) -> None:
        self.spec = spec
        self.emit = on_event
        self.children = {child.name: child for child in spec.children}
        self.budget = RestartBudget(spec.max_restarts, spec.max_seconds)
        self.alive: dict[str, _Running] = {}
        self.starts: dict[str, int] = {}
        self.exits: dict[str, Exit] = {}
        self.restarts = 0
        self.failure: StartFailed | RestartsExhausted | None = None
        self.over = trio.Event()
        self._dead: deque[_Running] = deque()
        self._due: dict[str, float] = {}  # who waits to be restarted, and until when
        self._ending = False
        self._cancelled = False
        self._awake = trio.Event()

    def wake(self) -> None:
        self._awake.set()

    def stop(self) -> None:
        self._ending = True
        self.wake()

    def cancel(self) -> None:
        self._ending = self._cancelled = True
        self.wake()
        for running in self.alive.values():  # whoever is being asked right now is asked no longer
            if running.expected:
                running.scope.cancel()

    async def _sleep(self, until: float) -> None:
        """Until something happened, or the time has come."""
        with trio.move_on_at(until):
            await self._awake.wait()
        self._awake = trio.Event()

    async def rule(self, supervisor: Supervisor, task_status: "trio.TaskStatus[Supervisor]") -> None:
        async with trio.open_nursery() as nursery:
            try:
                for child in self.spec.children:
                    running = await self._start(child, nursery)
                    exit = running.exit
                    if exit is not None and not running.has_started and wants_restart(child, exit):
                        self.failure = StartFailed(self.spec.name, exit)
                        return
                    if self._ending:
                        return
                task_status.started(supervisor)
                while not self._ending:
                    if self._dead:
                        await self._bury(self._dead.popleft())
                    elif not await self._start_who_is_due(nursery):
                        await self._sleep(min(self._due.values(), default=float("inf")))
            finally:
                try:
                    for child in reversed(self.spec.children):
                        if child.name in self.alive:
                            await self._stop(self.alive[child.name])
                finally:
                    self.over.set()

    # ---- starting

    async def _start(self, child: ChildSpec, nursery: trio.Nursery) -> _Running:
        """Returns when the child has started or has ended, or when we are to end."""
        running = _Running(child, trio.current_time())
        self.alive[child.name] = running
        self.starts[child.name] = self.starts.get(child.name, 0) + 1
        nursery.start_soon(self._hold, running, name=child.name)
        while not (running.has_started or running.exit is not None or self._ending):
            await self._sleep(float("inf"))
        if running.has_started:
            self.emit(ChildStarted(self.spec.name, child.name))
        return running

    async def _start_who_is_due(self, nursery: trio.Nursery) -> bool:
        """Start the first in order whose time has come.  False: nobody's has."""
        now = trio.current_time()
        for child in self.spec.children:
            due = self._due.get(child.name)
            if due is not None and due <= now:
                del self._due[child.name]
                await self._start(child, nursery)
                return True
            if due is not None and self.spec.strategy is not Strategy.ONE_FOR_ONE:
                return False  # whoever comes later leans on this one
        return False

    async def _hold(self, running: _Running) -> None:
        """The child's task.  Nothing but the end of the whole program escapes from it."""
        asking.current.set(running.stop)
        child = running.spec
        reason: Reason | None = None
        try:
            with running.scope:
                if child.reports_start:
                    await child.start(*child.args, task_status=_StartReport(self, running))
                else:
                    running.has_started = True
                    self.wake()
                    await child.start(*child.args)
                reason = Returned()
        except Exception as exc:
            reason = Crashed(exc)
        except BaseException:
            self._ending = True  # the end of the whole program: restart nobody
            raise
        finally:
            if reason is None:
                reason = Killed() if running.overdue else Stopped()
            elif running.expected and isinstance(reason, Returned):
                reason = Stopped()
            running.exit = Exit(child.name, reason, trio.current_time() - running.began)
            running.ended.set()
            self._dead.append(running)
            self.wake()

    # ---- ending

    async def _stop(self, running: _Running) -> None:
        """Ask, wait, cancel; as the child's Shutdown says."""
        running.expected = True
        shutdown = running.spec.shutdown
        if isinstance(shutdown, Drain) and running.stop.heard and not self._cancelled:
            running.stop.event.set()
            with trio.move_on_after(shutdown.seconds):
                await running.ended.wait()
            running.overdue = not running.ended.is_set()
        running.scope.cancel()
        await running.ended.wait()
        self._forget(running)

    def _forget(self, running: _Running) -> None:
        """Strike a dead child off the list of the living, and tell."""
        if self.alive.get(running.spec.name) is running and running.exit is not None:
            del self.alive[running.spec.name]
            self.exits[running.spec.name] = running.exit
            crashed = isinstance(running.exit.reason, Crashed)
            self.emit((ChildCrashed if crashed else ChildEnded)(self.spec.name, running.exit))

    async def _bury(self, running: _Running) -> None:
        name, exit = running.spec.name, running.exit
        if self.alive.get(name) is not running or exit is None:
            return  # it was stopped with others meanwhile
        self._forget(running)
        if not wants_restart(running.spec, exit):
            return
        now = trio.current_time()
        before = self.budget.recent(now)
        if not self.budget.spend(now):
            self.emit(GaveUp(self.spec.name, exit))
            self.failure = RestartsExhausted(self.spec.name, exit)
            self._ending = True
            return
        plan = after_death(self.spec.strategy, self.spec.children, name)
        delay = self.spec.backoff.delay(before)
        self.restarts += 1
        self.emit(ChildRestarting(self.spec.name, name, delay, before + 1))
        for other in plan.stop:
            if other in self.alive:
                await self._stop(self.alive[other])
        # Stopping the others took its time; the delay is between the end of the last and the first start.
        self._due.update(dict.fromkeys(plan.start, trio.current_time() + delay))
