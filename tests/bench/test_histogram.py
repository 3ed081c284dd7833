"""scsipub/bench/histogram.py"""

from scsipub.bench.histogram import REACH, Histogram


def filled(*values):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


def test_percentiles_are_latencies_that_were_seen():
    histogram = filled(*range(1, 101))

    assert [histogram.percentile(percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]


def test_nothing_counted_has_no_latency():
    assert Histogram().percentile(99) == 0
    assert Histogram().count() == 0


def test_the_last_bucket_and_the_first_value_beyond_it_are_both_kept():
    histogram = filled(REACH - 1, REACH, 5 * REACH)

    assert histogram.percentile(30) == REACH - 1
    assert histogram.percentile(60) == REACH
    assert histogram.percentile(100) == 5 * REACH


def test_merging_adds_the_counts():
    histogram = filled(1, 2)

    histogram.merge([filled(3), filled(REACH + 1)])

    assert histogram.count() == 4
    assert histogram.percentile(75) == 3
    assert histogram.summary()["max"] == REACH + 1
