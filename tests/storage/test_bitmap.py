"""Bitmaps: which sectors are ours, and where runs begin and end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.storage import bitmap
from scsipub.storage.bitmap import Bitmap, runs_of, windows
from tests.reference.bitmap import PlainBitmap

LENGTH = 203
ranges = st.tuples(st.integers(0, LENGTH - 1), st.integers(1, LENGTH)).map(
    lambda pair: (pair[0], min(pair[1], LENGTH - pair[0]))
)
# Ranges on byte borders take other paths through the code than odd ones.
aligned = st.tuples(st.integers(0, 24), st.integers(1, 25)).map(
    lambda pair: (pair[0] * 8, min(pair[1], 25 - pair[0]) * 8)
)
some = st.one_of(ranges, aligned)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), some), max_size=12), some)
def test_it_agrees_with_a_set_of_numbers(
    steps: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    """The slow twin and the quick one say the same of every range."""
    quick, plain = Bitmap(LENGTH), PlainBitmap(LENGTH)
    for is_set, (first, count) in steps:
        if is_set:
            assert quick.set_range(first, count) == plain.set_range(first, count)
        else:
            assert quick.clear_range(first, count) == plain.clear_range(first, count)

    assert quick.all_set(*asked) == plain.all_set(*asked)
    assert quick.none_set(*asked) == plain.none_set(*asked)
    assert quick.count(*asked) == plain.count(*asked)
    assert list(quick.runs(*asked)) == list(plain.runs(*asked))
    assert quick.count() == len(plain.ones)


@given(some)
def test_what_a_range_will_look_like_changes_nothing_until_it_is_put(asked: tuple[int, int]) -> None:
    """The file is written between the two, and may refuse."""
    quick = Bitmap(LENGTH)

    start, new = quick.with_range(*asked)
    assert quick.count() == 0
    quick.put(start, new)

    assert quick.count() == asked[1]
    assert quick.all_set(*asked)


def test_runs_cover_a_range_longer_than_a_window_without_seams() -> None:
    """A walk looks at one window at a time; whoever asks must not notice."""
    quick = Bitmap(3 * bitmap.WINDOW)
    quick.set_range(10, 2 * bitmap.WINDOW)

    assert list(quick.runs(0, quick.length)) == [
        (False, 0, 10),
        (True, 10, 2 * bitmap.WINDOW),
        (False, 2 * bitmap.WINDOW + 10, bitmap.WINDOW - 10),
    ]


def test_windows_of_nothing_are_none() -> None:
    assert list(windows(7, 0)) == []


def test_bits_above_the_count_are_not_looked_at() -> None:
    assert list(runs_of(0b0110, 4)) == [(False, 0, 1), (True, 1, 2), (False, 3, 1)]


def test_a_large_bitmap_takes_memory_only_where_it_is_touched() -> None:
    """64 TiB of disk are 16 GiB of bits: nobody has those, and nobody needs them."""
    large = Bitmap(1 << 37)
    far = (1 << 37) - 8
    assert large.set_range(far - 5, 11) == 11

    assert large.all_set(far - 5, 8)
    assert large.none_set(0, 1 << 20)
    assert list(large.runs(far - 16, 24)) == [(False, far - 16, 11), (True, far - 5, 11), (False, far + 6, 2)]
    assert large.clear_range(far, 8) == 6
    assert large.none_set(far, 8)
    large.set_range(0, 8)
    assert large.all_set(0, 8)
    assert not large.all_set(0, 16)


def test_pieces_of_zeros_are_passed_over() -> None:
    bitmap = Bitmap(10 * 64 + 3)
    bitmap.set_range(64, 1)
    bitmap.set_range(642, 1)

    assert list(bitmap.pieces(8)) == [(8, b"\1" + bytes(7)), (80, b"\4")]


def test_bytes_of_another_length_are_refused() -> None:
    Bitmap(16, bytearray(2))
    with pytest.raises(ValueError, match="3 bytes"):
        Bitmap(16, bytearray(3))
