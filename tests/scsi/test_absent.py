"""LUNs where no disk is, and the LUN field itself."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import CheckCondition
from scsipub.scsi import absent
from scsipub.scsi.commands import COMMANDS
from scsipub.scsi.reports import lun_bytes
from scsipub.scsi.sense import Key

INQUIRY = bytes.fromhex("12 00 00 00 ff 00").ljust(16, b"\0")
REPORT_LUNS = bytes.fromhex("a0 00 00 00 00 00 00 00 00 ff 00 00").ljust(16, b"\0")
REQUEST_SENSE = bytes.fromhex("03 00 00 00 ff 00").ljust(16, b"\0")


def test_inquiry_says_that_no_unit_can_be_there():
    """SPC-4 §6.6.2: qualifier 011b, device type 1Fh."""
    plan = absent.begin(INQUIRY, [0])
    assert plan.reply[0] == 0x7F
    assert len(plan.reply) == plan.reply[4] + 5 == 36


def test_report_luns_is_answered_whether_or_not_there_is_a_lun_0():
    assert absent.begin(REPORT_LUNS, [1, 2]).reply[8:] == lun_bytes(1) + lun_bytes(2)


def test_request_sense_says_why_with_good_status():
    """SPC-4 §6.39: LOGICAL UNIT NOT SUPPORTED as parameter data."""
    data = absent.begin(REQUEST_SENSE, [0]).reply
    assert (data[2], data[12], data[13]) == (5, 0x25, 0x00)


@pytest.mark.parametrize("row", COMMANDS.values(), ids=lambda row: row.name)
def test_everything_else_meets_logical_unit_not_supported(row):
    """SAM-5 §5.11: 05h/25h/00h."""
    raw = bytes([row.opcode, row.action or 0]) + bytes(14)
    if row.opcode in (0x03, 0x12, 0xA0):
        return
    with pytest.raises(CheckCondition) as refused:
        absent.begin(raw, [0])
    assert (refused.value.key, refused.value.asc, refused.value.ascq) == (Key.ILLEGAL_REQUEST, 0x25, 0x00)
    assert absent.sense_for(refused.value)[12] == 0x25


def test_vital_product_data_of_nobody():
    assert absent.begin(bytes.fromhex("12 01 00 00 ff 00"), []).reply == bytes([0x7F, 0, 0, 1, 0])
    with pytest.raises(CheckCondition):
        absent.begin(bytes.fromhex("12 01 83 00 ff 00"), [])
    with pytest.raises(CheckCondition):
        absent.begin(bytes.fromhex("12 00 83 00 ff 00"), [])


def test_the_well_known_unit_lists_luns_and_little_else():
    """SPC-4 §8.2: INQUIRY (type 1Eh), REPORT LUNS, REQUEST SENSE, TEST UNIT READY."""
    assert absent.begin_well_known(bytes(6), [0]).reply is None
    assert absent.begin_well_known(INQUIRY, [0]).reply[0] == 0x1E
    assert absent.begin_well_known(REPORT_LUNS, [3]).reply[8:] == lun_bytes(3)
    assert absent.begin_well_known(REQUEST_SENSE, [3]).reply[2] == 0
    with pytest.raises(CheckCondition) as refused:
        absent.begin_well_known(bytes.fromhex("28") + bytes(15), [0])
    assert refused.value.asc == 0x20


@given(st.integers(0, 0x3FFF))
def test_a_lun_is_found_by_what_report_luns_says(number):
    assert absent.lun_untrusted(int.from_bytes(lun_bytes(number), "big")) == absent.Lun(number)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (0x0001_0000_0000_0000, absent.Lun(1)),
        (0x4001_0000_0000_0000, absent.Lun(1)),
        (0x0101_0000_0000_0000, absent.Lun(None)),  # peripheral, bus 1
        (0x8001_0000_0000_0000, absent.Lun(None)),  # logical unit addressing
        (0xC101_0000_0000_0000, absent.Lun(None, well_known=True)),
        (0xC102_0000_0000_0000, absent.Lun(None)),
        (0x0001_0000_0000_0001, absent.Lun(None)),  # a second level
        (0xFFFF_FFFF_FFFF_FFFF, absent.Lun(None)),
    ],
)
def test_what_a_lun_field_means(field, expected):
    """SAM-5 §4.7."""
    assert absent.lun_untrusted(field) == expected


@given(st.integers(0, (1 << 64) - 1))
def test_any_lun_field_means_something(field):
    lun = absent.lun_untrusted(field)
    assert lun.number is None or 0 <= lun.number < 1 << 14


@given(st.binary(max_size=16), st.booleans())
def test_any_cdb_gets_a_plan_or_a_check_condition(raw, well_known):
    with contextlib.suppress(CheckCondition):
        (absent.begin_well_known if well_known else absent.begin)(raw, [0])
