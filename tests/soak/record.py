"""What happened, when, and what was wrong: the timeline that all parts of a soak write to."""

import sys
import threading
import time
from collections import Counter, deque
from typing import Any

import attrs

MOST_EVENTS = 20_000


@attrs.define(eq=False)
class Record:
    """Thread-safe.  ``epoch`` counts the starts of the daemon: disposable disks do not outlive one."""

    began: float = attrs.field(factory=time.monotonic)
    events: deque[tuple[float, str]] = attrs.field(factory=lambda: deque(maxlen=MOST_EVENTS))
    errors: list[tuple[float, str]] = attrs.Factory(list)
    counts: Counter[str] = attrs.Factory(Counter)
    epoch: int = 0
    stopping: threading.Event = attrs.Factory(threading.Event)
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    def event(self, what: str) -> None:
        with self._lock:
            self.events.append((self.now, what))

    def error(self, what: str) -> None:
        """Something that must not happen."""
        with self._lock:
            self.errors.append((self.now, what))
            self.events.append((self.now, f"ERROR {what}"))
        print(f"FAILED at {self.now:.3f} s: {what}", file=sys.stderr, flush=True)

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def around(self, at: float, before: float = 20.0, after: float = 2.0) -> list[str]:
        """The timeline about a moment."""
        with self._lock:
            return [f"{t:9.3f} s  {what}" for t, what in self.events if at - before <= t <= at + after]

    def to_json(self) -> dict[str, Any]:
        with self._lock:
            return {
                "counts": dict(self.counts),
                "errors": [{"at": round(t, 3), "what": what} for t, what in self.errors],
                "events": [{"at": round(t, 3), "what": what} for t, what in self.events],
            }
