"""Latency: buckets of powers of two."""

import pytest

from scsipub.worker.latency import BUCKETS, Latency


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.9e-6, 0), (1e-6, 1), (2e-6, 2), (3.9e-6, 2), (4e-6, 3), (0.001, 10), (3600.0, BUCKETS - 1)],
)
def test_a_command_counts_in_the_bucket_of_its_power_of_two(seconds, bucket):
    latency = Latency()
    latency.add(seconds, 3)

    assert latency.counts[bucket] == 3
    assert sum(latency.counts) == 3
