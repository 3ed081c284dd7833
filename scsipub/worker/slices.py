"""Slices: how much of the event loop one turn may have.

Pure.  A session that is alone takes much at once, which is how much work becomes cheap.  While others have
turns, too, they wait for whoever has one, and it is to be brief: there will be another soon."""

import attrs

from scsipub.limits import Limits

# Whoever had a turn within so many seconds is still about.
ABOUT_SECONDS = 0.05


@attrs.frozen
class Slice:
    """Seconds for one turn, bytes to take from the socket in it, and bytes of answers to make in it."""

    seconds: float
    receive_bytes: int
    output_bytes: int


class Slices:
    """One for each worker.  ``of`` is told of every turn."""

    __slots__ = ("_last", "_last_at", "_others_at", "ample", "brief")

    def __init__(self, limits: Limits, receive_bytes: int) -> None:
        self.ample = Slice(limits.turn_seconds, receive_bytes, limits.session_output_bytes)
        self.brief = Slice(
            min(limits.turn_seconds, limits.brief_turn_seconds),
            min(receive_bytes, limits.brief_turn_bytes),
            min(limits.session_output_bytes, limits.brief_turn_bytes),
        )
        self._last: object = None  # who had the last turn, and when
        self._last_at = self._others_at = -ABOUT_SECONDS  # ... and when anybody else had one

    # Hot: once per turn.
    def of(self, who: object, now: float) -> Slice:
        """``who`` has a turn ``now`` (seconds): how much may it be?"""
        if who is not self._last:
            self._last, self._others_at = who, self._last_at
        self._last_at = now
        return self.brief if now - self._others_at < ABOUT_SECONDS else self.ample
