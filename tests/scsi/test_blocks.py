"""READ, WRITE, SYNCHRONIZE CACHE, PRE-FETCH."""

import errno
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.scsi.sense import Key
from tests.support.scsi import bench, cdb

OOB = (Key.ILLEGAL_REQUEST, 0x21, 0x00)
IFC = (Key.ILLEGAL_REQUEST, 0x24, 0x00)

READS = {
    6: "08 L:3 N:1 00",
    10: "28 F:1 L:4 00 N:2 00",
    12: "a8 F:1 L:4 N:4 00 00",
    16: "88 F:1 L:8 N:4 00 00",
}
WRITES = {
    6: "0a L:3 N:1 00",
    10: "2a F:1 L:4 00 N:2 00",
    12: "aa F:1 L:4 N:4 00 00",
    16: "8a F:1 L:8 N:4 00 00",
}
RANGED = {
    "SYNCHRONIZE CACHE(10)": "35 00 L:4 00 N:2 00",
    "SYNCHRONIZE CACHE(16)": "91 00 L:8 N:4 00 00",
    "PRE-FETCH(10)": "34 00 L:4 00 N:2 00",
    "PRE-FETCH(16)": "90 00 L:8 N:4 00 00",
    **{f"READ({n})": text for n, text in READS.items() if n > 6},
    **{f"WRITE({n})": text for n, text in WRITES.items() if n > 6},
    "VERIFY(10)": "2f 00 L:4 00 N:2 00",
    "VERIFY(12)": "af 00 L:4 N:4 00 00",
    "VERIFY(16)": "8f 00 L:8 N:4 00 00",
    "WRITE AND VERIFY(10)": "2e 00 L:4 00 N:2 00",
    "WRITE AND VERIFY(12)": "ae 00 L:4 N:4 00 00",
    "WRITE AND VERIFY(16)": "8e 00 L:8 N:4 00 00",
    "ORWRITE": "8b 00 L:8 N:4 00 00",
    "COMPARE AND WRITE": "89 00 L:8 00 00 00 N:1 00 00",
    "WRITE ATOMIC": "9c 00 L:8 00 00 N:2 00 00",
    "WRITE SAME(10)": "41 00 L:4 00 N:2 00",
    "WRITE SAME(16)": "93 00 L:8 N:4 00 00",
}


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("block_size", [512, 4096])
@pytest.mark.parametrize("n", READS)
@pytest.mark.parametrize("count", [1, 2, 255])
def test_what_was_written_is_read(n, count, block_size):
    """SBC-3 §5.10-5.13, §5.32-5.35: all sizes, at the start and to the last block."""
    disk = bench(block_size=block_size)
    for lba in (0, 1024 - count):
        payload = noise(count * block_size, lba + 1)
        assert disk(cdb(WRITES[n], L=lba, N=count, F=0), payload).key is None
        assert disk(cdb(READS[n], L=lba, N=count, F=0)).data == payload


def test_read_6_of_zero_blocks_reads_256():
    """SBC-3 §5.10: TRANSFER LENGTH 0 of the 6-byte commands."""
    assert len(bench()("08 00 00 00 00 00").data) == 256 * 512
    assert bench(blocks=255)("08 00 00 00 00 00").key == OOB


@pytest.mark.parametrize("name", RANGED)
def test_a_range_that_leaves_the_unit_is_refused_and_never_wraps(name):
    """SBC-3 §4.4.3: LBA OUT OF RANGE; also where lba + count, or bytes, would overflow 64 bits."""
    disk = bench(blocks=1024)
    wide = "L:8" in RANGED[name]
    for lba, count in ((1024, 1), (1023, 2), (1 << 31, 1), (0xFFFFFFFF, 1), (0xFFFFFFFF, 0), (1026, 0)):
        assert disk(cdb(RANGED[name], L=lba, N=count, F=0), bytes(512)).key == OOB
    if wide:
        for lba in (1 << 63, (1 << 64) - 1, 1 << (64 - 9), 1 << (63 - 9)):
            for count in (0, 1, 255):
                assert disk(cdb(RANGED[name], L=lba, N=count, F=0), bytes(512)).key == OOB


@pytest.mark.parametrize("name", RANGED)
def test_zero_blocks_inside_the_unit_are_good_and_touch_nothing(name):
    """WRITE SAME means to the end instead; every other command has nothing to do."""
    disk = bench(blocks=1024)
    ended = disk(cdb(RANGED[name], L=5, N=0, F=0), bytes(512) if "SAME" in name else b"")

    assert ended.key is None
    assert ended.data == b""
    assert disk.medium.writes == 0


@given(
    n=st.sampled_from(sorted(READS)),
    blocks=st.integers(1, 300),
    lba=st.integers(0, 400) | st.integers(0, (1 << 64) - 1),
    count=st.integers(0, 300),
)
@settings(max_examples=200)
def test_a_read_is_planned_exactly_when_its_range_is_inside(n, blocks, lba, count):
    disk = bench(blocks=blocks)
    lba &= {6: 0x1FFFFF, 10: 0xFFFFFFFF, 12: 0xFFFFFFFF, 16: (1 << 64) - 1}[n]
    count = min(count, 255) if n == 6 else count
    ended = disk(cdb(READS[n], L=lba, N=count, F=0))
    blocks_asked = (count or 256) if n == 6 else count

    if lba + blocks_asked <= blocks:
        assert len(ended.data) == blocks_asked * 512
    else:
        assert ended.key == OOB


@pytest.mark.parametrize("name", ["READ(16)", "WRITE(16)", "VERIFY(16)", "ORWRITE", "WRITE AND VERIFY(16)"])
def test_a_transfer_longer_than_announced_is_refused_after_the_range(name):
    """SBC-3 §6.6.4: MAXIMUM TRANSFER LENGTH; out of range is said first."""
    disk = bench(blocks=200, max_transfer_bytes=100 * 512)
    assert disk.unit.begin(disk.lane, cdb(RANGED[name], L=0, N=100, F=0), 0).count == 100

    ended = disk(cdb(RANGED[name], L=0, N=101, F=0))
    assert ended.key == IFC
    assert ended.check.field == (10, 7)
    assert disk(cdb(RANGED[name], L=100, N=101, F=0)).key == OOB


def test_fua_flushes_before_the_status_and_dpo_is_a_hint():
    disk = bench()
    disk(cdb(WRITES[10], L=0, N=1, F=0x10), bytes(512))
    assert disk.medium.flushes == 0

    disk(cdb(WRITES[16], L=0, N=1, F=0x18), bytes(512))
    assert disk.medium.flushes == 1
    assert disk.unit.begin(disk.lane, cdb(READS[12], L=0, N=1, F=0x08).ljust(16, b"\0"), 0).fua


@pytest.mark.parametrize("name", [name for name in RANGED if "SYNC" not in name and "FETCH" not in name])
@pytest.mark.parametrize("protect", range(1, 8))
def test_protection_information_is_refused_where_there_is_none(name, protect):
    """SBC-3 §4.22: PROTECT=0, so RDPROTECT, WRPROTECT and VRPROTECT other than 0 are invalid fields."""
    raw = bytearray(cdb(RANGED[name], L=0, N=1, F=0))
    raw[1] |= protect << 5

    assert bench()(bytes(raw), bytes(512)).key == IFC


@given(st.integers(1, 8), st.integers(1, 3000), st.integers(1, 8 * 512))
@settings(max_examples=100)
def test_how_write_data_is_cut_into_pieces_does_not_matter(count, piece, given_bytes):
    """Only the bytes that came are changed, down to the last one; the rest of the block stays."""
    disk = bench(blocks=16)
    old = noise(16 * 512, 7)
    disk.medium.write(0, old)
    data = noise(min(given_bytes, count * 512), 8)
    disk(cdb(WRITES[10], L=4, N=count, F=0), data, piece=piece)

    assert disk.medium.read(0, 16) == old[: 4 * 512] + data + old[4 * 512 + len(data) :]


def test_synchronize_cache_flushes_even_with_immed_and_no_range():
    """SBC-3 §5.25: an early answer is allowed, not asked for."""
    disk = bench()
    assert disk("35 06 00 00 00 00 00 00 00 00").key is None
    assert disk("91 02 00 00 00 00 00 00 00 00 00 00 00 00 00 00").key is None
    assert disk.medium.flushes == 2


def test_a_failing_flush_is_an_error_of_writing():
    """SBC-3 §5.25: what could not be saved had been written."""
    disk = bench()
    disk.medium.next_errors.append(errno.EIO)

    assert disk("35 00 00 00 00 00 00 00 00 00").key == (3, 0x0C, 0)


def test_prefetch_is_good_with_immed_and_a_group_number():
    """GOOD rather than CONDITION MET: the answer that every client takes."""
    assert bench()("34 02 00 00 00 00 03 00 01 00").key is None
    assert bench()("90 02 00 00 00 00 00 00 00 00 00 00 00 01 03 00").key is None


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, (7, 0x27, 0x07)), (errno.EIO, (3, 0x0C, 0)), (errno.EROFS, (4, 0x44, 0))],
)
def test_a_failing_write_says_why(number, expected):
    disk = bench()
    disk.medium.next_errors.append(number)

    assert disk(cdb(WRITES[10], L=0, N=1, F=0), bytes(512)).key == expected


def test_a_failing_read_is_a_medium_error():
    disk = bench()
    disk.medium.next_errors.append(errno.EIO)

    assert disk(cdb(READS[10], L=0, N=1, F=0)).key == (Key.MEDIUM_ERROR, 0x11, 0x00)
