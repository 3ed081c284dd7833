"""Shrinking leaves what matters, and ends when its time is up."""

from fuzz.shrinking import shrink
from fuzz.steps import Step


def numbered(count):
    return [Step(n=number) for number in range(count)]


def test_the_steps_that_matter_are_left():
    left = shrink(numbered(50), lambda steps: {7, 31, 32} <= {step.n for step in steps})

    assert [step.n for step in left] == [7, 31, 32]


def test_what_a_step_does_not_need_goes():
    step = Step(
        bhs=b"\x01" + bytes(47),
        data=b"abc",
        ahs=b"1234",
        mangles=(("twice", 0, 0, 0), ("cut", 3, 0, 0)),
        more=True,
    )

    left = shrink([step], lambda steps: bool(steps) and ("cut", 3, 0, 0) in steps[0].mangles)

    assert left == [Step(bhs=b"\x01" + bytes(47), mangles=(("cut", 3, 0, 0),))]


def test_without_time_nothing_is_tried():
    tried = []

    left = shrink(numbered(5), lambda steps: tried.append(steps) or True, seconds=-1.0)

    assert len(left) == 5
    assert tried == []
