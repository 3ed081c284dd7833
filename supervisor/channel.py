"""Calls, casts and descriptors between two processes over one Unix stream socket.

Source: Erlang's gen_server for the words; ``wire`` for the bytes.
Knows trio and sockets.  Does not know what a method means, nor who sits at the other end.

Each side may call the other.  A handler is a function of ``(params, fds)``:

* an ``async def`` gets a task of its own, so it may wait; two of them may overtake each other;
* a plain ``def`` is run by the reader on the spot, in the order of arrival.  Cheap, and must stay short.

Who closes which descriptor: those given to ``call`` and ``cast`` stay the caller's and may be closed as
soon as it returns; those received belong to the handler, or to the caller of ``call_with_fds``.  The
channel closes only what nobody was there to take.

Everything is bounded.  Of incoming work ``max_running`` handlers run and ``max_waiting`` wait; beyond that
a call is answered ``busy`` and a cast is dropped and counted.  The reader itself never stops: answers and
pings get through to a process that has too much to do.  Outgoing, ``max_outbox`` bytes may lie unsent; then
senders wait and ``try_cast`` says no.
"""

import contextlib
import inspect
import itertools
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs
import outcome
import trio

from supervisor import wire
from supervisor.descriptors import ANCILLARY, close_all, received
from supervisor.outbox import GONE, ChannelClosed, Outbox
from supervisor.wire import Json, Params, WireError

__all__ = [
    "CallError",
    "CallTimedOut",
    "Channel",
    "ChannelClosed",
    "ChannelStatistics",
    "Handler",
    "Reply",
    "channel_pair",
    "close_all",
]

_log = logging.getLogger(__name__)

_READ_SIZE = 65536

# Long enough for anything that a healthy process answers, short enough that nobody waits for ever.
CALL_SECONDS = 30.0


class CallError(Exception):
    """The other side answered, and the answer is no.  A handler raises it to say so.

    The channel's own codes: ``unknown_method crashed busy fds_lost bad_result timeout``.
    """

    def __init__(self, code: str, message: str = "", data: Json = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class CallTimedOut(CallError):
    """No answer in time.  What the other side does about the call is unknown."""


@attrs.frozen
class Reply:
    """What a handler returns to send descriptors along; the channel closes them when they are out."""

    result: Json = None
    fds: Sequence[int] = ()


Handler = Callable[[Params, list[int]], Awaitable[Json] | Json]


@attrs.frozen
class ChannelStatistics:
    """How a channel is.  ``calls`` and ``casts`` are what we sent, the rest speaks of what came."""

    calls: int
    casts: int
    casts_not_sent: int
    received: int
    crashed: int
    refused: int
    pending: int
    running: int
    waiting: int
    outbox_bytes: int


class Channel:
    """One end of the line.  ``run`` must be running for anything to be received."""

    def __init__(
        self,
        stream_socket: "trio.socket.SocketType | socket.socket",
        handlers: Mapping[str, Handler] | None = None,
        *,
        max_running: int = 256,
        max_waiting: int = 1024,
        max_outbox: int = 2**20,
    ) -> None:
        # Trio's own socket objects cost 9 µs a read more than a raw socket and wait_readable.
        self._socket = socket.socket(fileno=stream_socket.detach())
        self._socket.setblocking(False)
        self._handlers: Mapping[str, Handler] = handlers if handlers is not None else {}
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._numbers = itertools.count(1)
        self._pending: dict[int, trio.lowlevel.Task] = {}
        self._outbox = Outbox(self._socket, max_outbox, self._hang_up)
        self._fds: deque[list[int]] = deque()
        # Who hears of a cast whose descriptors we had no room for.  Without anybody it is logged.
        self.when_lost: dict[str, Callable[[Params], object]] = {}
        self._running = 0
        self._waiting: deque[tuple[int | None, str, Awaitable[Json], list[int]]] = deque()
        self._nursery: trio.Nursery | None = None
        self.closed_because: str | None = None
        self._calls = self._casts = self._not_sent = self._received = self._crashed = self._refused = 0

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(
            calls=self._calls,
            casts=self._casts,
            casts_not_sent=self._not_sent,
            received=self._received,
            crashed=self._crashed,
            refused=self._refused,
            pending=len(self._pending),
            running=self._running,
            waiting=len(self._waiting),
            outbox_bytes=self._outbox.bytes,
        )

    # ---- saying things

    async def call(
        self,
        method: str,
        params: Params | None = None,
        fds: Sequence[int] = (),
        timeout: float | None = CALL_SECONDS,
    ) -> Json:
        """Ask and wait (None: for ever).  Raises CallError, CallTimedOut, ChannelClosed."""
        result, received = await self.call_with_fds(method, params, fds, timeout)
        close_all(received)
        return result

    async def call_with_fds(
        self,
        method: str,
        params: Params | None = None,
        fds: Sequence[int] = (),
        timeout: float | None = CALL_SECONDS,
    ) -> tuple[Json, list[int]]:
        """As ``call``; the descriptors that came with the result are now yours."""
        number = next(self._numbers)
        frame = wire.pack(wire.Call(number, method, params or {}, len(fds)))
        if timeout is None:
            return await self._ask(number, frame, fds)
        with trio.move_on_after(timeout):
            return await self._ask(number, frame, fds)
        raise CallTimedOut("timeout", f"{method} was not answered within {timeout} s")

    async def _ask(self, number: int, frame: bytes, fds: Sequence[int]) -> tuple[Json, list[int]]:
        await self._outbox.room(len(frame))
        self._outbox.send(frame, fds)
        self._calls += 1
        self._pending[number] = trio.lowlevel.current_task()

        def abandon(_raise_cancel: object) -> trio.lowlevel.Abort:
            del self._pending[number]
            return trio.lowlevel.Abort.SUCCEEDED

        answer: tuple[Json, list[int]] = await trio.lowlevel.wait_task_rescheduled(abandon)
        return answer

    async def cast(self, method: str, params: Params | None = None, fds: Sequence[int] = ()) -> None:
        """Say it and go on; waits only while the outbox is full.  Raises ChannelClosed."""
        frame = wire.pack(wire.Cast(method, params or {}, len(fds)))
        await self._outbox.room(len(frame))
        self._outbox.send(frame, fds)
        self._casts += 1
        await trio.lowlevel.checkpoint()

    def try_cast(self, method: str, params: Params | None = None, fds: Sequence[int] = ()) -> bool:
        """Say it now, or do not: False when the outbox is full or the channel is closed.  Never waits."""
        frame = wire.pack(wire.Cast(method, params or {}, len(fds)))
        if self.closed_because is None and self._outbox.fits(len(frame)):
            with contextlib.suppress(ChannelClosed):
                self._outbox.send(frame, fds)
                self._casts += 1
                return True
        self._not_sent += 1
        return False

    # ---- hearing things

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until the other side hangs up or ``close`` is called.  Handlers in mid-work are cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._outbox.run)
                task_status.started()
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._hang_up("the channel was stopped")

    async def _read(self) -> None:
        splitter = wire.Splitter()
        try:
            while self.closed_because is None:
                await trio.lowlevel.wait_readable(self._socket)
                if self.closed_because is not None:
                    return  # a sender found out first
                try:
                    data, ancillary, flags, _ = self._socket.recvmsg(
                        _READ_SIZE, ANCILLARY, socket.MSG_CMSG_CLOEXEC
                    )
                except BlockingIOError:
                    continue
                if ancillary or flags & socket.MSG_CTRUNC:
                    # The kernel never merges the descriptors of two messages into one read.
                    self._fds.append(received(ancillary))
                if not data:
                    self._hang_up("the other side hung up")
                    return
                for message in splitter.feed_untrusted(data):
                    self._receive(message)
        except GONE as exc:
            self._hang_up(f"the other side is gone: {exc}")
        except WireError as exc:
            _log.warning("channel ended: %s", exc)
            self._hang_up(f"a bad frame: {exc}")
        except trio.ClosedResourceError:
            pass  # close() was called

    def _receive(self, message: wire.Message) -> None:
        match message:
            case wire.Result(number, result, count):
                fds, whole = self._take_fds(count)
                if not whole:
                    self._settle(
                        number, outcome.Error(CallError("fds_lost", "descriptors of the answer were lost"))
                    )
                elif not self._settle(number, outcome.Value((result, fds))):
                    close_all(fds)  # the caller has given up
            case wire.Failure(number, code, text, data):
                self._settle(number, outcome.Error(CallError(code, text, data)))
            case wire.Call(number, method, params, count):
                self._handle(number, method, params, count)
            case wire.Cast(method, params, count):
                self._handle(None, method, params, count)

    def _take_fds(self, count: int) -> tuple[list[int], bool]:
        """The descriptors of a frame that announces ``count``, and whether all of them came."""
        if not count:
            return [], True
        if not self._fds:
            raise WireError(f"{count} descriptors were announced and none came")
        fds = self._fds.popleft()
        if len(fds) == count:
            return fds, True
        close_all(fds)  # we have no descriptors left, and the kernel dropped some
        return [], False

    def _settle(self, number: int, answer: "outcome.Value[object] | outcome.Error") -> bool:
        task = self._pending.pop(number, None)
        if task is None:
            return False
        trio.lowlevel.reschedule(task, answer)
        return True

    def _handle(self, number: int | None, method: str, params: Params, count: int) -> None:
        self._received += 1
        fds, whole = self._take_fds(count)
        if not whole:
            if number is None and method in self.when_lost:
                self.when_lost[method](params)
                return
            _log.warning("descriptors of %s were lost on the way", method)
            self._refuse(number, CallError("fds_lost", f"the descriptors of {method} were lost"), fds)
            return
        handler = self._handlers.get(method)
        if handler is None:
            self._refuse(number, CallError("unknown_method", method), fds)
            return
        try:
            result = handler(params, fds)
        except Exception as exc:
            self._say(number, self._failure(number, method, exc))
            return
        if not inspect.isawaitable(result):
            self._answer(number, method, result)
        elif self._running < self._max_running and self._nursery is not None:
            self._running += 1
            self._nursery.start_soon(self._work, number, method, result)
        elif len(self._waiting) < self._max_waiting:
            self._waiting.append((number, method, result, fds))
        else:
            _drop(result)
            self._refuse(number, CallError("busy", f"{self._max_waiting} calls wait already"), fds)

    async def _work(self, number: int | None, method: str, result: Awaitable[Json]) -> None:
        """One of at most ``max_running`` tasks: answers its call, then whatever waits."""
        try:
            while True:
                await self._answer_later(number, method, result)
                if not self._waiting:
                    return
                number, method, result, _ = self._waiting.popleft()
        finally:
            self._running -= 1

    async def _answer_later(self, number: int | None, method: str, result: Awaitable[Json]) -> None:
        try:
            value = await result
        except Exception as exc:
            self._say(number, self._failure(number, method, exc))
        else:
            self._answer(number, method, value)

    def _answer(self, number: int | None, method: str, value: Json) -> None:
        reply = value if isinstance(value, Reply) else Reply(value)
        if number is not None:
            try:
                frame = wire.pack(wire.Result(number, reply.result, len(reply.fds)))
            except WireError as exc:
                _log.error("%s returned what cannot be sent: %s", method, exc)
                frame = wire.pack(wire.Failure(number, "bad_result", str(exc)))
                self._say(number, frame)
            else:
                self._say(number, frame, reply.fds)
        close_all(reply.fds)

    def _failure(self, number: int | None, method: str, exc: Exception) -> bytes:
        if not isinstance(exc, CallError):
            self._crashed += 1
            _log.error("the handler of %s crashed", method, exc_info=exc)
            exc = CallError("crashed", f"{type(exc).__name__}: {exc}")
        try:
            return wire.pack(wire.Failure(number or 0, exc.code, exc.message, exc.data))
        except WireError as error:
            return wire.pack(wire.Failure(number or 0, exc.code, str(error)))

    def _refuse(self, number: int | None, error: CallError, fds: list[int]) -> None:
        self._refused += 1
        close_all(fds)
        self._say(number, wire.pack(wire.Failure(number or 0, error.code, error.message)))

    def _say(self, number: int | None, frame: bytes, fds: Sequence[int] = ()) -> None:
        """Answers do not wait for room: there are never more than the calls that were let in."""
        if number is not None:
            try:
                self._outbox.send(frame, fds)
            except ChannelClosed:
                pass
            except OSError as exc:
                _log.warning("descriptors of an answer could not be sent: %s", exc)
                with contextlib.suppress(ChannelClosed):
                    self._outbox.send(wire.pack(wire.Failure(number, "fds_lost", str(exc))), ())

    # ---- the end

    def close(self) -> None:
        """Hang up.  Whoever waits for an answer gets ChannelClosed; ``run`` returns."""
        self._hang_up("we hung up")

    def _hang_up(self, why: str) -> None:
        if self.closed_because is not None:
            return
        self.closed_because = why
        self._outbox.close(why)
        trio.lowlevel.notify_closing(self._socket)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # copies of the descriptor keep nobody on the line
        self._socket.close()
        for number in list(self._pending):
            self._settle(number, outcome.Error(ChannelClosed(why)))
        for _, _, result, fds in self._waiting:
            _drop(result)
            close_all(fds)
        self._waiting.clear()
        for fds in self._fds:
            close_all(fds)
        self._fds.clear()


def _drop(result: Awaitable[Json]) -> None:
    """Forget a handler that never began, without Python's complaint that nobody awaited it."""
    close = getattr(result, "close", None)
    if close is not None:
        close()


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, one for each end."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
