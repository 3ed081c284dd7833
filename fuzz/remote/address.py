"""Where a target is, as libiscsi and QEMU write it: ``iscsi://[user%password@]host[:port]/iqn/lun``."""

from typing import Self
from urllib.parse import unquote

import attrs

from scsipub.errors import OperatorError

PORT = 3260


@attrs.frozen
class Address:
    """One logical unit of one target, and who may see it."""

    host: str
    port: int
    target: str
    lun: int = 0
    user: str = ""
    secret: str = attrs.field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ``OperatorError`` for whatever is not such a URL."""
        scheme, found, rest = url.partition("://")
        if not found or scheme != "iscsi":
            raise OperatorError(f"{url!r} is not an iscsi:// URL", "write iscsi://host:port/iqn/lun")
        account, _, place = rest.rpartition("@")
        where, _, path = place.partition("/")
        target, _, lun = path.partition("/")
        host, _, port = where.rpartition(":") if not where.endswith("]") else (where, "", "")
        if not host:
            host, port = where, ""
        if not host or not target or not (lun or "0").isdigit() or not (port or "0").isdigit():
            raise OperatorError(f"{url!r} does not name a unit", "write iscsi://host:port/iqn/lun")
        user, _, secret = account.partition("%")
        return cls(host.strip("[]"), int(port or PORT), target, int(lun or 0), unquote(user), unquote(secret))

    def __str__(self) -> str:
        """Without the secret: this goes into reports."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        account = f"{self.user}@" if self.user else ""
        return f"iscsi://{account}{host}:{self.port}/{self.target}/{self.lun}"
