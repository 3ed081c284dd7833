"""START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, READ DEFECT DATA."""

import pytest

from scsipub.scsi.sense import Key
from tests.support.scsi import bench

TUR = "00 00 00 00 00 00"
EJECT, LOAD = "1b 00 00 00 02 00", "1b 00 00 00 03 00"
STOP, START = "1b 00 00 00 00 00", "1b 00 00 00 01 00"
PREVENT, ALLOW = "1e 00 00 00 01 00", "1e 00 00 00 00 00"
NO_MEDIUM = (Key.NOT_READY, 0x3A, 0x00)
PREVENTED = (Key.ILLEGAL_REQUEST, 0x53, 0x02)


def test_eject_and_load():
    """SBC-3 §5.24: LOEJ with START 0 and 1; the flags of the hot path follow."""
    disk = bench(removable=True)
    assert disk(EJECT).key is None
    assert disk(TUR).key == NO_MEDIUM
    assert (disk.lane.may_read, disk.lane.may_write) == (False, False)

    assert disk(LOAD).key is None
    assert disk(TUR).key is None
    assert (disk.lane.may_read, disk.lane.may_write) == (True, True)


def test_eject_with_immed_is_done_at_once_and_flushes_first():
    disk = bench(removable=True)
    assert disk("1b 01 00 00 02 00").key is None
    assert disk(TUR).key == NO_MEDIUM
    assert disk.medium.flushes == 1


def test_a_new_medium_is_news_for_the_others():
    """SAM-5 §5.14: NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED."""
    disk = bench(removable=True)
    other = disk.another()
    disk(EJECT)
    disk(LOAD)

    assert disk(TUR).key is None
    assert disk(TUR, lane=other).key == (Key.UNIT_ATTENTION, 0x28, 0x00)


def test_loading_what_is_loaded_disturbs_nobody():
    disk = bench(removable=True)
    other = disk.another()
    disk(LOAD)

    assert disk(TUR, lane=other).key is None


@pytest.mark.parametrize("power", range(1, 16))
@pytest.mark.parametrize("loej", [0x02, 0x03])
def test_power_conditions_are_accepted_and_eject_nothing(power, loej):
    """SBC-3 §5.24: with POWER CONDITION other than 0, START and LOEJ are ignored."""
    disk = bench(removable=True)
    assert disk(bytes([0x1B, 0, 0, 0, power << 4 | loej, 0])).key is None
    assert disk(TUR).key is None


def test_a_stopped_unit_is_still_ready():
    disk = bench()
    assert disk(STOP).key is None
    assert disk.medium.flushes == 1
    assert disk("1b 00 00 00 04 00").key is None
    assert disk.medium.flushes == 1
    assert disk(TUR).key is None
    assert disk(START).key is None


def test_a_fixed_disk_is_not_ejected():
    ended = bench()(EJECT)
    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (4, 1)


def test_one_nexus_that_prevents_removal_prevents_it_for_all():
    """SBC-3 §5.10: ejecting and loading are refused with 05h/53h/02h until every nexus allows it."""
    disk = bench(removable=True)
    other = disk.another()
    disk(PREVENT)
    disk(PREVENT, lane=other)
    assert disk(EJECT).key == disk(EJECT, lane=other).key == disk(LOAD).key == PREVENTED

    disk(ALLOW)
    assert disk(EJECT).key == PREVENTED
    disk(ALLOW, lane=other)
    assert disk(EJECT).key is None


def test_removal_may_be_prevented_without_a_medium():
    disk = bench(removable=True)
    disk(EJECT)
    assert disk(PREVENT).key is None
    assert disk(LOAD).key == PREVENTED


def test_prevention_ends_with_the_nexus():
    disk = bench(removable=True)
    other = disk.another()
    disk(PREVENT, lane=other)
    disk.unit.detach(other)
    assert disk(EJECT).key is None


@pytest.mark.parametrize("prevent", [2, 3])
def test_obsolete_kinds_of_prevention_are_refused(prevent):
    assert bench()(bytes([0x1E, 0, 0, 0, prevent, 0])).key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def test_there_are_no_defects():
    """SBC-3 §5.17, §5.18: an empty list, in the format that was asked for."""
    assert bench()("37 00 1d 00 00 00 00 00 20 00").data == bytes([0, 0x1D, 0, 0])
    assert bench()("b7 18 00 00 00 00 00 00 00 20 00 00").data == bytes([0, 0x18]) + bytes(6)
