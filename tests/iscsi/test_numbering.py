"""Serial numbers of 32 bits.  RFC 1982, RFC 7143 §4.2.2.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.iscsi.numbering import serial_add, serial_distance

NUMBERS = st.integers(0, 2**32 - 1)


@given(NUMBERS, st.integers(-(2**31), 2**31 - 1))
def test_the_distance_is_what_was_added(number, step):
    assert serial_distance(number, serial_add(number, step)) == step


@given(NUMBERS, NUMBERS)
def test_whoever_is_ahead_the_other_is_behind(a, b):
    there, back = serial_distance(a, b), serial_distance(b, a)

    assert there == -back or there == back == -(2**31)


@pytest.mark.parametrize(
    ("from_", "to", "distance"),
    [(0, 0, 0), (0, 1, 1), (1, 0, -1), (0xFFFFFFFF, 0, 1), (0, 0xFFFFFFFF, -1), (0, 0x7FFFFFFF, 0x7FFFFFFF),
     (0, 0x80000000, -0x80000000)],
)  # fmt: skip
def test_both_sides_of_the_wrap(from_, to, distance):
    assert serial_distance(from_, to) == distance


@given(NUMBERS, st.integers(-(2**33), 2**33))
def test_a_sum_is_a_serial_number(number, step):
    assert 0 <= serial_add(number, step) <= 0xFFFFFFFF
