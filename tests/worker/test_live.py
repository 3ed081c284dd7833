"""The rate of the last seconds."""

from scsipub.worker.live import Recent


def counted(steps):
    """Marks once a second; ``steps`` are what each second adds."""
    recent, total = Recent(0.0), 0
    for second, more in enumerate(steps, 1):
        total += more
        recent.mark(total, float(second))
    return recent, total, float(len(steps))


def test_from_the_first_second_on_there_is_a_rate():
    assert Recent(10.0).rate(50, 10.5) == 100.0


def test_a_steady_rate_is_that_rate():
    recent, total, now = counted([100] * 60)

    assert recent.rate(total, now) == 100.0


def test_what_was_long_ago_counts_no_more():
    recent, total, now = counted([10_000] * 60 + [0] * 11)

    assert recent.rate(total, now) == 0.0


def test_what_began_just_now_is_seen_at_once():
    recent, total, now = counted([0] * 60)

    assert recent.rate(total + 1000, now + 1) > 80


def test_no_time_at_all_is_no_division_by_zero():
    assert Recent(5.0).rate(0, 5.0) == 0.0
