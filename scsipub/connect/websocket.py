"""Through a WebSocket: the way to the daemon where only HTTPS gets out.

Source: RFC 6455, by way of trio-websocket.  Knows trio.  The bytes of a connection travel in binary messages;
where one ends means nothing.  A ping now and then keeps boxes in between from forgetting us, and notices when
they have."""

import ipaddress
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import attrs
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from scsipub.connect.dial import HANDSHAKE_SECONDS, Place, Unreachable, dial_tcp, dial_tls
from scsipub.errors import OperatorError

PATH = "/tunnel"
# The daemon takes no larger message.
MESSAGE_BYTES = 64 * 1024
LARGEST_TO_US = 1 << 20
QUEUE = 4
RECEIVE_BYTES = 256 * 1024
PING_SECONDS = 20.0
PONG_SECONDS = 15.0
# Answers that another moment may change.
FOR_NOW = frozenset({429, 500, 502, 503, 504})


@attrs.frozen
class Url:
    """``wss://HOST[:PORT][/PATH]``; ``name`` is what the certificate must say."""

    place: Place
    path: str
    encrypted: bool

    @classmethod
    def parse(cls, text: str, name: str | None = None) -> "Url":
        """Raises OperatorError."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("wss", "ws") or parts.query or parts.fragment:
            raise OperatorError(f"{text!r} is no address of a tunnel.", "Such as wss://disks.example.org/.")
        encrypted = parts.scheme == "wss"
        if not encrypted and not _of_this_machine(host):
            raise OperatorError(
                f"{text} is not encrypted, and leads off this machine.", "Use wss:// instead of ws://."
            )
        place = Place(host, port or (443 if encrypted else 80), name or host)
        return cls(place, parts.path if parts.path not in ("", "/") else PATH, encrypted)

    def __str__(self) -> str:
        return f"{'wss' if self.encrypted else 'ws'}://{self.place}{self.path}"


def is_url(text: str) -> bool:
    return "://" in text


async def dial_websocket(url: Url, context: ssl.SSLContext, nursery: trio.Nursery) -> trio.abc.Stream:
    """Connect, check and open; what belongs to the connection runs in ``nursery`` until it is closed.

    Raises Unreachable, or OperatorError for what waiting does not cure."""
    if url.encrypted:
        transport = await dial_tls(url.place, context)
    else:
        transport = await dial_tcp(url.place)
    try:
        with trio.fail_after(HANDSHAKE_SECONDS):
            stream: trio.abc.Stream = await nursery.start(_hold, url, transport)
    except trio.TooSlowError:
        raise Unreachable(f"{url} does not finish the handshake") from None
    return stream


async def _hold(
    url: Url,
    transport: trio.abc.Stream,
    task_status: "trio.TaskStatus[trio.abc.Stream]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """The life of one WebSocket: trio-websocket's reader, our pings, until somebody closes it."""
    stream: MessageStream | None = None
    try:
        async with trio.open_nursery() as nursery:
            # Its type asks for less than it takes: anything that is a stream.
            connection = await wrap_client_stream(
                nursery,
                transport,  # type: ignore[arg-type]
                str(url.place) if url.place.port not in (80, 443) else url.place.host,
                url.path,
                subprotocols=["iscsi"],
                message_queue_size=QUEUE,
                max_message_size=LARGEST_TO_US,
                receive_buffer_size=RECEIVE_BYTES,
            )
            if connection.closed is not None:
                raise Unreachable(f"{url} closed the connection in the handshake")
            stream = MessageStream(connection, transport)
            task_status.started(stream)
            nursery.start_soon(stream.ping_now_and_then)
            await stream.over.wait()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        refusal = next((e for e in _leaves(group) if isinstance(e, ConnectionRejected | Unreachable)), None)
        if stream is not None:
            if group.split((ConnectionClosed, HandshakeError, trio.BrokenResourceError))[1] is not None:
                raise
            return
        if isinstance(refusal, ConnectionRejected):
            raise _refused(url, refusal.status_code) from None
        if refusal is not None:
            raise refusal from None
        raise
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(transport)


def _refused(url: Url, status: int) -> Exception:
    if status in FOR_NOW:
        return Unreachable(f"{url} takes no connection now (HTTP {status})")
    return OperatorError(f"There is no tunnel at {url} (HTTP {status}).", f"The path is mostly {PATH}.")


@attrs.define(eq=False)
class MessageStream(trio.abc.Stream):
    """A WebSocket in a stream's shape.  When it is lost, BrokenResourceError."""

    connection: WebSocketConnection
    transport: trio.abc.Stream
    over: trio.Event = attrs.field(factory=trio.Event)
    rest: bytes = b""  # of a message that was longer than what was asked for

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = self.rest
        while not data:
            try:
                message = await self.connection.get_message()
            except ConnectionClosed as closed:
                if closed.reason is not None and closed.reason.code in (1000, 1001):
                    return b""
                raise trio.BrokenResourceError(str(closed.reason)) from None
            if not isinstance(message, bytes):
                raise trio.BrokenResourceError("text came through the tunnel")
            data = message
        most = len(data) if max_bytes is None else max_bytes
        self.rest = data[most:]
        return data[:most]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        try:
            for at in range(0, len(view), MESSAGE_BYTES):
                await self.connection.send_message(bytes(view[at : at + MESSAGE_BYTES]))
        except ConnectionClosed as closed:
            raise trio.BrokenResourceError(str(closed.reason)) from None

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """At once; the last message has been given to the kernel when ``send_all`` returned."""
        self.over.set()
        await trio.aclose_forcefully(self.transport)

    async def ping_now_and_then(self) -> None:
        """A way that has gone silent is closed, and who reads from it hears of that."""
        while True:
            await trio.sleep(PING_SECONDS)
            with trio.move_on_after(PONG_SECONDS) as waiting:
                await self.connection.ping()
            if waiting.cancelled_caught:
                await trio.aclose_forcefully(self.transport)
                return


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


def _of_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
