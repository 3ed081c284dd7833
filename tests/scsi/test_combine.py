"""ORWRITE, COMPARE AND WRITE, WRITE ATOMIC."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.scsi import limits
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.sense import Key
from tests.support.scsi import UUID, bench, cdb

OR = "8b F:1 L:8 N:4 00 00"
COMPARE = "89 F:1 L:8 00 00 00 N:1 00 00"
ATOMIC = "9c F:1 L:8 B:2 N:2 00 00"
IFC = (Key.ILLEGAL_REQUEST, 0x24, 0x00)


@given(st.binary(min_size=1024, max_size=1024), st.binary(min_size=1, max_size=1024), st.integers(1, 1024))
@settings(max_examples=60)
def test_orwrite_leaves_old_or_new(old, new, piece):
    """SBC-3 §5.7, for whatever of the data came and however it was cut."""
    disk = bench()
    disk.medium.write(2, old)
    disk(cdb(OR, F=0, L=2, N=2), new, piece=piece)

    expected = bytes(a | b for a, b in zip(old, new.ljust(1024, b"\0"), strict=True))
    assert disk.medium.read(2, 2) == expected


def test_orwrite_with_fua_flushes():
    disk = bench()
    disk(cdb(OR, F=0x08, L=0, N=1), bytes(512))
    assert disk.medium.flushes == 1


def test_compare_and_write_writes_when_equal():
    """SBC-3 §5.2: the first half is compared, the second written."""
    disk = bench()
    disk.medium.write(6, b"a" * 512)
    assert disk(cdb(COMPARE, F=0, L=6, N=1), b"a" * 512 + b"b" * 512).key is None
    assert disk.medium.read(6, 1) == b"b" * 512


@pytest.mark.parametrize("at", [0, 1, 511])
def test_compare_and_write_says_where_the_first_difference_is_and_writes_nothing(at):
    """0Eh/1Dh/00h with the offset in INFORMATION: ESXi's locks look at it."""
    disk = bench()
    disk.medium.write(6, b"a" * 512)
    wrong = b"a" * at + b"x" * (512 - at)
    ended = disk(cdb(COMPARE, F=0, L=6, N=1), wrong + b"b" * 512)

    assert ended.key == (Key.MISCOMPARE, 0x1D, 0x00)
    assert ended.check.information == at
    assert disk.medium.read(6, 1) == b"a" * 512


def test_compare_and_write_holds_its_block_exclusively():
    disk = bench()
    plan = disk.unit.begin(disk.lane, cdb(COMPARE, F=0, L=6, N=1), 0)

    assert (plan.first, plan.count, plan.writes, plan.blocking, plan.exact) == (6, 1, True, True, 13)


def test_compare_and_write_on_a_block_never_written_compares_zeros():
    assert bench()(cdb(COMPARE, F=0, L=6, N=1), bytes(1024)).key is None


def test_compare_and_write_of_more_than_announced_is_refused_at_its_count():
    ended = bench()(cdb(COMPARE, F=0, L=6, N=limits.COMPARE_AND_WRITE_BLOCKS + 1), bytes(2048))

    assert ended.key == IFC
    assert ended.check.field == (13, 7)


def test_no_blocks_with_data_are_256_blocks_that_did_not_fit_their_field():
    ended = bench()(cdb(COMPARE, F=0, L=6, N=0), bytes(512 * 512))
    assert ended.key == IFC
    assert ended.check.field == (13, 7)


@pytest.mark.parametrize("size", [0, 512, 1023, 1025])
def test_compare_and_write_wants_exactly_both_halves(size):
    """Half of the data must not be written as if it were all."""
    disk = bench()
    assert disk(cdb(COMPARE, F=0, L=6, N=1), bytes(size)).key == IFC
    assert disk.medium.writes == 0


def test_an_atomic_write_is_one_write():
    """SBC-4 §5.48."""
    disk = bench()
    assert disk(cdb(ATOMIC, F=0x08, L=3, B=0, N=256), b"w" * (256 * 512)).key is None
    assert disk.medium.writes == 1
    assert disk.medium.flushes == 1
    assert disk.medium.read(3, 256) == b"w" * (256 * 512)


def test_an_atomic_write_may_be_as_long_as_announced():
    most = limits.max_atomic(UnitConfig(uuid=UUID))
    disk = bench(blocks=most + 1)
    assert disk.unit.begin(disk.lane, cdb(ATOMIC, F=0, L=0, B=0, N=most), 0).data_out == most * 512

    ended = disk(cdb(ATOMIC, F=0, L=0, B=0, N=most + 1))
    assert ended.key == IFC
    assert ended.check.field == (12, 7)
    assert disk(cdb(ATOMIC, F=0, L=1, B=0, N=most + 1)).key == (Key.ILLEGAL_REQUEST, 0x21, 0x00)


def test_an_atomic_boundary_is_refused_as_none_is_announced():
    assert bench()(cdb(ATOMIC, F=0, L=0, B=1, N=1), bytes(512)).key == IFC


def test_an_atomic_write_of_less_data_than_it_says_is_refused():
    disk = bench()
    assert disk(cdb(ATOMIC, F=0, L=0, B=0, N=2), bytes(512)).key == IFC
    assert disk.medium.writes == 0
