"""Latencies counted in buckets of one microsecond: cheap to add to, exact enough for percentiles.

Pure.  Beyond ``REACH`` a value is kept as it is; there are few of those."""

from collections.abc import Iterable
from typing import Self

import attrs

REACH = 20_000  # microseconds with a bucket of their own


@attrs.define
class Histogram:
    """How often each latency was seen, in microseconds."""

    buckets: list[int] = attrs.Factory(lambda: [0] * REACH)
    beyond: list[int] = attrs.Factory(list)

    def add(self, microseconds: int) -> None:
        if microseconds < REACH:
            self.buckets[microseconds] += 1
        else:
            self.beyond.append(microseconds)

    def merge(self, others: Iterable[Self]) -> None:
        for other in others:
            self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
            self.beyond += other.beyond

    def count(self) -> int:
        return sum(self.buckets) + len(self.beyond)

    def percentile(self, percent: float) -> int:
        """The smallest latency that ``percent`` of all are not above; 0 when nothing was counted."""
        wanted = max(1, -(-self.count() * percent // 100))
        seen = 0
        for microseconds, often in enumerate(self.buckets):
            seen += often
            if seen >= wanted:
                return microseconds
        rest = sorted(self.beyond)
        return rest[min(int(wanted - seen), len(rest)) - 1] if rest else 0

    def summary(self) -> dict[str, int]:
        """The percentiles people ask for."""
        return {f"p{percent:g}": self.percentile(percent) for percent in (50, 90, 99, 99.9)} | {
            "max": self.percentile(100)
        }
