"""Output: what a connection still owes its peer, and sending it.

Knows sockets; does not know what the bytes mean.  Nearly always everything leaves in the turn that made it,
with one system call and no copy.  What the socket does not take is copied into the backlog, and a task that
lives only as long as the backlog does sends the rest."""

import socket
from typing import TYPE_CHECKING

from scsipub.iscsi.outbox import Segment

if TYPE_CHECKING:
    from scsipub.worker.tls import AnySocket


class PeerGone(Exception):
    """The connection is closed at the other end."""


class Output:
    """The sending half of one connection.  ``unsent`` is in bytes."""

    __slots__ = ("backlog", "sock", "unsent")

    def __init__(self, sock: "AnySocket") -> None:
        self.sock = sock
        self.backlog: list[Segment] = []
        self.unsent = 0

    def send(self, segments: list[Segment]) -> None:
        """Send what the socket takes; keep the rest.  The segments' memory may be reused afterwards."""
        if self.unsent:
            self._keep(segments)
            return
        for at, segment in enumerate(segments):
            more = socket.MSG_MORE if at + 1 < len(segments) else 0
            sent = self._send(segment, more)
            if sent < len(segment):
                self._keep([segment[sent:], *segments[at + 1 :]])
                return

    def flush(self) -> None:
        """Send from the backlog until it is empty or the socket is full."""
        backlog = self.backlog
        while backlog:
            first = backlog[0]
            sent = self._send(first, socket.MSG_MORE if len(backlog) > 1 else 0)
            self.unsent -= sent
            if sent < len(first):
                backlog[0] = memoryview(first)[sent:]
                return
            backlog.pop(0)

    def _keep(self, segments: list[Segment]) -> None:
        for segment in segments:
            if len(segment):
                self.backlog.append(bytes(segment))
                self.unsent += len(segment)

    def _send(self, data: bytes | memoryview, flags: int) -> int:
        try:
            return self.sock.send(data, flags)
        except BlockingIOError:
            return 0
        except OSError as error:  # whatever it is, nothing more can be said here
            raise PeerGone(str(error)) from error
