"""The child's end of a pool: answer pings, hear "drain", and do not outlive the parent.

Knows trio, signals and ``channel``.  Does not know what the child does for a living.

    async with child_channel(fd, handlers) as parent:
        await parent.ready({"port": 3260})
        await parent.draining.wait()

The parent's death closes its end of the channel.  A thread waits for nothing else, so even a child whose
event loop hangs ends itself: first it is cancelled, and when ``grace`` seconds later it is still there, the
process exits.  PR_SET_PDEATHSIG would not do: it fires at the death of the *thread* that started us, and
Trio starts processes from threads that end when they have been idle for a while.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import trio

from supervisor.channel import Channel, Handler
from supervisor.wire import Json, Params

# EX_TEMPFAIL: it was not our fault, and the next try may do better.
ORPHANED = 75


class ChildChannel(Channel):
    """A channel to the parent that started us."""

    def __init__(self, stream_socket: socket.socket, handlers: Mapping[str, Handler]) -> None:
        super().__init__(stream_socket, {**handlers, "ping": self._ping, "drain": self._drain})
        self.draining = trio.Event()
        self.drain_seconds: float | None = None

    async def ready(self, info: Params | None = None) -> None:
        """Tell the parent that we can take work.  Until then it sends none."""
        await self.call("ready", info or {})

    def _ping(self, params: Params, fds: list[int]) -> Json:
        return None

    def _drain(self, params: Params, fds: list[int]) -> Json:
        seconds = params.get("seconds")
        if self.drain_seconds is None and isinstance(seconds, int | float):
            self.drain_seconds = float(seconds)
        self.draining.set()
        return None


@contextlib.asynccontextmanager
async def child_channel(
    fd: int,
    handlers: Mapping[str, Handler] | None = None,
    *,
    grace: float = 2.0,
    exit_process: Callable[[int], object] = os._exit,
) -> AsyncIterator[ChildChannel]:
    """Serve the channel on descriptor ``fd`` while the body runs; the body's end is the end of the channel.

    SIGTERM sets ``draining``, exactly as the parent's "drain" does; SIGINT is left to the parent.
    When the parent is gone the body is cancelled and the process ends with ``ORPHANED``.
    """
    line = socket.socket(fileno=fd)
    watch = line.dup()
    channel = ChildChannel(line, handlers or {})
    orphaned = False
    with _Watchdog(watch, grace, exit_process), _signals() as terminations:
        try:
            async with trio.open_nursery() as nursery:

                async def serve() -> None:
                    nonlocal orphaned
                    await channel.run()
                    orphaned = True
                    nursery.cancel_scope.cancel()

                async def heed_signals() -> None:
                    async for _ in terminations:
                        channel.draining.set()

                nursery.start_soon(serve)
                nursery.start_soon(heed_signals)
                yield channel
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:  # the body's own: it knows nothing of our nursery
                raise group.exceptions[0] from None
            raise
        finally:
            channel.close()
            if orphaned:
                sys.stderr.flush()
                exit_process(ORPHANED)


@contextlib.contextmanager
def _signals() -> Iterator[AsyncIterator[int]]:
    """SIGTERM as a stream; in a thread (tests) there are no signals to be had."""
    if threading.current_thread() is not threading.main_thread():
        yield _nothing()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with trio.open_signal_receiver(signal.SIGTERM) as terminations:
            yield terminations
    finally:
        signal.signal(signal.SIGINT, before)


async def _nothing() -> AsyncIterator[int]:
    for _ in ():
        yield 0


class _Watchdog:
    """A thread that sees the parent hang up, and ends the process ``grace`` seconds later."""

    def __init__(self, line: socket.socket, grace: float, exit_process: Callable[[int], object]) -> None:
        self._line = line
        self._grace = grace
        self._exit_process = exit_process
        self._done_read, self._done_write = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="parent-watchdog", daemon=True)

    def _watch(self) -> None:
        done = select.poll()
        done.register(self._done_read, select.POLLIN)
        either = select.poll()
        either.register(self._done_read, select.POLLIN)
        either.register(self._line, select.POLLRDHUP)
        if any(fd == self._done_read for fd, _ in either.poll()):
            return
        if not done.poll(self._grace * 1000):
            self._exit_process(ORPHANED)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        os.close(self._done_write)  # the read end becomes readable
        self._thread.join()
        self._line.close()
        os.close(self._done_read)
