"""Attempts: how the last logins to each target ended, so that somebody can be told why.

Pure; time is an argument.  Strangers decide how many attempts there are and to which names, so memory is
bounded twice: so many for each name, the same failure again and again counted as one; and so many names,
those of targets that are here apart from the others, so that a flood of made-up names makes nobody forget."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from datetime import datetime

import attrs

from scsipub.control.causes import Cause
from scsipub.control.complaints import printable

PER_TARGET = 16
TARGETS = 4096
PER_STRANGE_NAME = 4
STRANGE_NAMES = 512


@attrs.define
class Attempt:
    """One login, or the same failure ``count`` times in a row."""

    target: str
    initiator: str
    source: str
    user: str
    status: int
    cause: Cause
    why: str
    first: datetime
    last: datetime
    count: int = 1

    def same(self, other: "Attempt") -> bool:
        ours = (self.initiator, self.source, self.user, self.status, self.cause, self.why)
        return ours == (other.initiator, other.source, other.user, other.status, other.cause, other.why)


class Attempts:
    """One per daemon."""

    def __init__(self) -> None:
        self.here: OrderedDict[str, deque[Attempt]] = OrderedDict()
        self.strange: OrderedDict[str, deque[Attempt]] = OrderedDict()

    def note(
        self,
        target: str,
        initiator: str,
        source: str,
        cause: Cause,
        now: datetime,
        *,
        user: str = "",
        status: int = 0,
        why: str = "",
        here: bool = True,
    ) -> None:
        """``here``: there is a target of this name."""
        names, most, each = (
            (self.here, TARGETS, PER_TARGET) if here else (self.strange, STRANGE_NAMES, PER_STRANGE_NAME)
        )
        said = [str(printable(text)) for text in (target, initiator, source, user, why)]
        made = Attempt(said[0], said[1], said[2], said[3], status, cause, said[4], now, now)
        ring = names.setdefault(said[0], deque(maxlen=each))
        names.move_to_end(said[0])
        if ring and ring[-1].same(made):
            ring[-1].count += 1
            ring[-1].last = now
        else:
            ring.append(made)
        while len(names) > most:
            names.popitem(last=False)

    def of(self, target: str) -> list[Attempt]:
        """The newest first."""
        return [*reversed(self.here.get(target, ())), *reversed(self.strange.get(target, ()))]

    def everything(self) -> list[Attempt]:
        """All that is remembered, the newest first."""
        return sorted(self._all(), key=lambda attempt: attempt.last, reverse=True)

    def _all(self) -> Iterator[Attempt]:
        for names in (self.here, self.strange):
            for ring in names.values():
                yield from ring

    def forget(self, target: str) -> None:
        """It was removed; what comes now comes to a name that is not here."""
        self.here.pop(target, None)
