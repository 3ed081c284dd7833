"""RESERVE(6) and RELEASE(6)."""

import pytest

from scsipub.scsi import sense
from scsipub.scsi.command import Reserved
from scsipub.scsi.commands import COMMANDS
from scsipub.scsi.sense import Key
from tests.support.scsi import bench

TUR = "00 00 00 00 00 00"
RESERVE, RELEASE = "16 00 00 00 00 00", "17 00 00 00 00 00"


def test_reserve_6_is_for_one_nexus():
    """SPC-2 §7.21: again by the holder is good, by another RESERVATION CONFLICT."""
    disk = bench()
    other = disk.another()
    assert disk(RESERVE).status == sense.GOOD
    assert disk(RESERVE).status == sense.GOOD
    assert disk(RESERVE, lane=other).status == sense.RESERVATION_CONFLICT
    assert (other.may_read, other.may_write) == (False, False)
    assert (disk.lane.may_read, disk.lane.may_write) == (True, True)


def test_release_6_by_another_is_good_and_does_nothing():
    """SPC-2 §7.16."""
    disk = bench()
    other = disk.another()
    disk(RESERVE)
    assert disk(RELEASE, lane=other).status == sense.GOOD
    assert disk(TUR, lane=other).status == sense.RESERVATION_CONFLICT

    assert disk(RELEASE).status == sense.GOOD
    assert disk(RESERVE, lane=other).status == sense.GOOD


@pytest.mark.parametrize("row", COMMANDS.values(), ids=lambda row: row.name)
def test_reserve_6_refuses_whatever_is_not_always_allowed(row):
    """SPC-2 §5.5.1, table 10."""
    disk = bench(removable=True)
    other = disk.another()
    disk(RESERVE)
    ended = disk(bytes([row.opcode, row.action or 0]) + bytes(14), lane=other)

    assert (ended.status == sense.RESERVATION_CONFLICT) == (row.reserved is not Reserved.ALLOWED)


@pytest.mark.parametrize("bits", [0x10, 0x01])
def test_third_party_and_extent_reservations_are_refused(bits):
    assert bench()(bytes([0x16, bits, 0, 0, 0, 0])).key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
