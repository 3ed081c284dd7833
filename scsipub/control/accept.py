"""Accept: listens, bounds, and hands every socket to the least loaded worker.

Knows trio and sockets.  Reads nothing of what a stranger sent.  Control keeps no descriptor of a connection:
once the worker has it, control only counts."""

import errno
import socket
import sys
import uuid
from time import monotonic
from typing import TYPE_CHECKING

import attrs
import trio

from scsipub.config import Portal
from scsipub.errors import OperatorError
from scsipub.target.descriptor import Arrival
from supervisor.pool import Worker

if TYPE_CHECKING:
    from scsipub.control.app import Control

# One wake-up takes this many, then the others get the loop.
ACCEPT_SLICE = 32
# Nothing is to be had when descriptors run out but time.
OUT_OF_DESCRIPTORS_PAUSE = 0.1
# How often to look whether a worker is ready, while none is.
NO_WORKER_PAUSE = 0.1


@attrs.define(eq=False)
class Guest:
    """One accepted connection, as control counts it."""

    source: str
    worker: tuple[int, int]
    logged_in: bool = False
    tunnel: bool = False
    proven: tuple[str, str] | None = None  # for which target, and as whom, by its CHAP response
    wants: tuple[str, str] | None = None  # target and initiator of a login of which we do not know the end


def listen(portal: Portal, backlog: int) -> list[socket.socket]:
    """Listening sockets for every address that the portal's host has.  Raises OperatorError."""
    try:
        found = socket.getaddrinfo(
            portal.host or None, portal.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise OperatorError(
            f"{portal.host!r} is no address to listen on: {error}.", "Give --host an address."
        ) from None
    listeners: list[socket.socket] = []
    for family, kind, protocol, _, address in found:
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(backlog)
        except OSError as error:
            listener.close()
            for other in listeners:
                other.close()
            why = "somebody listens there already" if error.errno == errno.EADDRINUSE else str(error.strerror)
            raise OperatorError(
                f"Cannot listen on {portal.host} port {portal.port}: {why}.",
                "Choose another --port, or end what holds it (`scsipub doctor` may know who).",
            ) from None
        listener.setblocking(False)
        listeners.append(listener)
    return listeners


async def accept(control: "Control", listener: socket.socket, portal: int) -> None:
    """Take connections until cancelled."""
    while True:
        try:
            await trio.lowlevel.wait_readable(listener)
        except trio.ClosedResourceError:
            return
        while control.least_loaded() is None:
            # Whoever waits in the backlog is served by the first worker that is ready.  Closed at once, an
            # initiator only comes again, faster.
            await trio.sleep(NO_WORKER_PAUSE)
        for _ in range(ACCEPT_SLICE):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    control.complaints.complain("out of descriptors", "", monotonic(), why=str(error))
                    await trio.sleep(OUT_OF_DESCRIPTORS_PAUSE)
                continue  # the peer was gone before we came
            with sock:
                admit(control, sock, address, portal)


def admit(control: "Control", sock: socket.socket, address: tuple[str, int], portal: int) -> None:
    """Bound, then hand to the least loaded worker.  The caller closes its own end either way."""
    now = monotonic()
    source = sys.intern(address[0])  # one address may have thousands of sessions
    control.connections += 1
    worker = control.least_loaded()
    if worker is None or control.sources.arrives(source, now) is not None:
        control.refused += 1
        return
    try:
        local = sock.getsockname()
        keep_alive(sock)
    except OSError:
        control.sources.leaves(source, now, logged_in=False)
        return
    arrival = Arrival(
        id=uuid.uuid4().hex[:16],
        source=source,
        source_port=address[1],
        local=local[0],
        local_port=local[1],
        portal=portal,
        tls=control.config.portals[portal].tls,
        accepted=now,
    )
    hand_over(control, worker, arrival, sock.fileno())


def admit_tunnel(control: "Control", fd: int, address: str, port: int, encrypted: bool) -> bool:
    """The same for a connection that came inside a WebSocket: ``fd`` is one end of a socket pair.

    False: a bound was broken, or nobody can serve it."""
    now, source = monotonic(), sys.intern(address)
    control.connections += 1
    worker = control.least_loaded()
    tunnels = sum(guest.tunnel for guest in control.guests.values())
    full = tunnels >= control.config.limits.tunnels
    if worker is None or full or control.sources.arrives(source, now) is not None:
        control.refused += 1
        return False
    control.tunnels += 1
    arrival = Arrival(
        id=uuid.uuid4().hex[:16],
        source=source,
        source_port=port,
        local="",
        local_port=0,
        portal=control.tls.tunnel_portal,
        tls=encrypted,
        accepted=now,
        relayed=True,
        tunnel=True,
    )
    return hand_over(control, worker, arrival, fd)


def hand_over(control: "Control", worker: Worker, arrival: Arrival, fd: int) -> bool:
    """Give a connection to a worker.  False: it could not take it, and the connection is lost."""
    place = (worker.index, worker.incarnation)
    try:
        taken = worker.channel.try_cast("take", arrival.to_json(), fds=[fd])
    except OSError:  # too many descriptors are on their way already
        taken = False
    if not taken:
        control.refused += 1
        control.sources.leaves(arrival.source, monotonic(), logged_in=False)
        control.guests.pop(arrival.id, None)
        return False
    control.guests[arrival.id] = Guest(arrival.source, place, tunnel=arrival.tunnel)
    control.load[place] = control.load.get(place, 0) + 1
    return True


def keep_alive(sock: socket.socket) -> None:
    """A dead peer is noticed within two minutes, whatever the session says.  Set on a listening socket, all
    that it accepts have it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
