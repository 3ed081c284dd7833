"""Live: one session, as the registry and the operator see it.

Pure, but for the connection it holds; time is an argument."""

from datetime import UTC, datetime
from typing import Any

import attrs

from scsipub.target.descriptor import Arrival
from scsipub.worker.connection import Connection
from scsipub.worker.units import OpenTarget
from supervisor.dynamic import Child

# Rates tell of the last 5 to 10 seconds: two marks, of which the younger becomes the older.
MARK_SECONDS = 5.0


@attrs.define(eq=False)
class Recent:
    """How fast a counter has been growing lately."""

    at: float  # the younger mark
    count: int = 0
    before_at: float = attrs.field(init=False)
    before_count: int = 0

    def __attrs_post_init__(self) -> None:
        self.before_at = self.at

    def mark(self, count: int, now: float) -> None:
        """Call every now and then; once a second will do."""
        if now - self.at >= MARK_SECONDS:
            self.before_at, self.before_count = self.at, self.count
            self.at, self.count = now, count

    def rate(self, count: int, now: float) -> float:
        """A second, since the older mark."""
        return (count - self.before_count) / max(now - self.before_at, 0.001)


@attrs.define(eq=False, kw_only=True)
class Live:
    """One session: what serves it, and what is closed with it.

    ``since`` is in seconds of the epoch, ``began`` monotonic; ``child.cancel`` ends it."""

    id: str
    arrival: Arrival
    target: str  # empty: discovery
    initiator: str
    since: int
    began: float
    connection: Connection
    opened: OpenTarget | None
    child: Child
    recent: Recent = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.recent = Recent(self.began)

    def close(self) -> None:
        self.connection.sock.close()

    def iops(self, now: float) -> float:
        """Commands a second, lately."""
        return self.recent.rate(self.connection.nexus.session.counters.operations, now)

    def to_json(self, now: float) -> dict[str, Any]:
        counters = self.connection.nexus.session.counters
        return {
            "id": self.id,
            "target": self.target,
            "initiator": self.initiator,
            "source": self.arrival.source,
            "since": datetime.fromtimestamp(self.since, UTC).isoformat(timespec="seconds"),
            "tls": self.arrival.tls,
            "tunnel": self.arrival.tunnel,
            "bytes_read": counters.bytes_read,
            "bytes_written": counters.bytes_written,
            "operations": counters.operations,
            "iops": round(self.iops(now), 1),
            "last_error": counters.last_error,
        }
