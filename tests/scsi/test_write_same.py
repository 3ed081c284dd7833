"""WRITE SAME."""

import pytest

from scsipub.scsi.sense import Key
from tests.support.scsi import bench, cdb

SAME = {10: "41 F:1 L:4 00 N:2 00", 16: "93 F:1 L:8 N:4 00 00"}
UNMAP, NDOB, ANCHOR = 0x08, 0x01, 0x10
IFC = (Key.ILLEGAL_REQUEST, 0x24, 0x00)


@pytest.mark.parametrize("block_size", [512, 4096])
@pytest.mark.parametrize("n", SAME)
def test_one_block_is_written_many_times(n, block_size):
    """SBC-3 §5.43."""
    disk = bench(block_size=block_size)
    assert disk(cdb(SAME[n], F=0, L=3, N=5), b"s" * block_size).key is None
    assert disk.medium.read(2, 7) == bytes(block_size) + b"s" * block_size * 5 + bytes(block_size)


@pytest.mark.parametrize("n", SAME)
def test_no_blocks_means_to_the_end(n):
    """SBC-3 §6.6.4: WSNZ=0."""
    disk = bench()
    assert disk(cdb(SAME[n], F=0, L=1000, N=0), b"s" * 512).key is None
    assert disk.medium.read(999, 25) == bytes(512) + b"s" * 512 * 24


@pytest.mark.parametrize("n", SAME)
def test_no_blocks_from_the_end_write_nothing(n):
    disk = bench()
    assert disk(cdb(SAME[n], F=0, L=1024, N=0), b"s" * 512).key is None


@pytest.mark.parametrize("n", SAME)
def test_more_than_announced_is_refused_also_when_it_means_to_the_end(n):
    disk = bench(blocks=200, max_write_same_bytes=100 * 512)
    assert disk(cdb(SAME[n], F=0, L=0, N=100), bytes(512)).key is None
    assert disk(cdb(SAME[n], F=0, L=0, N=101), bytes(512)).key == IFC
    assert disk(cdb(SAME[n], F=0, L=100, N=0), bytes(512)).key is None
    assert disk(cdb(SAME[n], F=0, L=99, N=0), bytes(512)).key == IFC


@pytest.mark.parametrize("n", SAME)
def test_unmap_with_zeros_gives_the_blocks_back(n):
    disk = bench()
    disk.medium.write_same(0, 10, b"x" * 512)
    assert disk(cdb(SAME[n], F=UNMAP, L=2, N=3), bytes(512)).key is None
    assert list(disk.medium.mapped_runs(0, 10)) == [(True, 0, 2), (False, 2, 3), (True, 5, 5)]
    assert disk.medium.read(2, 3) == bytes(3 * 512)


@pytest.mark.parametrize("n", SAME)
def test_unmap_with_a_pattern_writes_the_pattern(n):
    """SBC-3 §4.7.3.4: what later reads must return cannot come from an unmapped block that reads zero."""
    disk = bench()
    assert disk(cdb(SAME[n], F=UNMAP, L=2, N=3), b"\xff" * 512).key is None
    assert disk.medium.read(2, 3) == b"\xff" * (3 * 512)


@pytest.mark.parametrize("n", SAME)
def test_a_unit_may_be_told_to_unmap_whatever_the_pattern(n):
    disk = bench(unmap_ignores_pattern=True)
    disk.medium.write_same(0, 10, b"x" * 512)
    assert disk(cdb(SAME[n], F=UNMAP, L=2, N=3), b"\xff" * 512).key is None
    assert disk.medium.read(2, 3) == bytes(3 * 512)


def test_no_data_out_buffer_means_zeros():
    """SBC-4: NDOB=1; no data is wanted, with UNMAP or without."""
    disk = bench()
    disk.medium.write_same(0, 10, b"x" * 512)
    assert disk.unit.begin(disk.lane, cdb(SAME[16], F=NDOB, L=0, N=1), 0).data_out == 0

    assert disk(cdb(SAME[16], F=NDOB, L=0, N=4)).key is None
    assert disk(cdb(SAME[16], F=NDOB | UNMAP, L=5, N=4)).key is None
    assert disk.medium.read(0, 10) == bytes(4 * 512) + b"x" * 512 + bytes(4 * 512) + b"x" * 512
    assert list(disk.medium.mapped_runs(0, 10)) == [(True, 0, 5), (False, 5, 4), (True, 9, 1)]


def test_write_same_10_has_no_ndob():
    assert bench()(cdb(SAME[10], F=NDOB, L=0, N=1), bytes(512)).key == IFC


@pytest.mark.parametrize("n", SAME)
@pytest.mark.parametrize("flags", [ANCHOR, ANCHOR | UNMAP, 0x04, 0x02])
def test_anchors_and_obsolete_bits_are_refused(n, flags):
    """ANC_SUP=0; PBDATA and LBDATA are obsolete."""
    assert bench()(cdb(SAME[n], F=flags, L=0, N=1), bytes(512)).key == IFC


@pytest.mark.parametrize("n", SAME)
def test_a_fully_provisioned_unit_does_not_unmap(n):
    disk = bench(thin=False)
    assert disk(cdb(SAME[n], F=UNMAP, L=0, N=1), bytes(512)).key == IFC
    assert disk(cdb(SAME[n], F=0, L=0, N=1), bytes(512)).key is None


@pytest.mark.parametrize("n", SAME)
@pytest.mark.parametrize("size", [0, 256, 1024])
def test_the_data_is_exactly_one_block(n, size):
    disk = bench()
    assert disk(cdb(SAME[n], F=0, L=0, N=2), bytes(size)).key == IFC
    assert list(disk.medium.mapped_runs(0, 4)) == [(False, 0, 4)]
