"""Latency: how long commands take, counted without keeping one of them.

Pure.  A bucket for each power of two of microseconds: a few dozen integers for a worker, however many
commands, and two additions for each of them."""

# Up to half a minute; what takes longer has long been somebody's timeout.
BUCKETS = 26


class Latency:
    """Counts per bucket: ``counts[n]`` took less than ``2**n`` microseconds, and no less than half of it."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS

    # Hot: once for each turn, and for each command that a thread has done.
    def add(self, seconds: float, commands: int) -> None:
        """So many commands that took so long, each."""
        bucket = int(seconds * 1e6).bit_length()
        self.counts[bucket if bucket < BUCKETS else BUCKETS - 1] += commands
