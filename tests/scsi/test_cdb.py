"""Where the fields of a command descriptor block lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import CheckCondition
from scsipub.scsi import cdb as fields
from scsipub.scsi.commands import COMMANDS
from tests.support.scsi import cdb

SHAPES = {
    10: ("28 00 L:4 00 N:2 00", 32, 16, 7),
    12: ("a8 00 L:4 N:4 00 00", 32, 32, 6),
    16: ("88 00 L:8 N:4 00 00", 64, 32, 10),
}


@pytest.mark.parametrize("size", SHAPES)
@given(data=st.data())
def test_address_and_count_are_where_their_group_has_them(size, data):
    """SPC-4 §4.2.5: the group code in the upper three bits of the operation code says which form it is."""
    text, address_bits, count_bits, at = SHAPES[size]
    lba = data.draw(st.integers(0, (1 << address_bits) - 1))
    count = data.draw(st.integers(0, (1 << count_bits) - 1))
    raw = cdb(text, L=lba, N=count)

    assert fields.length(raw[0]) == len(raw) == size
    assert fields.lba_and_count(raw) == (lba, count)
    assert fields.count_field(raw) == at
    assert int.from_bytes(raw[at : at + count_bits // 8], "big") == count


@given(st.integers(0, (1 << 21) - 1), st.integers(0, 255))
def test_the_six_byte_form_has_21_bits_and_a_count_where_0_means_256(lba, count):
    raw = bytes([0x08]) + lba.to_bytes(3, "big") + bytes([count, 0])
    assert fields.lba_and_count(raw) == (lba, count or 256)
    assert fields.count_field(raw) == 4


@pytest.mark.parametrize("opcode", [0x60, 0x7F, 0xC0, 0xFF])
def test_variable_length_and_vendor_groups_have_no_length(opcode):
    assert fields.length(opcode) is None
    assert all(key[0] != opcode for key in COMMANDS)


@given(st.integers(0, 1 << 65), st.integers(0, 1 << 33), st.integers(1, 1 << 64))
def test_a_range_is_refused_exactly_when_it_leaves_the_unit(lba, count, blocks):
    """The first block that does not exist is a fair place for a range of none."""
    inside = lba + count <= blocks
    try:
        fields.check_range(lba, count, blocks)
    except CheckCondition as refused:
        assert not inside
        assert (refused.asc, refused.ascq) == (0x21, 0x00)
    else:
        assert inside
