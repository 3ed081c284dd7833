"""Complaints: what peers did wrong, counted always, logged seldom.

Pure; time is an argument.  A stranger decides how many complaints there are, so neither memory nor log may
grow with them: one line per (kind, source) in a window, ``suppressed`` says how many it stands for, and the
table of windows forgets its oldest entry when it is full."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

import attrs

from scsipub.control.sources import prefix_of
from scsipub.limits import Limits

LATELY = 50


@attrs.define
class Window:
    """When the last line was written, and what has been kept back since."""

    until: float
    suppressed: int = 0


class Complaints:
    """``log`` is called with an event name and fields."""

    def __init__(self, limits: Limits, log: Callable[..., None]) -> None:
        self.limits = limits
        self.log = log
        self.counts: Counter[str] = Counter()
        self.windows: OrderedDict[tuple[str, str], Window] = OrderedDict()
        self.tokens = limits.log_lines_per_second
        self.filled = 0.0
        # What was logged last, for people: {"at", "kind", "source", "initiator", "why", …}.
        self.lately: deque[dict[str, Any]] = deque(maxlen=LATELY)
        self.dropped = 0  # lines that the global rate swallowed

    def complain(
        self, kind: str, source: str, now: float, *, about: str = "", count: int = 1, **fields: object
    ) -> None:
        """Count, and say it unless it has been said lately.  ``about`` narrows the window."""
        self.counts[kind] += count
        key = (kind, f"{prefix_of(source)} {about}")
        window = self.windows.get(key)
        if window is not None and now < window.until:
            window.suppressed += count
            self.windows.move_to_end(key)
            return
        suppressed = window.suppressed if window is not None else 0
        self.windows[key] = Window(now + self.limits.unknown_target_seconds)
        self.windows.move_to_end(key)
        while len(self.windows) > self.limits.unknown_target_entries:
            self.windows.popitem(last=False)
        if not self._may_log(now):
            self.dropped += 1
            return
        if suppressed:
            fields["suppressed"] = suppressed
        said = {k: printable(v) for k, v in fields.items() if v not in ("", 0, None)}
        self.lately.append({"at": now, "kind": kind, "source": source, **said})
        self.log(kind, source=source, **said)

    def _may_log(self, now: float) -> bool:
        rate = self.limits.log_lines_per_second
        self.tokens = min(rate, self.tokens + max(0.0, now - self.filled) * rate)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def printable(value: object) -> object:
    """A stranger's text on one line of printable ASCII, at most 223 characters."""
    if not isinstance(value, str):
        return value
    return value.encode("ascii", "backslashreplace").decode().translate(_ESCAPES)[:223]


_ESCAPES = {c: f"\\x{c:02x}" for c in (*range(32), 127)}
