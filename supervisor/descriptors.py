"""File descriptors beside the bytes of a Unix socket: SCM_RIGHTS.

Source: unix(7), cmsg(3).  Knows sockets; whose a descriptor is, is said in ``channel``.
"""

import array
import contextlib
import os
import socket
from collections.abc import Sequence

from supervisor.wire import MAX_FDS

# Room for the ancillary data of one read.
ANCILLARY = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)


def attached(fds: Sequence[int]) -> list[tuple[int, int, "array.array[int]"]]:
    """As sendmsg wants it."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]


def received(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """What recvmsg brought, in the order in which it was sent."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
