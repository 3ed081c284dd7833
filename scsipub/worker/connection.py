"""Connection: one initiator's TCP connection, from its first byte to its last.

Knows trio and sockets.  Login goes by ``login``; after that the unit of work is a turn: one wake-up, one
``recv_into`` the worker's shared buffer, many PDUs, one send, one checkpoint.  An idle connection holds no
buffer at all; only the tail of an incomplete PDU is kept.

A hot connection (whose last gap was shorter than a wake-up costs) polls its socket for a moment before it
goes to sleep: waking up is the most expensive part of a short command."""

import contextlib
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

import trio

from scsipub.errors import FramingLost
from scsipub.iscsi.outbox import Segment
from scsipub.target.nexus import Nexus
from scsipub.target.turn import turn
from scsipub.worker.blackbox import NAME, NOBODY, name_of
from scsipub.worker.blocking import run_job
from scsipub.worker.input import Input
from scsipub.worker.output import Output, PeerGone
from scsipub.worker.tls import AnySocket

if TYPE_CHECKING:
    from scsipub.worker.main import Worker

# A cold connection tries polling once in so many turns, to find out whether it has become hot.
TRY_SPINNING_EVERY = 16
# A turn longer than this has waited for the disk: the kernel holds back who dirties pages too fast.
SLOW_TURN_SECONDS = 0.02
# Two commands further apart than this say nothing about polling.
BRISK_SECONDS = 0.001
# After so many crumbs in a row, each wait for the next is as long.
MANY_CRUMBS, CRUMBS_SECONDS = 8, 0.001


def first_of(group: BaseExceptionGroup[FramingLost]) -> FramingLost:
    """The first exception that is not a group itself."""
    inner = group.exceptions[0]
    return first_of(inner) if isinstance(inner, BaseExceptionGroup) else inner


class Connection:
    """One connection in full feature phase.  Made by ``login`` when that has succeeded."""

    __slots__ = (
        "asleep",
        "closed",
        "cold_turns",
        "flushing",
        "hot",
        "in_turn",
        "input",
        "more",
        "name",
        "nexus",
        "nursery",
        "output",
        "rest",
        "room",
        "sent_at",
        "slice",
        "sock",
        "stalled_since",
        "woken",
        "worker",
    )

    def __init__(
        self, worker: "Worker", sock: AnySocket, nexus: Nexus, tail: bytes, session: str = ""
    ) -> None:
        self.worker = worker
        self.name = name_of(session)
        self.sock = sock
        self.nexus = nexus
        self.output = Output(sock)
        self.input = Input(tail)
        self.more = False  # whole PDUs are left in the input: no need to wait for the socket
        self.rest = False  # answers are left to be produced, and there is room for them
        self.nursery: trio.Nursery | None = None  # while there are helpers
        self.in_turn = False
        self.asleep = False  # waiting for the socket, and for nothing else
        self.woken = False
        self.closed = False
        self.flushing = False
        self.room: trio.Event | None = None  # what we wait for while the backlog is too long
        self.hot = False
        self.cold_turns = 0
        self.slice = worker.slices.ample  # how much this turn may be
        self.sent_at = 0.0  # when our last answer left, for the gap that follows
        self.stalled_since = 0.0  # since when the peer takes nothing; 0: it does
        nexus.wake = self.wake

    # -- the life of it ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until logout, loss or shutdown.  On return no thread works for this session any more."""
        try:
            self.after_turn()
            if self.input.tail:
                self.process(0)
            while not self.finished():
                if self._needs_helpers():
                    await self._with_helpers()
                elif self._one_turn():
                    await self._others_turn()
                else:
                    # As in ``_sleep``; but here ten thousand wait, each with the frames that lead here.
                    self.asleep = True
                    try:  # noqa: SIM105
                        await trio.lowlevel.wait_readable(self.sock)
                    except trio.ClosedResourceError:
                        pass
                    self.asleep = False
            if self.output.unsent and not self.closed:
                await self._with_helpers()
        except PeerGone:
            pass
        finally:
            self._close()

    def finished(self) -> bool:
        return self.closed or (self.nexus.session.closing and not self.woken)

    def _needs_helpers(self) -> bool:
        """Threads have work for us, or the socket did not take everything: somebody must see to that."""
        return bool(self.nexus.jobs or self.output.unsent)

    async def _with_helpers(self) -> None:
        """Go on with tasks of our own beside us, and return when there is nothing left for them to do.

        A nursery is 1 KiB, which the ten thousand that are idle need not have."""
        try:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                try:
                    self._start_flushing()
                    self.after_turn()
                    while not self.finished() and (nursery.child_tasks or self._needs_helpers()):
                        if self._backlog_is_long() and not self.woken:
                            await self._park()
                        elif self._one_turn():
                            await self._others_turn()
                        else:
                            await self._sleep()
                    if self.finished():
                        await self._drain()
                        self._close()
                except BaseException:
                    self._close()
                    raise
                finally:
                    self.nursery = None
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # The nursery wraps what ended it; who answers for the peer's mistakes looks for them bare.
            rest = group.split(PeerGone)[1]
            if rest is None:
                raise PeerGone("while helpers were at work") from None
            lost, ours = rest.split(FramingLost)
            if lost is None or ours is not None:
                raise rest from None
            raise first_of(lost) from None

    def _close(self) -> None:
        """From here on others of the unit may still wake us, but nothing new begins."""
        if not self.closed:
            self.closed = True
            self.nexus.close()
            if self.hot:
                self.worker.hot_connections -= 1

    async def _drain(self) -> None:
        """The last answers should still arrive, if the peer takes them."""
        with trio.move_on_after(5.0):
            while self.output.unsent:
                await self._park()

    # -- receiving ---------------------------------------------------------------------------------------

    # Hot: once per wake-up.
    def _one_turn(self) -> bool:
        """Take what has come and answer it.  False: nothing has come."""
        self.slice = self.worker.slices.of(self, monotonic())
        if self.woken:
            self.woken = False
            self.after_turn()
            return True
        got = self._receive()
        if got < 0:
            if self.more:
                got = 0
            elif self.rest:
                self.rest = False
                self.after_turn()
                return True
            elif not self._may_spin() or (got := self._spin()) < 0:
                return False
        elif got == 0:
            raise PeerGone("end of stream")
        self.sent_at = monotonic()
        self.process(got)
        return True

    async def _others_turn(self) -> None:
        """Once through the event loop; who sends crumbs waits for some more of them, too."""
        if self.input.crumbs < MANY_CRUMBS:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(CRUMBS_SECONDS)

    def _backlog_is_long(self) -> bool:
        return self.output.unsent >= self.worker.limits.output_backpressure_bytes

    def _receive(self) -> int:
        """Bytes read; -1 when there are none; 0 at the end of the stream."""
        worker = self.worker
        try:
            return self.input.receive(self.sock, worker.buffer, self.slice.receive_bytes)
        except BlockingIOError:
            return -1
        except OSError as error:
            raise PeerGone(str(error)) from error

    def process(self, got: int) -> None:
        """Handle what is in the buffer: the kept tail and ``got`` new bytes behind it."""
        view, end = self.input.whole(self.worker.buffer, got)
        if not end:
            self.more = False
            return
        at, more = self._turns(view, end)
        if not at and got:
            self.input.count_crumb(got)
        else:
            self.input.crumbs = 0
        if at == end or self.nexus.session.closing:
            self.input.tail = b""
        else:
            self.input.keep(view, at, end, self.nexus.session.needs(view, at, end))
        self.more = more and self.input.large is None  # the rest of a large PDU is worth waiting for

    def _turns(self, view: memoryview, end: int) -> tuple[int, bool]:
        """Take PDUs until none is whole, or our slice is spent.  Returns (how far, is there more)."""
        nexus, worker = self.nexus, self.worker
        now = monotonic()
        until = now + self.slice.seconds
        counters, done = nexus.session.counters, nexus.session.counters.operations
        at = 0
        self.in_turn = True
        worker.serving.page[:NAME] = self.name
        try:
            while True:
                before, at = at, turn(nexus, view, at, end, now, self.slice.output_bytes)
                took = monotonic() - now
                if took > SLOW_TURN_SECONDS:
                    nexus.write_in_threads(now + took)
                self.after_turn()
                if counters.operations != done:
                    worker.latency.add(monotonic() - now, counters.operations - done)
                    done = counters.operations
                if at == before or nexus.session.closing:
                    return at, False
                if self.output.unsent >= worker.limits.output_backpressure_bytes:
                    return at, True
                if at == end:
                    return at, False
                now = monotonic()
                if now > until:
                    return at, True
        except FramingLost:
            with contextlib.suppress(PeerGone):
                self.send(worker.out.take())  # what came before it was in order
            raise
        except BaseException:
            worker.out.take()  # the outbox is everybody's: not one byte may stay for the next session
            raise
        finally:
            self.in_turn = False
            worker.serving.page[:NAME] = NOBODY

    # -- waiting -----------------------------------------------------------------------------------------

    def _may_spin(self) -> bool:
        if self.worker.threads.borrowed_tokens:
            return False  # a thread needs the interpreter more than we do
        if self.hot:
            return self.worker.hot_connections <= self.worker.spinners
        self.cold_turns += 1
        return self.cold_turns % TRY_SPINNING_EVERY == 0 and monotonic() - self.sent_at < BRISK_SECONDS

    def _spin(self) -> int:
        """Poll the socket for as long as a wake-up would cost.  -1: nothing came."""
        until = perf_counter() + self.worker.limits.spin_seconds
        while perf_counter() < until:
            got = self._receive()
            if got >= 0:
                self._set_hot(True)
                return got
        self._set_hot(False)
        return -1

    def _set_hot(self, hot: bool) -> None:
        if hot != self.hot:
            self.hot = hot
            self.worker.hot_connections += 1 if hot else -1

    # -- after a turn ------------------------------------------------------------------------------------

    def after_turn(self) -> None:
        """Produce what there is room for, start the threads, send.  Synchronous; may be called at any time
        when the outbox holds only answers of this session."""
        try:
            self._after_turn()
        except BaseException:
            self.worker.out.take()
            raise

    def _after_turn(self) -> None:
        nexus, nursery, worker = self.nexus, self.nursery, self.worker
        streams = nexus.streams
        if nexus.posted:
            nexus.deliver()
        if streams.queue:
            streams.pump(self.output.unsent, self.slice.output_bytes)
        if nexus.jobs and nursery is not None:
            jobs, nexus.jobs = nexus.jobs, ()
            for job in jobs:
                nursery.start_soon(run_job, self, job)
        if nexus.backgrounds:
            works, nexus.backgrounds = nexus.backgrounds, ()
            for work in works:
                worker.start_background(*work)
        if not worker.out.queued:
            return
        self.send(worker.out.take())
        if streams.queue and self.output.unsent < worker.limits.session_output_bytes:
            # A peer that takes everything at once would have us here for all that it asked for, half a
            # gigabyte perhaps.  Others first.
            if self.asleep or self.room is not None:
                self.wake()
            else:
                self.rest = True

    def send(self, segments: list[Segment]) -> None:
        output = self.output
        output.send(segments)
        if output.unsent:
            self._start_flushing()

    def _start_flushing(self) -> None:
        if self.output.unsent and not self.flushing and self.nursery is not None:
            self.flushing = True
            self.stalled_since = monotonic()
            self.nursery.start_soon(self._flush)

    async def _flush(self) -> None:
        """Lives while there is a backlog."""
        output = self.output
        try:
            while output.unsent:
                with contextlib.suppress(trio.ClosedResourceError):  # ``wake`` rings for everybody
                    await trio.lowlevel.wait_writable(self.sock)
                before = output.unsent
                output.flush()
                if output.unsent < before:
                    self.stalled_since = monotonic()
                if output.unsent < self.worker.limits.session_output_bytes and not self.in_turn:
                    self.after_turn()
                if self.room is not None:
                    self.room.set()
        finally:
            self.flushing = False
            self.stalled_since = 0.0

    async def _sleep(self) -> None:
        """Until something comes, or somebody wakes us."""
        self.asleep = True
        with contextlib.suppress(trio.ClosedResourceError):  # ``wake``
            await trio.lowlevel.wait_readable(self.sock)
        self.asleep = False

    async def _park(self) -> None:
        """Until some of the backlog is gone, or somebody wakes us."""
        self.room = trio.Event()
        try:
            await self.room.wait()
        finally:
            self.room = None

    def wake(self) -> None:
        """Somebody (a thread, another session of the unit) has made work or answers for us."""
        if self.in_turn or self.woken or self.closed:
            return
        self.woken = True
        if self.asleep:
            # Trio's way to end a wait for a socket from outside.  A scope around each wait would do the same,
            # at the price of half a KiB for every session that waits.
            trio.lowlevel.notify_closing(self.sock)
        elif self.room is not None:
            self.room.set()

    def do(self, deed: Callable[[], None]) -> None:
        """Run something that may answer (a ping, the end of a job), and send what came of it."""
        self.in_turn = True
        try:
            deed()
        except BaseException:
            self.worker.out.take()
            raise
        finally:
            self.in_turn = False
        self.after_turn()
