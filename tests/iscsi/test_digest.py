"""CRC32C against the examples of the standards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.iscsi.digest import RIGHT, crc32c, digest

# RFC 7143 appendix A.4 (CRC Examples)
EXAMPLES = {
    "zeros": (bytes(32), "aa36918a"),
    "ones": (b"\xff" * 32, "43aba862"),
    "rising": (bytes(range(32)), "4e79dd46"),
    "falling": (bytes(range(31, -1, -1)), "5cdb3f11"),
    "a read command": (
        bytes.fromhex(
            "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018"
            "28000000 00000000 02000000 00000000"
        ),
        "563a96d9",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_rfc_come_out(name: str) -> None:
    """RFC 7143 appendix A.4: bytes in the order they are sent."""
    data, expected = EXAMPLES[name]

    assert digest(data).hex() == expected


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_digest_does_not_care_how_its_input_is_cut(data: bytes, cut: int) -> None:
    """Header and AHS, or data and pad, may lie in different buffers of any kind."""
    assert digest(bytearray(data[:cut]), memoryview(data)[cut:]) == digest(data)


@given(st.binary(max_size=200))
def test_what_ends_in_its_right_digest_has_one_sum(data: bytes) -> None:
    """What framing and the turn look for, with one call instead of two."""
    assert crc32c(data + digest(data)) == RIGHT


@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4))
def test_no_other_end_has_that_sum(data: bytes, end: bytes) -> None:
    """A wrong digest is never taken for a right one."""
    assert (crc32c(data + end) == RIGHT) is (end == digest(data))


@given(st.binary(min_size=1, max_size=100), st.integers(0, 799))
def test_one_flipped_bit_changes_the_sum(data: bytes, bit: int) -> None:
    """What a digest is for."""
    bit %= 8 * len(data)
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8

    assert crc32c(flipped) != crc32c(data)
