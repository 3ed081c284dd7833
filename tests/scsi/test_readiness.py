"""TEST UNIT READY and REQUEST SENSE."""

import pytest

from scsipub.scsi import attentions
from scsipub.scsi.sense import Key
from tests.support.scsi import bench

TUR = "00 00 00 00 00 00"
REQUEST_SENSE = "03 00 00 00 fc 00"
WITH_DESCRIPTORS = "03 01 00 00 fc 00"


def said(answer):
    """Key, code and qualifier of parameter data in either format."""
    data = answer.data
    return (data[2], data[12], data[13]) if data[0] & 0x7F == 0x70 else (data[1], data[2], data[3])


def test_a_ready_unit_is_ready():
    assert bench()(TUR).key is None


@pytest.mark.parametrize("how", [REQUEST_SENSE, WITH_DESCRIPTORS])
def test_with_nothing_to_report_request_sense_says_no_sense(how):
    """SPC-4 §6.39."""
    assert said(bench()(how)) == (Key.NO_SENSE, 0, 0)


def test_the_desc_bit_chooses_the_format():
    assert bench()(REQUEST_SENSE).data[0] == 0x70
    assert bench()(WITH_DESCRIPTORS).data[0] == 0x72


def test_request_sense_takes_one_attention_at_a_time():
    disk = bench()
    disk.unit.raise_attention(attentions.CAPACITY_CHANGED)
    disk.unit.raise_attention(attentions.LUNS_CHANGED)

    assert said(disk(REQUEST_SENSE)) == (Key.UNIT_ATTENTION, 0x2A, 0x09)
    assert not disk.lane.may_read
    assert said(disk(REQUEST_SENSE)) == (Key.UNIT_ATTENTION, 0x3F, 0x0E)
    assert disk.lane.may_read
    assert said(disk(REQUEST_SENSE)) == (Key.NO_SENSE, 0, 0)


def test_request_sense_says_why_the_unit_is_not_ready():
    disk = bench(removable=True)
    disk("1b 00 00 00 02 00")
    assert said(disk(REQUEST_SENSE)) == (Key.NOT_READY, 0x3A, 0x00)

    disk.unit.ready = False
    assert said(disk(REQUEST_SENSE)) == (Key.NOT_READY, 0x04, 0x01)


def test_the_desc_bit_is_independent_of_d_sense():
    disk = bench()
    disk("15 10 00 00 10 00", bytes(4) + bytes([0x0A, 10, 0x04, 0x10]) + bytes(8))
    assert disk(REQUEST_SENSE).data[0] == 0x70
