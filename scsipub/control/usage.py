"""Usage: what each tenant's sessions have moved since the daemon started.

Pure.  Of sessions that are over the sums are kept; those that live are added by whoever asks.  One row for
each tenant: strangers cannot make more.  What a session moved in a worker that was killed is lost with it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

COUNTED = ("bytes_read", "bytes_written", "operations")


class Usage:
    """``tenant_of``: who rents the target of this name; None for what nobody rents."""

    def __init__(self, tenant_of: Callable[[str], str | None]) -> None:
        self.tenant_of = tenant_of
        self.over: dict[str, dict[str, int]] = {}  # by tenant, of sessions that have ended

    def ended(self, target: str, moved: Mapping[str, int]) -> None:
        """A session at this target is over, and has moved so much."""
        tenant = self.tenant_of(target)
        if tenant is not None:
            _add(self.over.setdefault(tenant, dict.fromkeys((*COUNTED, "sessions"), 0)), moved)

    def with_living(self, sessions: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
        """By tenant; ``sessions`` of a row is how many there are now."""
        found = {tenant: dict(moved) for tenant, moved in self.over.items()}
        for session in sessions:
            tenant = self.tenant_of(session["target"])
            if tenant is not None:
                row = found.setdefault(tenant, dict.fromkeys((*COUNTED, "sessions"), 0))
                _add(row, session)
                row["sessions"] += 1
        return found

    def forget(self, tenant: str) -> None:
        """It is no more."""
        self.over.pop(tenant, None)


def _add(row: dict[str, int], moved: Mapping[str, Any]) -> None:
    for name in COUNTED:
        row[name] += int(moved.get(name, 0))
