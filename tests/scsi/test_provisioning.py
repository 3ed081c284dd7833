"""READ CAPACITY, GET LBA STATUS, UNMAP."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import CheckCondition
from scsipub.scsi import limits
from scsipub.scsi.provisioning import parse_unmap_untrusted
from scsipub.scsi.sense import Key
from tests.support.scsi import bench, cdb

OOB = (Key.ILLEGAL_REQUEST, 0x21, 0x00)
CAPACITY_16 = "9e 10 L:8 A:4 P:1 00"
STATUS = "9e 12 L:8 A:4 00 00"


def unmap_list(*extents):
    body = b"".join(struct.pack(">QI4x", *extent) for extent in extents)
    return struct.pack(">HH4x", 6 + len(body), len(body)) + body


def unmap(disk, data, length=None):
    return disk(struct.pack(">B6xHx", 0x42, len(data) if length is None else length), data)


def test_capacity_is_the_last_block_and_the_block_size():
    """SBC-3 §5.15, §5.16."""
    assert bench(blocks=7)("25 00 00 00 00 00 00 00 00 00").data == struct.pack(">II", 6, 512)
    data = bench(blocks=7, block_size=4096, physical_exponent=0)(cdb(CAPACITY_16, L=0, A=32, P=0)).data
    assert data[:12] == struct.pack(">QI", 6, 4096)
    assert len(data) == 32


def test_capacity_10_says_all_ones_when_the_unit_is_larger():
    disk = bench()
    disk.unit.blocks = 1 << 32
    assert disk("25 00 00 00 00 00 00 00 00 00").data[:4] == b"\xff\xff\xff\xff"
    disk.unit.blocks += 1
    assert disk("25 00 00 00 00 00 00 00 00 00").data[:4] == b"\xff\xff\xff\xff"
    assert disk(cdb(CAPACITY_16, L=0, A=8, P=0)).data == struct.pack(">Q", 1 << 32)


def test_capacity_16_tells_provisioning_and_physical_blocks():
    thin = bench(physical_exponent=3)(cdb(CAPACITY_16, L=0, A=32, P=0)).data
    thick = bench(thin=False, physical_exponent=0)(cdb(CAPACITY_16, L=0, A=32, P=0)).data

    assert (thin[12], thin[13], thin[14]) == (0, 3, 0xC0)
    assert (thick[12], thick[13], thick[14]) == (0, 0, 0)


@pytest.mark.parametrize(("size", "exponent"), [(512, 3), (4096, 0)])
def test_a_physical_block_is_a_page_of_the_host_unless_told_otherwise(size, exponent):
    assert bench(block_size=size)(cdb(CAPACITY_16, L=0, A=32, P=0)).data[13] == exponent


def test_an_address_without_pmi_is_refused():
    disk = bench()
    assert disk("25 00 00 00 00 01 00 00 00 00").check.field == (2, 7)
    assert disk("25 00 00 00 00 01 00 00 01 00").key is None
    assert disk(cdb(CAPACITY_16, L=1, A=32, P=0)).check.field == (2, 7)
    assert disk(cdb(CAPACITY_16, L=1, A=32, P=1)).key is None


def extents(data):
    assert struct.unpack(">I", data[:4])[0] == len(data) - 4
    return [struct.unpack_from(">QIB", data, at) for at in range(8, len(data), 16)]


def test_lba_status_starts_at_the_address_and_is_exact_to_a_block():
    """SBC-3 §5.5: 0 is mapped, 1 deallocated."""
    disk = bench(blocks=20)
    disk.medium.write(3, bytes(512))
    disk.medium.write(4, bytes(1024))

    assert extents(disk(cdb(STATUS, L=1, A=256)).data) == [(1, 2, 1), (3, 3, 0), (6, 14, 1)]
    assert extents(disk(cdb(STATUS, L=4, A=256)).data) == [(4, 2, 0), (6, 14, 1)]
    assert extents(disk(cdb(STATUS, L=19, A=256)).data) == [(19, 1, 1)]


@pytest.mark.parametrize("allocation", [24, 25, 39])
def test_lba_status_gives_as_many_descriptors_as_fit(allocation):
    disk = bench(blocks=20)
    disk.medium.write(3, bytes(512))

    assert extents(disk(cdb(STATUS, L=0, A=allocation)).data[:24]) == [(0, 3, 1)]


def test_lba_status_joins_runs_of_one_kind():
    disk = bench(blocks=20)
    disk.medium.mapped_runs = lambda first, count: iter([(True, 0, 5), (True, 5, 5), (False, 10, 10)])

    assert extents(disk(cdb(STATUS, L=0, A=256)).data) == [(0, 10, 0), (10, 10, 1)]


@pytest.mark.parametrize("lba", [20, 22, 1 << 63, (1 << 64) - 1])
def test_lba_status_outside_the_unit_is_refused(lba):
    assert bench(blocks=20)(cdb(STATUS, L=lba, A=24)).key == OOB


def test_unmap_gives_blocks_back_and_they_read_zero():
    """SBC-3 §5.28 with LBPRZ=1."""
    disk = bench()
    disk.medium.write_same(0, 40, b"x" * 512)
    assert unmap(disk, unmap_list((1, 2), (7, 1), (30, 0))).key is None
    assert disk.medium.read(0, 10) == b"".join(
        bytes(512) if n in (1, 2, 7) else b"x" * 512 for n in range(10)
    )


def test_unmap_of_nothing_is_good():
    disk = bench()
    assert unmap(disk, b"").key is None
    assert unmap(disk, unmap_list()).key is None
    assert unmap(disk, unmap_list((1024, 0))).key is None


@pytest.mark.parametrize(
    "extent", [(1023, 2), (1024, 1), (1025, 0), ((1 << 64) - 1, 1), ((1 << 64) - 1, 0xFFFFFFFF)]
)
def test_nothing_is_unmapped_when_one_descriptor_is_out_of_range(extent):
    disk = bench()
    disk.medium.write_same(0, 4, b"x" * 512)
    assert unmap(disk, unmap_list((0, 4), extent)).key == OOB
    assert disk.medium.read(0, 4) == b"x" * 2048


def test_as_many_descriptors_as_announced_and_no_more():
    disk = bench()
    assert unmap(disk, unmap_list(*[(n, 1) for n in range(limits.UNMAP_DESCRIPTORS)])).key is None
    ended = unmap(disk, unmap_list(*[(n, 1) for n in range(limits.UNMAP_DESCRIPTORS + 1)]))
    assert ended.key == (Key.ILLEGAL_REQUEST, 0x26, 0x00)
    assert ended.check.field == (2, 7)


def test_as_many_blocks_as_announced_and_no_more():
    disk = bench(blocks=300, max_unmap_bytes=100 * 512)
    assert unmap(disk, unmap_list((0, 60), (60, 40))).key is None
    ended = unmap(disk, unmap_list((0, 60), (60, 41)))
    assert ended.key == (Key.ILLEGAL_REQUEST, 0x26, 0x00)
    assert ended.check.field == (8 + 16 + 8, 7)


@pytest.mark.parametrize("cut", [1, 7, 8, 23, 39])
def test_a_cut_parameter_list_is_refused(cut):
    """SBC-3 §5.28.2: PARAMETER LIST LENGTH ERROR."""
    disk = bench()
    whole = unmap_list((0, 1), (2, 1))
    assert unmap(disk, whole[:cut]).key == (Key.ILLEGAL_REQUEST, 0x1A, 0x00)
    assert unmap(disk, whole[:cut], length=len(whole)).key == (Key.ILLEGAL_REQUEST, 0x1A, 0x00)


def test_anchor_is_refused():
    ended = bench()("42 01 00 00 00 00 00 00 18 00", unmap_list((0, 1)))
    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (1, 0)


def test_a_fully_provisioned_unit_does_not_know_unmap():
    """LBPU=0."""
    assert unmap(bench(thin=False), unmap_list((0, 1))).key == (Key.ILLEGAL_REQUEST, 0x20, 0x00)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_noise_is_extents_in_range_or_a_check_condition(noise):
    try:
        found = parse_unmap_untrusted(noise, 1000, 500)
    except CheckCondition:
        return
    assert all(count and first + count <= 1000 for first, count in found)
    assert sum(count for _, count in found) <= 500
