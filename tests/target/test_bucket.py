"""The token bucket: never more than the rate in the long run, never less to who waits as told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.target.bucket import LEAST_SECONDS, Bucket


def test_a_burst_is_there_at_once_and_then_one_comes_after_the_other():
    bucket = Bucket(rate=2.0, burst=3.0)
    for _ in range(3):
        assert bucket.open(100.0)
        bucket.level -= 1

    assert not bucket.open(100.0)
    assert bucket.delay(100.0) == pytest.approx(0.5)
    assert not bucket.open(100.49)
    assert bucket.open(100.5)


def test_a_debt_is_paid_before_the_next_begins():
    """One command may cost more than the bucket ever holds."""
    bucket = Bucket(rate=10.0, burst=10.0)
    assert bucket.open(1.0)
    bucket.level -= 110

    assert bucket.delay(1.0) == pytest.approx(10.1)
    assert not bucket.open(11.0)
    assert bucket.open(11.1)


def test_what_is_not_used_is_kept_up_to_the_burst():
    bucket = Bucket(rate=1.0, burst=5.0)
    bucket.open(0.0)
    bucket.level -= 5
    bucket.open(1000.0)

    assert bucket.level == 5


def test_a_time_before_the_last_one_changes_nothing():
    bucket = Bucket(rate=1.0, burst=1.0)
    bucket.open(50.0)
    bucket.level -= 1

    assert not bucket.open(40.0)
    assert not bucket.open(50.5)
    assert bucket.open(51.0)


def test_a_fast_bucket_holds_what_comes_while_nobody_looks():
    assert Bucket(rate=10_000.0, burst=1.0).burst == 10_000 * LEAST_SECONDS


@pytest.mark.parametrize(("rate", "burst"), [(1.0, 1.0), (1000.0, 2000.0)])
def test_what_was_spent_stays_spent_when_the_rate_changes(rate, burst):
    bucket = Bucket(rate=10.0, burst=10.0)
    bucket.open(1.0)
    bucket.level -= 30

    bucket.change(rate, burst, 1.0)

    assert not bucket.open(1.0) or burst > 30
    assert bucket.level <= bucket.burst


@given(
    rate=st.floats(1, 1e6),
    burst=st.floats(1, 1e6),
    costs=st.lists(st.floats(1, 1e5), min_size=1, max_size=40),
)
def test_over_a_while_nobody_gets_more_than_the_rate(rate, burst, costs):
    """Burst, rate and the debt of the last: that is all."""
    bucket, now, spent = Bucket(rate, burst), 5.0, 0.0
    bucket.open(now)
    for cost in costs:
        now += bucket.delay(now)
        assert bucket.open(now)  # who waits as long as told need not wait again
        bucket.level -= cost
        spent += cost

    assert spent <= bucket.burst + rate * (now - 5.0) + costs[-1] + 1
