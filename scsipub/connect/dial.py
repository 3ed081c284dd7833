"""Dialling: a TLS connection to a daemon whose certificate has been checked, or plain words why not.

Source: RFC 8446, RFC 6125, by way of ``ssl``.  Knows trio and sockets."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

from scsipub.errors import OperatorError

DEFAULT_PORT = 3261
CONNECT_SECONDS = 10.0
HANDSHAKE_SECONDS = 10.0

# Whatever carries a connection to the daemon: TLS is one way.
Dial = Callable[[], Awaitable[trio.abc.Stream]]


class Unreachable(Exception):
    """Not now; it may work in a moment."""


@attrs.frozen
class Place:
    """Where the daemon is, and under which name it must prove itself."""

    host: str
    port: int
    name: str

    @classmethod
    def parse(cls, text: str, name: str | None = None, *, least: int = 1) -> "Place":
        """``HOST[:PORT]``, port ``least`` to 65535; an IPv6 address with a port stands in brackets.

        Raises OperatorError."""
        host, port = text, str(DEFAULT_PORT)
        if text.startswith("["):
            host, _, rest = text[1:].partition("]")
            port = rest[1:] if rest.startswith(":") else port if not rest else ""
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        if not host or not port.isascii() or not port.isdigit() or not least <= int(port) <= 65535:
            raise OperatorError(f"{text!r} is no HOST[:PORT].", "Such as disks.example.org:3261.")
        return cls(host, int(port), name or host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def client_context(authorities: Path | None, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Believes the system's authorities, or only those in a file; ``own``: certificate and key to show when
    asked.  Raises OperatorError."""
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "there is no certificate in it"
        raise OperatorError(f"{authorities}: {why}.", "Give --ca a file of PEM certificates.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if own is not None:
        try:
            context.load_cert_chain(*own)
        except (OSError, ssl.SSLError) as error:
            why = getattr(error, "reason", None) or error.strerror or str(error)
            raise OperatorError(
                f"{own[0]} and {own[1]}: {why}.", "--certificate and --key want a PEM pair that fits."
            ) from None
    return context


async def dial_tcp(place: Place) -> trio.SocketStream:
    """Connect.  Raises Unreachable."""
    try:
        with trio.fail_after(CONNECT_SECONDS):
            stream = await trio.open_tcp_stream(place.host, place.port)
    except trio.TooSlowError:
        raise Unreachable(f"{place} does not answer") from None
    except OSError as error:
        raise Unreachable(f"{place} cannot be reached: {_root(error)}") from None
    keep_alive(stream.socket)
    return stream


async def dial_tls(place: Place, context: ssl.SSLContext) -> trio.abc.Stream:
    """Connect and check.  Raises Unreachable, or OperatorError for what waiting does not cure."""
    stream = await dial_tcp(place)
    secured = trio.SSLStream(stream, context, server_hostname=place.name, https_compatible=True)
    try:
        with trio.fail_after(HANDSHAKE_SECONDS):
            await secured.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(secured)
        if isinstance(error, trio.TooSlowError):
            raise Unreachable(f"{place} does not finish the TLS handshake") from None
        if isinstance(error, trio.BrokenResourceError):
            cause = error.__cause__
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise OperatorError(
                    f"The certificate of {place} is not believed: {cause.verify_message}.",
                    "--ca names the authority if it is one of your own, --name what the certificate says.",
                ) from None
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                raise OperatorError(
                    f"{place} does not speak TLS as we do: {cause.reason}.",
                    f"Is it the port for TLS, and {place.name} a name it has a certificate for?",
                ) from None
            raise Unreachable(f"{place} closed the connection in the TLS handshake") from None
        raise
    return secured


def keep_alive(sock: trio.socket.SocketType) -> None:
    """A way that has gone silent is noticed within half a minute, not in hours."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 15),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 30_000),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _root(error: BaseException) -> str:
    """One reason of the many that trying several addresses gives."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return _root(error.exceptions[0])
    return getattr(error, "strerror", None) or str(error)
