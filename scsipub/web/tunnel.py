"""``/tunnel``: iSCSI in the binary messages of a WebSocket, for where only HTTPS gets out.

Source: RFC 6455; ASGI for the shape of it.  Knows trio, sockets and the channel to control; not what is
carried.  A worker is given one end of a socket pair and treats it as a connection it has accepted; this
process carries bytes between the other end and the WebSocket, a bounded number at a time: who does not take
what it is sent keeps the other side from sending more.

Where one message ends means nothing.  A tunnel ends when either side does, and with this process."""

import socket
from typing import Any

import trio

from scsipub.web.asking import Asking, Refused, Unanswered
from scsipub.web.forwarded import client_untrusted

# What is read from the worker at once, and so the largest message that we send.
CHUNK = 64 * 1024
PROTOCOL = "iscsi"
# RFC 6455 §7.4.1
NORMAL, GOING_AWAY, UNSUPPORTED = 1000, 1001, 1003
UPGRADE_REQUIRED, BUSY, AWAY = 426, 429, 503


class Tunnels:
    """All of this process.  ``app`` is plain ASGI."""

    def __init__(self, asking: Asking, most: int, trusted: tuple[str, ...]) -> None:
        self.asking = asking
        self.most = most
        self.trusted = frozenset(trusted)
        self.open = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await _answer(send, "http.response", UPGRADE_REQUIRED, [(b"upgrade", b"websocket")])
            return
        await receive()  # websocket.connect
        if self.open >= self.most:
            await _answer(send, "websocket.http.response", BUSY)
            return
        self.open += 1
        try:
            await self._one(scope, receive, send)
        finally:
            self.open -= 1

    async def _one(self, scope: Any, receive: Any, send: Any) -> None:
        peer, port = scope.get("client") or ("", 0)
        client = client_untrusted(peer, scope["headers"], self.trusted)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                said = {"source": client.address, "source_port": port, "encrypted": client.encrypted}
                try:
                    await self.asking.tunnel(said, theirs.fileno())
                except Refused:
                    await _answer(send, "websocket.http.response", BUSY)
                    return
                except Unanswered:
                    await _answer(send, "websocket.http.response", AWAY)
                    return
            offered = scope.get("subprotocols") or ()
            await send({"type": "websocket.accept", "subprotocol": PROTOCOL if PROTOCOL in offered else None})
            ours.setblocking(False)
            code = await carry(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), receive, send)
        if code:
            await send({"type": "websocket.close", "code": code})


async def carry(worker: trio.abc.Stream, receive: Any, send: Any) -> int:
    """Both ways until one side ends.  The code to close the WebSocket with; 0: it is closed already."""
    code = NORMAL
    async with trio.open_nursery() as nursery:

        async def upward() -> None:
            nonlocal code
            code = await _upward(worker, receive)
            nursery.cancel_scope.cancel()

        async def downward() -> None:
            await _downward(worker, send)
            nursery.cancel_scope.cancel()

        nursery.start_soon(upward)
        nursery.start_soon(downward)
    return code


async def _upward(worker: trio.abc.Stream, receive: Any) -> int:
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return 0
        data = message.get("bytes")
        if data is None:
            return UNSUPPORTED  # text
        try:
            await worker.send_all(data)
        except trio.BrokenResourceError:
            return GOING_AWAY


async def _downward(worker: trio.abc.Stream, send: Any) -> None:
    while True:
        try:
            data = await worker.receive_some(CHUNK)
        except trio.BrokenResourceError:
            return
        if not data:
            return
        await send({"type": "websocket.send", "bytes": data})


async def _answer(
    send: Any, kind: str, status: int, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    more = [(b"content-length", b"0"), *(headers or [])]
    await send({"type": f"{kind}.start", "status": status, "headers": more})
    await send({"type": f"{kind}.body", "body": b""})
