"""A stranger cannot make metrics grow."""

from scsipub.web.metrics import MOST_KINDS, bounded, buckets


def test_as_many_kinds_as_allowed_keep_their_names():
    counts = {f"kind {n:03}": 1 for n in range(MOST_KINDS)}

    assert bounded(counts) == counts


def test_one_more_is_counted_with_the_others():
    found = bounded({f"kind {n:03}": 1 for n in range(MOST_KINDS + 2)})

    assert (len(found), found["other"]) == (MOST_KINDS + 1, 2)


def test_times_are_told_as_so_many_that_took_no_longer():
    assert buckets([1, 0, 3, 2]) == [("1e-06", 1.0), ("2e-06", 1.0), ("4e-06", 4.0), ("+Inf", 6.0)]


def test_a_worker_that_has_said_nothing_yet_has_counted_nothing():
    assert buckets([]) == [("+Inf", 0.0)]
