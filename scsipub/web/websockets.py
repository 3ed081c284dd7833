"""WebSockets within bounds: Hypercorn's, without what a stranger could use against it.

Source: RFC 6455 (frames), RFC 7692 (compression).  Knows Hypercorn's inside: tests hold each of the things
that are changed here against a running server, so a version of it that needs something else is noticed.

* No compression: 64 KiB of it may become 64 MiB, all at once.
* A message that is too large ends the connection.  Hypercorn says goodbye, and goes on collecting it."""

import dataclasses

from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Event, Request, StreamClosed
from hypercorn.protocol.ws_stream import FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

COMPRESSION = b"sec-websocket-extensions"


class BoundedStream(WSStream):
    """One WebSocket."""

    async def handle(self, event: Event) -> None:
        if isinstance(event, Request):
            kept = [(name, value) for name, value in event.headers if name.lower() != COMPRESSION]
            event = dataclasses.replace(event, headers=kept)
        await super().handle(event)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if self.closed:
                return
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    self.buffer.clear()
                    await self._send_wsproto_event(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
                    await self.send(StreamClosed(stream_id=self.stream_id))
                    return
                if event.message_finished and self.app_put is not None:
                    message = self.buffer.to_message()
                    self.buffer.clear()
                    await self.app_put(message)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state == ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                await self.send(StreamClosed(stream_id=self.stream_id))


def install() -> None:
    """Have Hypercorn use it, for HTTP/1 and HTTP/2."""
    h11.WSStream = h2.WSStream = BoundedStream  # type: ignore[attr-defined]
