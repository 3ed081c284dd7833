"""Numbers that a person can read, and text that cannot steer a terminal."""

import datetime

import pytest

from scsipub.cli import show

NOON = datetime.datetime(2025, 6, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1024 KiB"),
        (150 * 1024**3 + 1, "150 GiB"),
        (5000 * 1024**4, "5000 TiB"),
        (None, "-"),
        ("many", "many"),
    ],
)
def test_sizes(count, shown):
    assert show.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (3725, "1h 2m"), (90061, "1d 1h"), (-5, "0s"), (None, "-")],
)
def test_durations_have_their_two_largest_units(seconds, shown):
    assert show.duration(seconds) == shown


@pytest.mark.parametrize(
    ("moment", "shown"),
    [("2025-06-01T11:59:00+00:00", "1m"), ("2025-06-01T11:00:00", "1h"), ("yesterday", "-"), (None, "-")],
)
def test_how_long_ago_a_moment_was(moment, shown):
    assert show.since(moment, NOON) == shown


def test_control_characters_are_replaced_and_other_scripts_are_not():
    assert show.harmless("a\x1b[1m\r\n\x9bé日") == "a\ufffd[1m\ufffd\ufffd\ufffdé日"
