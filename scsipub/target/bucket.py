"""A token bucket: how much may be done at once, and how fast it comes back.

Pure: time is an argument, in seconds; a time before the last one counts as that.

What begins may cost more than there is; the debt is paid before the next may begin.  So nothing is too large
to begin at all, and over a while nobody gets more than the rate."""

import attrs

# A bucket holds at least what comes in so many seconds: who looks now and then must not lose tokens.
LEAST_SECONDS = 0.02
# Sleeping for exactly as long as it takes must suffice, whatever is lost in rounding.
_ONE = 1.0 - 1e-6


@attrs.define(eq=False)
class Bucket:
    """``rate`` tokens a second, ``burst`` of them at most.  Begins full."""

    rate: float
    burst: float
    level: float = attrs.field(init=False)
    at: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.burst = max(self.burst, 1.0, self.rate * LEAST_SECONDS)
        self.level = self.burst

    def open(self, now: float) -> bool:
        """May something begin?"""
        if now > self.at:
            level = self.level + (now - self.at) * self.rate
            self.level = min(level, self.burst)
            self.at = now
        return self.level >= _ONE

    def delay(self, now: float) -> float:
        """Seconds until something may begin."""
        return 0.0 if self.open(now) else (1.0 - self.level) / self.rate

    def change(self, rate: float, burst: float, now: float) -> None:
        """Another rate from now on.  What was spent stays spent."""
        self.open(now)
        spent = self.burst - self.level
        self.rate, self.burst = rate, max(burst, 1.0, rate * LEAST_SECONDS)
        self.level = min(self.burst, max(self.burst - spent, self.level))
