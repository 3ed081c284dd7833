"""Relay: a TLS connection whose target another worker owns.

Its keys cannot be passed on, so the owner has one end of a socket pair and this worker carries bytes between
the other end and TLS.  Knows trio; not what the bytes mean.  Holds nothing but what one side did not take."""

import socket

import trio

from scsipub.worker.output import PeerGone
from scsipub.worker.tls import AnySocket

CHUNK = 64 * 1024

_scratch = memoryview(bytearray(CHUNK))  # used within one step only


async def relay(outside: AnySocket, inside: socket.socket) -> None:
    """Carry both ways until one side ends; then what is on its way to the other has been sent."""
    try:
        async with trio.open_nursery() as nursery:

            async def carry(source: AnySocket, sink: AnySocket) -> None:
                await _pump(source, sink)
                nursery.cancel_scope.cancel()

            nursery.start_soon(carry, outside, inside)
            nursery.start_soon(carry, inside, outside)
    except BaseExceptionGroup as group:
        rest = group.split(OSError)[1]
        if rest is not None:
            raise
        raise PeerGone("a relayed connection was lost") from group


async def _pump(source: AnySocket, sink: AnySocket) -> None:
    while True:
        try:
            count = source.recv_into(_scratch)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(source)
            continue
        if not count:
            return
        data = memoryview(bytes(_scratch[:count]))
        while data:
            try:
                data = data[sink.send(data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sink)
        await trio.lowlevel.checkpoint()
