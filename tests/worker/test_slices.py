"""How much of the event loop one turn may have."""

import pytest

from scsipub.limits import KiB, Limits, MiB
from scsipub.worker.slices import ABOUT_SECONDS, Slices

ONE, OTHER, THIRD = "one", "other", "third"


@pytest.fixture
def slices():
    return Slices(Limits(), MiB)


def test_who_is_alone_takes_much_at_once(slices):
    assert [slices.of(ONE, now) for now in (1.0, 1.001, 1.002)] == [slices.ample] * 3
    assert (slices.ample.seconds, slices.ample.receive_bytes, slices.ample.output_bytes) == (0.001, MiB, MiB)


def test_who_follows_another_is_brief(slices):
    slices.of(ONE, 1.0)

    assert slices.of(OTHER, 1.001) is slices.brief
    assert slices.of(ONE, 1.002) is slices.brief
    brief = slices.brief
    assert (brief.seconds, brief.receive_bytes, brief.output_bytes) == (0.00025, 128 * KiB, 128 * KiB)


@pytest.mark.parametrize(("later", "about"), [(0.9, True), (1.1, False)])
def test_the_others_are_forgotten_after_a_while(slices, later, about):
    """However many turns the one has had since."""
    slices.of(OTHER, 1.0)
    for n in range(10):
        slices.of(ONE, 1.0 + n / 10_000)

    assert (slices.of(ONE, 1.0 + later * ABOUT_SECONDS) is slices.brief) == about


def test_it_does_not_matter_which_other_it_was(slices):
    slices.of(OTHER, 1.0)
    slices.of(THIRD, 1.03)

    assert slices.of(ONE, 1.07) is slices.brief


def test_a_brief_turn_is_never_more_than_an_ample_one():
    slices = Slices(Limits(turn_seconds=0.0001, session_output_bytes=64 * KiB), 32 * KiB)

    assert slices.brief == slices.ample
