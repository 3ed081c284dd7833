"""Who is at the other end, when a proxy stands between: X-Forwarded-For and -Proto, if the proxy is ours.

Source: RFC 7239 §1 (what these headers are, and why they are worth as much as who wrote them).  Pure."""

import ipaddress
from collections.abc import Collection, Iterable

import attrs

MOST_HOPS = 32


@attrs.frozen
class Client:
    """``address`` is an IP address; ``encrypted``: TLS carried it up to our own proxy."""

    address: str
    encrypted: bool


def client_untrusted(peer: str, headers: Iterable[tuple[bytes, bytes]], trusted: Collection[str]) -> Client:
    """The client of a request that came from ``peer``.  Raises nothing.

    Only a trusted peer is believed; and of what it says the last address that is not a trusted proxy's
    itself: whatever stands before that, the client may have made up."""
    if peer not in trusted:
        return Client(peer, False)
    hops: list[str] = []
    encrypted = False
    for name, value in headers:
        if name == b"x-forwarded-for":
            hops += value.decode("latin-1").split(",")
        elif name == b"x-forwarded-proto":
            encrypted = value.strip().lower() in (b"https", b"wss")
    for hop in reversed(hops[-MOST_HOPS:]):
        address = _address(hop)
        if address is None:
            break
        if address not in trusted:
            return Client(address, encrypted)
    return Client(peer, encrypted)


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return None
