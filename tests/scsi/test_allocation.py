"""Allocation lengths: whatever the initiator has room for is the beginning of the whole answer."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.scsi import bench

# CDB without its allocation length, where that is and how many bytes it has.
ANSWERS = {
    "INQUIRY": ("12 00 00 00 00 00", 3, 2),
    **{f"VPD {page:02X}": (f"12 01 {page:02x} 00 00 00", 3, 2) for page in (0, 0x80, 0x83, 0x86, 0x87, 0x8F)},
    **{f"VPD {page:02X}": (f"12 01 {page:02x} 00 00 00", 3, 2) for page in (0xB0, 0xB1, 0xB2)},
    "REQUEST SENSE": ("03 00 00 00 00 00", 4, 1),
    "REQUEST SENSE, descriptors": ("03 01 00 00 00 00", 4, 1),
    "MODE SENSE(6)": ("1a 00 3f 00 00 00", 4, 1),
    "MODE SENSE(10)": ("5a 10 3f ff 00 00 00 00 00 00", 7, 2),
    "READ CAPACITY(16)": ("9e 10 00 00 00 00 00 00 00 00 00 00 00 00 00 00", 10, 4),
    "GET LBA STATUS": ("9e 12 00 00 00 00 00 00 00 00 00 00 00 00 00 00", 10, 4),
    "REPORT LUNS": ("a0 00 02 00 00 00 00 00 00 00 00 00", 6, 4),
    "REPORT TARGET PORT GROUPS": ("a3 0a 00 00 00 00 00 00 00 00 00 00", 6, 4),
    "REPORT TARGET PORT GROUPS, extended": ("a3 2a 00 00 00 00 00 00 00 00 00 00", 6, 4),
    "all operation codes": ("a3 0c 00 00 00 00 00 00 00 00 00 00", 6, 4),
    "all operation codes, timeouts": ("a3 0c 80 00 00 00 00 00 00 00 00 00", 6, 4),
    "one operation code": ("a3 0c 81 28 00 00 00 00 00 00 00 00", 6, 4),
    "task management": ("a3 0d 80 00 00 00 00 00 00 00 00 00", 6, 4),
    "READ DEFECT DATA(10)": ("37 00 18 00 00 00 00 00 00 00", 7, 2),
    "READ DEFECT DATA(12)": ("b7 18 00 00 00 00 00 00 00 00 00 00", 6, 4),
    "copy operating parameters": ("84 03 00 00 00 00 00 00 00 00 00 00 00 00 00 00", 10, 4),
}


def ask(disk, name, allocation):
    text, at, size = ANSWERS[name]
    raw = bytearray.fromhex(text)
    raw[at : at + size] = allocation.to_bytes(size, "big")
    plan = disk.unit.begin(disk.lane, bytes(raw).ljust(16, b"\0"), 0.0)
    answer = disk.carry_out(plan, b"")
    assert len(answer) <= plan.data_in <= allocation
    return answer


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_short_allocation_length_gives_the_beginning_of_the_answer(name, data):
    """SPC-4 §4.2.5.6: truncation is no error, and lengths inside the answer are not shortened by it."""
    disk = bench()
    disk.medium.write(3, bytes(1024))
    size = ANSWERS[name][2]
    if name == "GET LBA STATUS":
        whole = ask(disk, name, 8 + 16 * 3)
    else:
        whole = ask(disk, name, min(65535, (1 << 8 * size) - 1))
    room = data.draw(st.integers(0, len(whole) + 8).filter(lambda n: n < 1 << 8 * size))

    cut = ask(disk, name, room)
    if name == "GET LBA STATUS":  # the number of descriptors follows the room there is
        assert len(cut) <= room
        assert cut[8:] == whole[8 : len(cut)] if len(cut) > 8 else True
    else:
        assert cut == whole[:room]


@pytest.mark.parametrize("name", [name for name, (_, _, size) in ANSWERS.items() if size == 4])
def test_the_largest_allocation_length_costs_nothing(name):
    """The bound of the answer is its own size, not what a stranger has room for."""
    disk = bench()
    text, at, size = ANSWERS[name]
    raw = bytearray.fromhex(text)
    raw[at : at + size] = b"\xff" * size
    answer = disk.carry_out(disk.unit.begin(disk.lane, bytes(raw).ljust(16, b"\0"), 0.0), b"")

    assert len(answer) < 4096


def test_read_capacity_10_has_no_allocation_length_and_eight_bytes():
    assert bench()("25 00 00 00 00 00 00 00 00 00").data == struct.pack(">II", 1023, 512)
