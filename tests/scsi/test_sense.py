"""Sense data in both formats."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import CheckCondition
from scsipub.scsi import sense
from scsipub.scsi.sense import Key


def test_fixed_format_has_eighteen_bytes_and_says_how_many_follow():
    """SPC-4 §4.5.3: response code 70h, additional sense length 10."""
    data = sense.fixed(sense.lba_out_of_range(5, 1, 5))

    assert len(data) == 18
    assert data[0] == 0x70
    assert data[2] == Key.ILLEGAL_REQUEST
    assert data[7] == 10
    assert data[12:14] == b"\x21\x00"


def test_a_field_pointer_names_byte_and_bit_of_the_cdb():
    """SPC-4 §4.5.2.4.2: SKSV, C/D, BPV and the bit, then the byte."""
    assert sense.fixed(sense.invalid_field(1, 4))[15:18] == bytes([0x80 | 0x40 | 0x08 | 4, 0, 1])


def test_a_field_pointer_into_the_parameter_list_clears_c_d():
    assert sense.fixed(sense.invalid_parameter(300))[15:18] == bytes([0x80, 1, 44])


def test_information_sets_valid_while_it_fits_32_bits():
    """SPC-4 §4.5.3: VALID is bit 7 of byte 0."""
    assert sense.fixed(sense.miscompare(0xFFFFFFFF))[:7] == b"\xf0\x00\x0e\xff\xff\xff\xff"
    assert sense.fixed(sense.miscompare(1 << 32))[:7] == b"\x70\x00\x0e\x00\x00\x00\x00"


def test_descriptor_format_carries_information_and_pointer_only_where_given():
    """SPC-4 §4.5.2: an 8-byte header; INFORMATION has type 00h, SENSE KEY SPECIFIC 02h."""
    assert sense.descriptor(sense.no_medium()) == bytes([0x72, 2, 0x3A, 0, 0, 0, 0, 0])

    data = sense.descriptor(sense.miscompare(9))
    assert data[7] == 12
    assert data[8:] == bytes([0x00, 0x0A, 0x80, 0]) + (9).to_bytes(8, "big")

    data = sense.descriptor(sense.invalid_field(2))
    assert data[7] == 8
    assert data[8:] == bytes([0x02, 0x06, 0, 0, 0xC0, 0, 2, 0])


def test_progress_is_told_with_sksv_set():
    """SPC-4 §4.5.2.4.4: progress indication for NOT READY."""
    assert sense.fixed(sense.sanitize_in_progress(0x1234))[15:18] == b"\x80\x12\x34"


@pytest.mark.parametrize(
    ("number", "writing", "expected"),
    [
        (errno.ENOSPC, True, (7, 0x27, 0x07)),
        (errno.EDQUOT, True, (7, 0x27, 0x07)),
        (errno.EIO, True, (3, 0x0C, 0x00)),
        (errno.EIO, False, (3, 0x11, 0x00)),
        (errno.EBADF, True, (4, 0x44, 0x00)),
        (None, False, (4, 0x44, 0x00)),
    ],
)
def test_every_oserror_has_its_sense(number, writing, expected):
    """Linux makes ENOSPC of 07/27/07 and EIO of any other DATA PROTECT."""
    error = OSError(number, "injected") if number else OSError("no number")
    check = sense.sense_for_oserror(error, writing=writing)

    assert (check.key, check.asc, check.ascq) == expected


@given(
    st.builds(
        CheckCondition,
        key=st.integers(0, 15),
        asc=st.integers(0, 255),
        ascq=st.integers(0, 255),
        field=st.none() | st.tuples(st.integers(0, 1 << 20), st.none() | st.integers(0, 7)),
        in_cdb=st.booleans(),
        information=st.none() | st.integers(0, (1 << 64) - 1),
        progress=st.none() | st.integers(0, 1 << 20),
    )
)
def test_both_formats_tell_the_same_code(check):
    fixed, descriptor = sense.fixed(check), sense.descriptor(check)

    assert (fixed[2], fixed[12], fixed[13]) == (descriptor[1], descriptor[2], descriptor[3])
    assert len(fixed) == 8 + fixed[7]
    assert len(descriptor) == 8 + descriptor[7]
