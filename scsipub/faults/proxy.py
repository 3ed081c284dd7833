"""The proxy: a port that leads to a target, through bad weather.

Knows trio and sockets; what becomes of the bytes is ``weather``'s.  Carries anything, iSCSI or not."""

import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from scsipub.errors import OperatorError
from scsipub.faults.weather import Climate, End, Hang, Happened, Send, Wait, Weather

PIECE = 64 * 1024
MOST_TOLD = 10_000  # events remembered; the oldest goes first
CONNECT_SECONDS = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, no time: closing sends RST

Tell = Callable[[Happened], None]


def nobody(happened: Happened) -> None:
    """Hears nothing."""


@attrs.define
class Proxy:
    """One port in front of one target.  ``climate`` may be replaced: connections that begin later have it."""

    host: str
    port: int
    climate: Climate
    tell: Tell = nobody
    connections: int = 0
    open: int = 0
    carried: int = 0  # bytes, both ways
    timeline: deque[Happened] = attrs.field(factory=lambda: deque(maxlen=MOST_TOLD))
    began: float = attrs.field(factory=trio.current_time)

    async def serve(
        self,
        listeners: list[trio.SocketListener],
        task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until cancelled."""
        task_status.started()
        await trio.serve_listeners(self.carry, listeners)

    async def carry(self, near: trio.SocketStream) -> None:
        """One connection, from its first byte to its end."""
        number, self.connections = self.connections, self.connections + 1
        climate = self.climate
        async with near:
            try:
                with trio.fail_after(CONNECT_SECONDS):
                    far = await trio.open_tcp_stream(self.host, self.port)
            except (OSError, trio.TooSlowError) as error:
                self._told(number, "up", 0, f"the target cannot be reached: {error}")
                return
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open += 1
            try:
                async with far, trio.open_nursery() as nursery:
                    both = (near, far)
                    for source, sink, way in ((near, far, "up"), (far, near, "down")):
                        weather = Weather(climate, number, way)
                        nursery.start_soon(self._one_way, source, sink, weather, nursery, both)
            finally:
                self.open -= 1

    async def _one_way(
        self,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        weather: Weather,
        nursery: trio.Nursery,
        both: tuple[trio.SocketStream, trio.SocketStream],
    ) -> None:
        try:
            while data := await self._next(source, weather.climate.coalesce):
                deeds, told = weather.deeds(data)
                for offset, what in told:
                    self._told(weather.connection, weather.way, offset, what)
                for deed in deeds:
                    match deed:
                        case Send(data=piece):
                            await sink.send_all(piece)
                            self.carried += len(piece)
                        case Wait(seconds=seconds):
                            await trio.sleep(seconds)
                        case Hang():
                            await trio.sleep_forever()
                        case End(reset=reset):
                            if reset:
                                for stream in both:
                                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                            nursery.cancel_scope.cancel()
                            return
            await sink.send_eof()  # the other direction goes on: half-closed connections exist
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            nursery.cancel_scope.cancel()

    async def _next(self, source: trio.SocketStream, coalesce: float) -> bytes:
        """The next piece; with ``coalesce``, everything that comes within that time of its beginning."""
        data = bytes(await source.receive_some(PIECE))
        if not coalesce or not data:
            return data
        with trio.move_on_after(coalesce):
            while len(data) < PIECE and (more := await source.receive_some(PIECE - len(data))):
                data += more
        return data

    def _told(self, connection: int, way: str, offset: int, what: str) -> None:
        happened = Happened(round(trio.current_time() - self.began, 6), connection, way, offset, what)
        self.timeline.append(happened)
        self.tell(happened)

    def to_json(self) -> dict[str, Any]:
        return {
            "target": f"{self.host}:{self.port}",
            "climate": attrs.asdict(self.climate),
            "connections": self.connections,
            "open": self.open,
            "bytes": self.carried,
            "events": [attrs.asdict(happened) for happened in self.timeline],
        }


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Raises OperatorError when the port cannot be had."""
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise OperatorError(f"{host}:{port} cannot be had: {why}.", "Name another --listen.") from None
