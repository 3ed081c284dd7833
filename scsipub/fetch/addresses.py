"""Which addresses may be connected to: the address that was checked is the one that is used.

Source: RFC 6890 (special addresses); OWASP on server-side request forgery.  Who lets others name an address
to fetch lends them its place in the network: loopback, neighbours, and the metadata of clouds.  So a name is
resolved once, everything it resolves to is looked at, and the connection goes to one of these numbers; a name
that means something else a moment later changes nothing.  Every redirect goes the same way."""

import enum
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import httpcore

from scsipub.errors import OperatorError

# What Python's own list leaves out, or did.
_SPECIAL = [ipaddress.ip_network(net) for net in ("192.0.0.0/24", "2001::/23", "3fff::/20", "5f00::/16")]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Private(enum.Enum):
    """What of addresses that are nobody's business outside."""

    REFUSED = "refused"
    NAMED = "named"  # the first one may be, for a person has typed it; and then those it redirects to
    ALLOWED = "allowed"


def is_public(address: str) -> bool:
    """An address of the world, that means nothing special here or there."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(str(inside))
        if ip.is_site_local:
            return False
    if any(ip in net for net in _SPECIAL):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


class CheckedNetwork(httpcore.NetworkBackend):
    """Connects where it is allowed to.  ``was_private``: the last connection went to such an address."""

    def __init__(self, private: Private) -> None:
        self.allowed = private is not Private.REFUSED
        self.was_private = False
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """As its base; OperatorError for an address that is not allowed."""
        addresses = resolved(host, port)
        private = [address for address in addresses if not is_public(address)]
        if private and not self.allowed:
            raise OperatorError(
                f"{host} is {private[0]}, an address that is not fetched from.",
                "Fetch it yourself and upload it; or set fetch_private = true in the configuration.",
            )
        self.was_private = bool(private)
        failure: Exception | None = None
        for address in addresses:
            try:
                return self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = failure or error
        raise failure or httpcore.ConnectError(f"{host} has no address")


def resolved(host: str, port: int) -> list[str]:
    """All numbers that a name means now."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OperatorError(f"{host} cannot be found: {error}.", "Check the address.") from None
    return list(dict.fromkeys(str(where[0]) for *_, where in found))
