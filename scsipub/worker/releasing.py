"""Releasing: the clock of throttled commands.

Knows trio.  One task for each target that has somebody waiting, and none for the rest."""

from time import monotonic

import trio

from scsipub.target.throttle import Throttle

# So long at least: what has come together in the meantime goes together.
LEAST_SECONDS = 0.001
# So long at most: the rates may change while somebody waits.
MOST_SECONDS = 0.25


async def release(throttle: Throttle) -> None:
    """Until nobody waits any more."""
    while (delay := throttle.delay(monotonic())) is not None:
        await trio.sleep(min(max(delay, LEAST_SECONDS), MOST_SECONDS))
        throttle.release(monotonic())
