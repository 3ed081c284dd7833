"""A stranger cannot make metrics grow."""

from scsipub.web.metrics import MOST_KINDS, bounded


def test_as_many_kinds_as_allowed_keep_their_names():
    counts = {f"kind {n:03}": 1 for n in range(MOST_KINDS)}

    assert bounded(counts) == counts


def test_one_more_is_counted_with_the_others():
    found = bounded({f"kind {n:03}": 1 for n in range(MOST_KINDS + 2)})

    assert (len(found), found["other"]) == (MOST_KINDS + 1, 2)
