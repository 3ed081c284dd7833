"""Worker processes: started, made ready, watched, drained, killed, replaced.

Source: OTP's supervisor for the rules; nginx and gunicorn for what can go wrong with processes.
Knows trio, processes and signals.  Does not know what a worker does; ``child`` is the other end.

A pool has ``size`` slots; a slot holds one process at a time, and a new one (the next *incarnation*) only
after the old one has been reaped.  What a dead worker owned is therefore free when its successor begins.

    STARTING -> READY -> DRAINING -> STOPPED
        ^  \\______/ \\_______/
        |      | died
        +-- BACKING_OFF            the restart budget of the slot allows another try
        +-- QUARANTINED            it does not; try again much later
"""

import logging
from collections.abc import Awaitable

import attrs
import trio

from supervisor.budget import RestartBudget
from supervisor.channel import CallError, Channel, ChannelClosed, Handler, channel_pair
from supervisor.exits import Exit, Killed, NeverStarted, Reason, Stopped
from supervisor.pool_spec import PoolSpec, PoolStatistics, SlotStatistics
from supervisor.process import State, Worker, process_reason, spawn
from supervisor.stopping import stopping
from supervisor.telemetry import SlotQuarantined, WorkerDown, WorkerNotStarted, WorkerUp

__all__ = ["PoolSpec", "PoolStatistics", "SlotStatistics", "StartFailed", "State", "Worker", "WorkerPool"]

_log = logging.getLogger(__name__)


class StartFailed(Exception):
    """While the pool started, a slot used up its budget.  ``exit`` says how its last process ended."""

    def __init__(self, exit: Exit) -> None:
        super().__init__(str(exit))
        self.exit = exit


@attrs.define(eq=False)
class _Slot:
    index: int
    budget: RestartBudget
    state: State = State.STARTING
    incarnation: int = 0
    worker: Worker | None = None
    last_exit: Exit | None = None
    planned: bool = False
    was_ready: bool = False
    # Replaced whenever they are set: "something about this slot changed", and "do not wait any longer".
    changed: trio.Event = attrs.field(factory=trio.Event)
    wake: trio.Event = attrs.field(factory=trio.Event)

    def become(self, state: State) -> None:
        self.state = state
        if self.worker is not None:
            self.worker.state = state
        self.was_ready = self.was_ready or state is State.READY
        self.changed.set()
        self.changed = trio.Event()

    def hurry(self) -> None:
        self.wake.set()
        self.wake = trio.Event()


class WorkerPool:
    """``run`` it in a nursery; it has started when every slot has been ready once."""

    def __init__(self, spec: PoolSpec) -> None:
        self.spec = spec
        self._emit = spec.on_event
        self._slots: list[_Slot] = []
        self._draining = False
        self._drained = trio.Event()
        self._drained.set()
        self._hung = 0
        self._hook_failures = 0
        self._restarting = trio.Lock()

    @property
    def workers(self) -> list[Worker]:
        """The living who have been ready: READY or DRAINING."""
        return [
            slot.worker
            for slot in self._slots
            if slot.worker is not None and slot.worker.state in (State.READY, State.DRAINING)
        ]

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(
            slots=tuple(
                SlotStatistics(
                    index=slot.index,
                    state=slot.state,
                    incarnation=slot.incarnation,
                    pid=None if slot.worker is None else slot.worker.pid,
                    restarts=max(0, slot.incarnation - 1),
                    last_exit=slot.last_exit,
                )
                for slot in self._slots
            ),
            hung=self._hung,
            hook_failures=self._hook_failures,
        )

    async def wait_state(self, index: int, state: State, incarnation: int = 0) -> SlotStatistics:
        """Until this slot is in ``state``, in the given incarnation or a later one."""
        slot = self._slots[index]
        while slot.state is not state or slot.incarnation < incarnation:
            await slot.changed.wait()
        return self.statistics().slots[index]

    # ---- the life of the pool

    async def run(self, task_status: "trio.TaskStatus[WorkerPool]" = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the slots filled until ``drain`` is called, by whomever or because a supervisor asks.

        Cancelled, it kills all and reaps all.
        """
        budget = (self.spec.max_restarts, self.spec.max_seconds)
        self._slots = [_Slot(index, RestartBudget(*budget)) for index in range(self.spec.size)]
        self._draining, self._drained = False, trio.Event()
        try:
            async with trio.open_nursery() as ours:
                ours.start_soon(self._heed, stopping())
                async with trio.open_nursery() as nursery:
                    for slot in self._slots:
                        nursery.start_soon(self._keep, slot)
                    for slot in self._slots:
                        while not slot.was_ready and not self._draining:
                            if slot.state is State.QUARANTINED and slot.last_exit is not None:
                                raise StartFailed(slot.last_exit)
                            await slot.changed.wait()
                    task_status.started(self)
                ours.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # One exception in two nurseries of ours: whoever called us knows nothing of these.
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            raise error from None
        finally:
            self._drained.set()

    async def _heed(self, stop: trio.Event) -> None:
        await stop.wait()
        await self.drain()

    async def drain(self, seconds: float | None = None) -> None:
        """Tell every worker to finish, and wait until all are gone.  ``run`` returns then.

        At once the cast "drain"; ``term_seconds`` before the deadline SIGTERM; at the deadline SIGKILL.
        """
        if not self._draining:
            self._draining = True
            async with trio.open_nursery() as nursery:
                for slot in self._slots:
                    slot.hurry()
                    if slot.worker is not None:
                        nursery.start_soon(self._end, slot, slot.worker, seconds)
        await self._drained.wait()

    async def restart(self, index: int, seconds: float | None = None) -> Worker | None:
        """Drain the worker of one slot, wait until its successor is ready.  Costs nothing of the budget.

        A slot that backs off or is in quarantine tries at once.  None: there is no successor.
        """
        slot = self._slots[index]
        successor = slot.incarnation + 1
        if slot.worker is not None:
            await self._end(slot, slot.worker, seconds)
        else:
            slot.budget.forget()
            slot.hurry()
        while slot.state is not State.STOPPED:
            if slot.incarnation >= successor:
                if slot.state is State.READY:
                    return slot.worker
                if slot.state is State.QUARANTINED:
                    return None
            await slot.changed.wait()
        return None

    async def rolling_restart(self, seconds: float | None = None) -> None:
        """Replace every worker, one at a time: the next when the successor of the last is ready.

        It stops at a slot whose successor does not become ready: the others go on as they are.
        """
        async with self._restarting:
            for slot in self._slots:
                if self._draining or await self.restart(slot.index, seconds) is None:
                    return

    async def _end(self, slot: _Slot, worker: Worker, seconds: float | None) -> None:
        seconds = self.spec.drain_seconds if seconds is None else seconds
        patience = max(0.0, seconds - self.spec.term_seconds)
        if slot.worker is worker:
            slot.planned = True
            if worker.state is State.READY:
                slot.become(State.DRAINING)
            elif worker.state is State.STARTING:
                patience = 0.0  # it has nothing to finish
        worker.channel.try_cast("drain", {"seconds": seconds})
        with trio.move_on_after(patience):
            await worker.wait_reaped()
            return
        worker._process.terminate()
        with trio.move_on_after(min(seconds, self.spec.term_seconds)):
            await worker.wait_reaped()
            return
        worker._killed_late = True
        worker.kill("it did not end until the deadline")
        await worker.wait_reaped()

    # ---- the life of a slot

    async def _keep(self, slot: _Slot) -> None:
        try:
            while not self._draining:
                slot.planned = False
                slot.last_exit = await self._one_life(slot)
                if self._draining or slot.planned:
                    continue
                now = trio.current_time()
                before = slot.budget.recent(now)
                if slot.budget.spend(now):
                    delay = self.spec.backoff.delay(before)
                    state = State.BACKING_OFF
                else:
                    delay = self.spec.quarantine_seconds
                    state = State.QUARANTINED
                    slot.budget.forget()
                    self._emit(SlotQuarantined(self.spec.name, slot.index, slot.last_exit, delay))
                slot.become(state)
                with trio.move_on_after(delay):
                    await slot.wake.wait()
        finally:
            slot.become(State.STOPPED)

    async def _one_life(self, slot: _Slot) -> Exit:
        name = f"{self.spec.name} {slot.index}"
        slot.incarnation += 1
        slot.become(State.STARTING)
        began = trio.current_time()
        ours, theirs = channel_pair()
        try:
            process = await spawn(self.spec.argv(slot.index, theirs.fileno()), theirs, self.spec.environment)
        except BaseException as exc:
            ours.close()
            if not isinstance(exc, OSError):
                raise
            exit = Exit(name, NeverStarted(exc), 0.0)
            self._emit(WorkerNotStarted(self.spec.name, slot.index, exit))
            return exit
        finally:
            theirs.close()
        handlers: dict[str, Handler] = {}
        worker = Worker(slot.index, slot.incarnation, process, Channel(ours, handlers))
        slot.worker = worker
        try:
            handlers.update(self.spec.handlers(worker), ready=worker._say_ready)
            if self._draining:
                slot.planned = True
                worker.kill("the pool is ending")
            await self._live(slot, worker)
            worker.channel.close()
            slot.worker = None
            slot.last_exit = self._report(slot, worker, trio.current_time() - began)
            slot.become(State.DOWN)
            await self._hook(self.spec.on_down(worker, slot.last_exit))
            return slot.last_exit
        finally:
            if process.returncode is None:  # cancelled: nobody may stay behind
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
            worker.channel.close()
            worker.state = State.STOPPED
            slot.worker = None
            worker._reaped.set()

    def _report(self, slot: _Slot, worker: Worker, seconds: float) -> Exit:
        returncode = worker._process.returncode or 0
        reason: Reason = process_reason(returncode, tuple(worker.stderr))
        if worker._killed_late:
            reason = Killed()
        elif slot.planned and returncode == 0:
            reason = Stopped()
        exit = Exit(f"{self.spec.name} {slot.index}", reason, seconds)
        self._emit(WorkerDown(self.spec.name, slot.index, worker.pid, exit, slot.planned, worker.verdict))
        return exit

    async def _live(self, slot: _Slot, worker: Worker) -> None:
        async with trio.open_nursery() as readers:
            readers.start_soon(worker.read_stderr, self.spec.on_stderr)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_channel, worker)
                nursery.start_soon(self._make_ready_and_watch, slot, worker)
                await worker._process.wait()
                nursery.cancel_scope.cancel()
            # A grandchild may have inherited stderr and keep it open: do not wait for it long.
            readers.cancel_scope.deadline = trio.current_time() + 1.0

    async def _serve_channel(self, worker: Worker) -> None:
        await worker.channel.run()
        # It hung up and should be about to end.
        await trio.sleep(self.spec.heartbeat_seconds)
        worker.kill(f"its channel ended ({worker.channel.closed_because}) and it did not")

    async def _make_ready_and_watch(self, slot: _Slot, worker: Worker) -> None:
        with trio.move_on_after(self.spec.ready_seconds) as waiting:
            await worker._ready.wait()
        if waiting.cancelled_caught:
            worker.kill(f"it was not ready within {self.spec.ready_seconds:g} s")
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, worker)
            self._emit(WorkerUp(self.spec.name, worker.index, worker.incarnation, worker.pid))
            if not slot.planned:
                worker.state = State.READY
            await self._hook(self.spec.on_up(worker))
            if not slot.planned:
                slot.become(State.READY)

    async def _watch(self, worker: Worker) -> None:
        """Ping; kill who is silent for ``heartbeat_seconds * misses``, counted from its last answer."""
        heartbeat = self.spec.heartbeat_seconds
        patience = heartbeat * self.spec.misses
        heard = trio.current_time()
        while True:
            await trio.sleep(heartbeat)
            with trio.move_on_at(heard + patience) as waiting:
                try:
                    await worker.channel.call("ping", timeout=None)
                except ChannelClosed:
                    return
                except CallError:
                    pass  # an odd answer, but an answer: its event loop turns
            now = trio.current_time()
            if waiting.cancelled_caught and now - waiting.deadline < heartbeat / 2:
                self._hung += 1
                worker.kill(f"it was silent for {now - heard:.1f} s")
                return
            # Answered; or we ourselves slept through the deadline, and cannot blame the child.
            heard = now

    async def _hook(self, hook: Awaitable[None]) -> None:
        try:
            await hook
        except Exception:
            self._hook_failures += 1
            _log.exception("a hook of the pool %s failed", self.spec.name)
