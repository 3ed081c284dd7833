"""The mangler does what its tuples say, and nothing to what they do not name."""

import random

import pytest

from fuzz import mangle
from fuzz.steps import Step

HEADER = bytes(range(48))


def changed(*mangles):
    header = bytearray(HEADER)
    mangle.numbers(header, mangles)
    return bytes(header)


def test_a_number_is_added_to_and_wraps():
    assert changed(("add", 24, 4, -0x18191A1C))[24:28] == b"\xff\xff\xff\xff"
    assert changed(("add", 24, 4, 1))[:27] == HEADER[:27]


def test_a_number_is_set():
    assert changed(("set", 5, 3, 0xFFFFFF)) == HEADER[:5] + b"\xff\xff\xff" + HEADER[8:]


@pytest.mark.parametrize(
    ("it", "left"),
    [
        (("flip", 0, 0, 0), b"\x01bcd"[:0] + bytes([ord("a") ^ 1]) + b"bcd"),
        (("cut", 2, 0, 0), b"ab"),
        (("cut", 9, 0, 0), b"abcd"),
        (("twice", 0, 0, 0), b"abcdabcd"),
        (("split", 2, 0, 0), b"abcd"),
    ],
)
def test_what_happens_on_the_way(it, left):
    assert mangle.wire(b"abcd", (it,)) == left


def test_noise_is_put_in_and_the_rest_is_kept():
    noisy = mangle.wire(b"abcd", (("noise", 2, 5, 1),))

    assert noisy[:2] + noisy[7:] == b"abcd"


@pytest.mark.parametrize("opcode", range(0x40))
def test_every_pdu_can_be_broken(opcode):
    dice = random.Random(opcode)
    step = Step(bhs=bytes((opcode,)) + bytes(47))

    kinds = {mangle.pick(dice, step)[0] for _ in range(300)}

    assert kinds == {"add", "set", "flip", "cut", "noise", "split", "twice", "late"}
