"""Live numbers: what two looks at the daemon, a moment apart, say about what it does.

Pure; time is an argument.  Counters only grow, and begin again when a worker is replaced: less than
before counts as nothing, not as less than nothing."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from scsipub.web.pages_parts import visible

# What a plot shows when it is opened, seconds.
HISTORY = 120
MOST_ROWS = 50
# Looks further apart than this have no rate between them that anybody would call live.
LONGEST_GAP = 10.0
SHOWN = ("id", "initiator", "target", "source", "since", "last_error")


@attrs.frozen
class Look:
    """What the daemon said at one time."""

    at: float
    status: Mapping[str, Any]
    sessions: Mapping[str, Mapping[str, Any]]


@attrs.define
class Numbers:
    """The last look, and the curve of the last two minutes."""

    before: Look | None = None
    curve: deque[list[float]] = attrs.field(factory=lambda: deque(maxlen=HISTORY))

    def add(self, look: Look) -> dict[str, Any]:
        """What viewers are shown now."""
        before, self.before = self.before, look
        gap = look.at - before.at if before is not None else 0.0
        if before is None or not 0 < gap <= LONGEST_GAP:
            before, gap = look, 1.0
            self.curve.clear()
        now, then = look.status["counters"], before.status["counters"]
        read, written, operations = (
            _rate(now[key], then[key], gap) for key in ("bytes_read", "bytes_written", "operations")
        )
        typical, slow = quantiles(_times(look), _times(before))
        point = [round(read), round(written), round(operations, 1), typical, slow]
        self.curve.append(point)
        old = {worker["index"]: worker for worker in before.status["workers"]}
        return {
            "now": point,
            "sessions": look.status["sessions"],
            "parked": look.status["parked"],
            "workers": [
                _worker(worker, old.get(worker["index"], worker), gap) for worker in look.status["workers"]
            ],
            "rows": rows(look, before, gap),
        }


def rows(look: Look, before: Look, gap: float) -> list[dict[str, Any]]:
    """The busiest sessions, the busiest first; what strangers chose made visible."""
    made = []
    for id, session in look.sessions.items():
        old = before.sessions.get(id, session)
        made.append(
            {key: visible(session[key]) for key in SHOWN}
            | {"worker": session["worker"], "tls": session["tls"], "iops": session["iops"]}
            | {"read": round(_rate(session["bytes_read"], old["bytes_read"], gap))}
            | {"written": round(_rate(session["bytes_written"], old["bytes_written"], gap))}
        )
    made.sort(key=lambda row: (-(row["read"] + row["written"]), -row["iops"], row["id"]))
    return made[:MOST_ROWS]


def _worker(worker: Mapping[str, Any], old: Mapping[str, Any], gap: float) -> dict[str, Any]:
    return {key: worker[key] for key in ("index", "state", "sessions", "restarts")} | {
        "read": round(_rate(worker["bytes_read"], old["bytes_read"], gap)),
        "written": round(_rate(worker["bytes_written"], old["bytes_written"], gap)),
        "operations": round(_rate(worker["operations"], old["operations"], gap), 1),
    }


def _rate(now: float, then: float, gap: float) -> float:
    return max(0.0, now - then) / gap


def _times(look: Look) -> dict[int, Sequence[int]]:
    return {worker["index"]: worker["times"] for worker in look.status["workers"]}


def quantiles(now: Mapping[int, Sequence[int]], then: Mapping[int, Sequence[int]]) -> tuple[float, float]:
    """Of what was done between the two: the time that half of it took at most, and 99 %.  Microseconds.

    Bucket ``n`` counts what took less than ``2**n`` and not less than half of that."""
    fresh: list[int] = []
    for index, counts in now.items():
        old = then.get(index, ())
        for n, count in enumerate(counts):
            while len(fresh) <= n:
                fresh.append(0)
            fresh[n] += max(0, count - (old[n] if n < len(old) else 0))
    return _below(fresh, 0.5), _below(fresh, 0.99)


def _below(counts: Sequence[int], part: float) -> float:
    wanted, seen = sum(counts) * part, 0.0
    for n, count in enumerate(counts):
        if count and seen + count >= wanted:
            low = 2.0 ** (n - 1) if n else 0.0
            return round(low + (2.0**n - low) * (wanted - seen) / count, 1)
        seen += count
    return 0.0
