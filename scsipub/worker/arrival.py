"""Arrivals: a socket that control handed over, and what is known of it.

Source: none; the seam between control's accept and a worker's session."""

import base64
import socket
from typing import Any, Self

import attrs


@attrs.define(kw_only=True, eq=False)
class Arrival:
    """``accepted`` is CLOCK_MONOTONIC seconds, which all processes of the machine share."""

    id: str
    sock: socket.socket
    source: str
    source_port: int
    local: str  # where the initiator connected to
    local_port: int
    portal: int  # which of the configured portals
    tls: bool
    accepted: float
    head: bytes = b""  # what another worker has read of it already
    answered: int = 0  # and how many responses it has sent

    def to_json(self) -> dict[str, Any]:
        """Everything but the socket, which travels beside."""
        return {
            "id": self.id,
            "source": self.source,
            "source_port": self.source_port,
            "local": self.local,
            "local_port": self.local_port,
            "portal": self.portal,
            "tls": self.tls,
            "accepted": self.accepted,
            "answered": self.answered,
            "head": base64.b64encode(self.head).decode(),
        }

    @classmethod
    def from_json(cls, params: Any, fd: int) -> Self:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        head = base64.b64decode(params.get("head", ""))
        return cls(**{**params, "sock": sock, "head": head})
