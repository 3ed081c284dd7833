"""VERIFY and WRITE AND VERIFY."""

import errno

import pytest

from scsipub.scsi.sense import Key
from tests.support.scsi import bench, cdb

VERIFY = {10: "2f F:1 L:4 00 N:2 00", 12: "af F:1 L:4 N:4 00 00", 16: "8f F:1 L:8 N:4 00 00"}
WRITE = {10: "2e F:1 L:4 00 N:2 00", 12: "ae F:1 L:4 N:4 00 00", 16: "8e F:1 L:8 N:4 00 00"}
MISCOMPARE = (Key.MISCOMPARE, 0x1D, 0x00)
SAME, COMPARE, EACH = 0x00, 0x02, 0x06


@pytest.mark.parametrize("n", VERIFY)
def test_equal_blocks_are_good_and_a_difference_in_any_byte_is_a_miscompare(n):
    """SBC-3 §5.29: BYTCHK=01b, 0Eh/1Dh/00h."""
    disk = bench()
    payload = bytes(range(256)) * 6
    disk.medium.write(5, payload)
    assert disk(cdb(VERIFY[n], F=COMPARE, L=5, N=3), payload).key is None

    for at in (0, 511, 512, 1535):
        wrong = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        assert disk(cdb(VERIFY[n], F=COMPARE, L=5, N=3), wrong).key == MISCOMPARE
        assert disk(cdb(VERIFY[n], F=COMPARE, L=5, N=3), wrong, piece=512).key == MISCOMPARE


@pytest.mark.parametrize("n", VERIFY)
def test_without_byte_check_no_data_is_wanted_and_nothing_compared(n):
    disk = bench()
    plan = disk.unit.begin(disk.lane, cdb(VERIFY[n], F=SAME, L=0, N=4).ljust(16, b"\0"), 0)

    assert (plan.data_out, plan.writes) == (0, False)
    assert disk(cdb(VERIFY[n], F=SAME, L=0, N=4)).key is None


def test_without_byte_check_the_blocks_are_read_all_the_same():
    """A verification that cannot fail would be none."""
    disk = bench()
    disk.medium.next_errors.append(errno.EIO)

    assert disk(cdb(VERIFY[10], F=SAME, L=0, N=4)).key == (Key.MEDIUM_ERROR, 0x11, 0x00)


def test_byte_check_11b_compares_every_block_with_one():
    disk = bench()
    disk.medium.write_same(3, 4, b"s" * 512)
    assert disk(cdb(VERIFY[16], F=EACH, L=3, N=4), b"s" * 512).key is None
    assert disk(cdb(VERIFY[16], F=EACH, L=3, N=5), b"s" * 512).key == MISCOMPARE


@pytest.mark.parametrize("check", [0x04])
def test_byte_check_10b_is_reserved(check):
    ended = bench()(cdb(VERIFY[10], F=check, L=0, N=1), bytes(512))

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (1, 2)


@pytest.mark.parametrize("n", WRITE)
@pytest.mark.parametrize("flags", [0x00, 0x02, 0x10, 0x12])
def test_write_and_verify_writes_and_flushes(n, flags):
    """SBC-3 §5.36: with and without BYTCHK, DPO accepted."""
    disk = bench()
    assert disk(cdb(WRITE[n], F=flags, L=9, N=2), b"w" * 1024, piece=512).key is None
    assert disk.medium.read(9, 2) == b"w" * 1024
    assert disk.medium.flushes == 1


@pytest.mark.parametrize("flags", [0x04, 0x06])
def test_write_and_verify_has_two_kinds_of_byte_check(flags):
    assert bench()(cdb(WRITE[10], F=flags, L=0, N=1), bytes(512)).key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def test_a_medium_that_forgets_is_found_out():
    disk = bench()
    disk.medium.write = lambda first, data, fua=False: None

    assert disk(cdb(WRITE[10], F=0x02, L=0, N=1), b"x" * 512).key == MISCOMPARE


def test_write_and_verify_of_half_a_block_changes_half_a_block():
    disk = bench()
    disk.medium.write(0, b"o" * 512)
    assert disk(cdb(WRITE[10], F=0x02, L=0, N=1), b"n" * 200).key is None
    assert disk.medium.read(0, 1) == b"n" * 200 + b"o" * 312
