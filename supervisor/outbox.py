"""The sending half of a channel: at once if the socket takes it, else bounded, in order, later.

Knows trio and one non-blocking socket.  Does not know what a frame says.

Most frames leave inside ``send``, one system call and no task switch.  What the socket does not take lies
here until ``run`` gets it out.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

import attrs
import trio

from supervisor.descriptors import attached, close_all

# How a socket says that nobody is at the other end.
GONE = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError)


class ChannelClosed(Exception):
    """The other side is gone, or we hung up."""


@attrs.define(eq=False)
class _Unsent:
    data: memoryview
    fds: list[int]  # our own copies: the sender may have closed its own


class Outbox:
    """``hang_up(why)`` is called when the other side turns out to be gone; it calls ``close``."""

    def __init__(self, line: socket.socket, max_bytes: int, hang_up: Callable[[str], object]) -> None:
        self._socket = line
        self._max_bytes = max_bytes
        self._hang_up = hang_up
        self._closed: str | None = None
        self._unsent: deque[_Unsent] = deque()
        self._filled = trio.lowlevel.ParkingLot()
        self._drained = trio.lowlevel.ParkingLot()
        self.bytes = 0

    def fits(self, size: int) -> bool:
        """One frame always fits into an empty outbox, however large it is."""
        return not self._unsent or self.bytes + size <= self._max_bytes

    async def room(self, size: int) -> None:
        """Wait until ``fits``, or until there is nothing to wait for."""
        while self._closed is None and not self.fits(size):
            await self._drained.park()

    def send(self, frame: bytes, fds: Sequence[int]) -> None:
        """Send or keep.  Raises ChannelClosed; an OSError means that these descriptors cannot travel."""
        if self._closed is not None:
            raise ChannelClosed(self._closed)
        sent = 0 if self._unsent else self._send_now(frame, fds)
        if sent < len(frame):
            # Descriptors go with the first byte: once one byte is out, so are they.
            copies = [os.dup(fd) for fd in fds] if sent == 0 else []
            self._unsent.append(_Unsent(memoryview(frame)[sent:], copies))
            self.bytes += len(frame) - sent
            self._filled.unpark_all()

    def _send_now(self, data: bytes | memoryview, fds: Sequence[int]) -> int:
        """How many bytes the socket took."""
        try:
            if fds:
                return self._socket.sendmsg([data], attached(fds))
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except GONE as exc:
            self._hang_up("the other side is gone")
            raise ChannelClosed(self._closed) from exc

    async def run(self) -> None:
        """Send what lies here whenever the socket takes it."""
        while True:
            while not self._unsent:
                await self._filled.park()
            try:
                await trio.lowlevel.wait_writable(self._socket)
                self._empty()
            except (trio.ClosedResourceError, ChannelClosed):
                return
            except OSError as exc:
                # The frame cannot go without its descriptors (the kernel bounds those in flight); its sender
                # has gone on long ago.  Nothing honest is left but to end the conversation.
                self._hang_up(f"descriptors could not be sent: {exc}")
                return
            if self.bytes <= self._max_bytes // 2:
                self._drained.unpark_all()

    def _empty(self) -> None:
        while self._unsent:
            first = self._unsent[0]
            sent = self._send_now(first.data, first.fds)
            if sent == 0:
                return
            close_all(first.fds)
            first.fds = []
            self.bytes -= sent
            first.data = first.data[sent:]
            if not first.data:
                self._unsent.popleft()

    def close(self, why: str) -> None:
        """Forget what was not sent; whoever waits for room hears of it."""
        self._closed = why
        for unsent in self._unsent:
            close_all(unsent.fds)
        self._unsent.clear()
        self.bytes = 0
        self._drained.unpark_all()
