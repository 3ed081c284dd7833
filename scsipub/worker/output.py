"""Output: what a connection still owes its peer, and sending it.

Knows sockets; does not know what the bytes mean.  Nearly always everything leaves in the turn that made it,
with one system call and no copy.  What the socket does not take is copied into the backlog, and a task that
lives only as long as the backlog does sends the rest."""

import errno
import os
import socket
from typing import TYPE_CHECKING

from scsipub.iscsi.outbox import FileRun, Segment

if TYPE_CHECKING:
    from scsipub.worker.tls import AnySocket

# More segments than this in one sendmsg and the kernel refuses (UIO_MAXIOV is 1024).
MOST_SEGMENTS = 512
# How a socket says that its peer is gone, where it might also have been the file that failed.
GONE = (
    *(errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EBADF),
)


class PeerGone(Exception):
    """The connection is closed at the other end."""


class Output:
    """The sending half of one connection.  ``unsent`` is in bytes."""

    __slots__ = ("backlog", "sock", "unsent")

    def __init__(self, sock: "AnySocket") -> None:
        self.sock = sock
        self.backlog: list[bytes | memoryview | FileRun] = []
        self.unsent = 0

    def send(self, segments: list[Segment]) -> None:
        """Send what the socket takes; keep the rest.  The segments' memory may be reused afterwards."""
        if self.unsent:
            self._keep(segments)
            return
        at = 0
        while at < len(segments):
            segment = segments[at]
            if isinstance(segment, FileRun):
                sent = self._send_file(segment)
                if sent < segment.length:
                    rest = FileRun(segment.fd, segment.offset + sent, segment.length - sent)
                    self._keep([rest, *segments[at + 1 :]])
                    return
                at += 1
                continue
            # The header of a file run should not leave alone in a packet of its own.
            more = socket.MSG_MORE if at + 1 < len(segments) else 0
            sent = self._send_bytes(segment, more)
            if sent < len(segment):
                self._keep([segment[sent:], *segments[at + 1 :]])
                return
            at += 1

    def flush(self) -> None:
        """Send from the backlog until it is empty or the socket is full."""
        backlog = self.backlog
        while backlog:
            first = backlog[0]
            if isinstance(first, FileRun):
                sent = self._send_file(first)
                length = first.length
                rest: bytes | memoryview | FileRun = FileRun(first.fd, first.offset + sent, length - sent)
            else:
                sent = self._send_bytes(first, socket.MSG_MORE if len(backlog) > 1 else 0)
                length = len(first)
                rest = memoryview(first)[sent:]
            self.unsent -= sent
            if sent < length:
                backlog[0] = rest
                return
            backlog.pop(0)

    def _keep(self, segments: list[Segment]) -> None:
        for segment in segments:
            if isinstance(segment, FileRun):
                self.backlog.append(segment)
                self.unsent += segment.length
            elif len(segment):
                self.backlog.append(bytes(segment))
                self.unsent += len(segment)

    def _send_bytes(self, data: bytes | memoryview, flags: int) -> int:
        try:
            return self.sock.send(data, flags)
        except BlockingIOError:
            return 0
        except OSError as error:  # whatever it is, nothing more can be said here
            raise PeerGone(str(error)) from error

    def _send_file(self, run: FileRun) -> int:
        try:
            sent = os.sendfile(self.sock.fileno(), run.fd, run.offset, run.length)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in GONE:
                raise PeerGone(str(error)) from error
            raise
        if not sent and run.length:
            # Somebody cut the file.  Its length is promised already, so the connection cannot go on.
            raise OSError(errno.EIO, f"the file ends before byte {run.offset}")
        return sent
