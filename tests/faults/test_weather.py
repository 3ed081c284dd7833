"""scsipub/faults/weather.py: bytes arrive whole and in order, but for what was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import OperatorError
from scsipub.faults.weather import MOST_PIECES, Climate, End, Hang, Send, Wait, Weather

DATA = bytes(range(256)) * 4


def fate(data=DATA, **climate):
    return Weather(Climate(**climate), 0, "up").deeds(data)


def sent(deeds):
    return b"".join(deed.data for deed in deeds if isinstance(deed, Send))


def test_fine_weather_changes_nothing():
    assert fate() == ([Send(DATA)], [])


@given(st.lists(st.binary(min_size=1), max_size=20), st.integers())
def test_stalls_crumbs_and_delays_lose_no_byte_and_keep_the_order(pieces, seed):
    weather = Weather(Climate(stall=0.5, crumbs=0.5, delay=0.1, rate=1000, seed=seed), 3, "down")

    assert b"".join(sent(weather.deeds(piece)[0]) for piece in pieces) == b"".join(pieces)


def test_a_cut_sends_a_part_and_ends():
    deeds, told = fate(cut=1)

    assert deeds[-1] == End(reset=False)
    assert DATA.startswith(sent(deeds))
    assert told == [(len(sent(deeds)), "cut")]


def test_a_reset_says_so():
    assert fate(reset=1)[0][-1] == End(reset=True)


def test_crumbs_are_single_bytes():
    assert {len(deed.data) for deed in fate(crumbs=1)[0]} == {1}


def test_crumbs_of_a_huge_piece_are_bounded():
    deeds, _ = fate(bytes(MOST_PIECES + 100), crumbs=1)

    assert (len(deeds), len(deeds[-1].data)) == (MOST_PIECES + 1, 100)


def test_a_flip_changes_one_bit_and_says_which():
    deeds, told = fate(flip=1)

    wrong = [(at, a ^ b) for at, (a, b) in enumerate(zip(DATA, sent(deeds), strict=True)) if a != b]
    [(at, bits)] = wrong
    assert bits.bit_count() == 1
    assert told == [(at, f"bit {bits.bit_length() - 1} flipped")]


def test_a_hang_is_the_last_thing():
    assert fate(hang=1)[0] == [Hang()]


def test_a_rate_waits_as_long_as_the_piece_takes():
    assert fate(rate=512)[0] == [Send(DATA), Wait(2.0)]


def test_offsets_count_the_stream_of_one_direction():
    weather = Weather(Climate(stall=1), 0, "up")
    weather.deeds(DATA)

    assert weather.deeds(DATA)[1] == [(len(DATA), "stalled for 1 s")]


def many(**climate):
    weather = Weather(Climate(stall=0.5, **climate), 0, "up")
    return [bool(weather.deeds(b"x")[1]) for _ in range(100)]


def test_the_same_seed_is_the_same_weather():
    assert many(seed=5) == many(seed=5) != many(seed=6)


def test_one_chance_does_not_move_the_dice_of_another():
    with_flips = Weather(Climate(stall=0.5, flip=0.5), 0, "up")

    stalls = [any("stalled" in what for _, what in with_flips.deeds(b"x")[1]) for _ in range(100)]

    assert stalls == many()


@pytest.mark.parametrize("wrong", [{"cut": 1.01}, {"flip": -0.1}, {"delay": -1}, {"rate": float("nan")}])
def test_what_is_no_chance_and_no_time_is_refused(wrong):
    with pytest.raises(OperatorError):
        Climate(**wrong)
