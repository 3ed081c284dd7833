"""Discovery: which targets a session may hear of, and under which address.

Source: RFC 7143 §4.3, appendix C (SendTargets).  Pure.  The address is a matter of policy per portal, because
behind NAT, in a container or behind a TLS wrapper no address that the daemon can see is the right one."""

from collections.abc import Iterable
from typing import Any, Self

import attrs
import cattrs

from scsipub.iscsi.text_exchange import TargetRecord


@attrs.frozen(kw_only=True)
class PortalPolicy:
    """How one portal answers SendTargets.

    ``omit``: no address, the initiator stays with what it typed.  ``fixed``: ``public_host``.
    ``mirror``: the address that the initiator connected to."""

    target_address: str = "mirror"
    public_host: str | None = None  # NAME or NAME:PORT or [IPV6]:PORT
    portal_group: int = 1

    def to_json(self) -> dict[str, Any]:
        done: dict[str, Any] = cattrs.unstructure(self)
        return done

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cattrs.structure(data, cls)

    def address(self, local: str, local_port: int) -> str | None:
        """``host:port,group`` as TargetAddress has it, or None to leave it out."""
        if self.target_address == "omit":
            return None
        if self.target_address == "fixed" and self.public_host:
            where = self.public_host
            if not _has_port(where):
                where = f"{_bracketed(where)}:{local_port}"
        else:
            where = f"{_bracketed(local)}:{local_port}"
        return f"{where},{self.portal_group}"


def _has_port(where: str) -> bool:
    if where.startswith("["):
        return "]:" in where
    return where.count(":") == 1


def _bracketed(host: str) -> str:
    """IPv6 addresses wear brackets; an IPv4 address mapped into IPv6 goes without its prefix."""
    if host.lower().startswith("::ffff:") and "." in host:
        return host[7:]
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def records(
    names: Iterable[str], wanted: str | None, policy: PortalPolicy, local: str, local_port: int
) -> list[TargetRecord]:
    """Those of ``names`` that are asked for (None: all), with the address that this portal gives."""
    address = policy.address(local, local_port)
    addresses = () if address is None else (address,)
    return [TargetRecord(name, addresses) for name in names if wanted is None or name == wanted]
