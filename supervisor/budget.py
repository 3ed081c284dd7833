"""How often may a child die before its supervisor gives up, and how long to wait before the next try.

Source: OTP design principles, "Maximum Restart Intensity".
Pure: time is an argument, in seconds of a clock that never goes back.
"""

from collections import deque

import attrs


@attrs.define
class RestartBudget:
    """At most ``max_restarts`` within any ``max_seconds``.

    Three deaths in five seconds are forgiven and a fourth is not; a death is forgotten when it is
    ``max_seconds`` old.
    """

    max_restarts: int = attrs.field(default=3, validator=attrs.validators.ge(0))
    max_seconds: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))
    _spent: deque[float] = attrs.field(init=False, factory=deque)

    def spend(self, now: float) -> bool:
        """Take one restart.  False: there is none left; and nothing was taken."""
        if self.recent(now) >= self.max_restarts:
            return False
        self._spent.append(now)
        return True

    def recent(self, now: float) -> int:
        """How many restarts the last ``max_seconds`` saw."""
        while self._spent and now - self._spent[0] >= self.max_seconds:
            self._spent.popleft()
        return len(self._spent)

    def forget(self) -> None:
        """Begin anew, as after a quarantine."""
        self._spent.clear()


@attrs.frozen
class Backoff:
    """Wait a little longer each time: ``first``, then times ``factor``, never more than ``most``.

    The first restart after a quiet time does not wait at all: most crashes happen once.
    """

    first: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    factor: float = attrs.field(default=2.0, validator=attrs.validators.ge(0))
    most: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))

    def delay(self, restarts_before: int) -> float:
        """Seconds to wait for a restart that ``restarts_before`` others came shortly before."""
        if restarts_before <= 0:
            return 0.0
        # 2.0 ** 1024 is an OverflowError; by 64 doublings any delay has met its ceiling.
        return min(self.most, self.first * self.factor ** min(restarts_before - 1, 64))
