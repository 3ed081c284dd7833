"""What a hostile initiator tries with commands, one test per attempt.

The rules themselves are tested with their modules; these are the attempts as they would come."""

import itertools
import struct

import pytest

from scsipub.errors import CheckCondition
from scsipub.scsi import absent
from scsipub.scsi.sense import Key
from tests.support.scsi import bench, cdb

OOB = (Key.ILLEGAL_REQUEST, 0x21, 0x00)
IFC = (Key.ILLEGAL_REQUEST, 0x24, 0x00)
IFP = (Key.ILLEGAL_REQUEST, 0x26, 0x00)
ALL_ONES = (1 << 64) - 1


@pytest.mark.parametrize("opcode", ["88", "8a"])
def test_addresses_that_overflow_64_bits(opcode):
    """LBA 2^64-1 with 2^32-1 blocks, one block too many, no blocks at all."""
    disk = bench(blocks=100)
    text = opcode + " 00 L:8 N:4 00 00"
    assert disk(cdb(text, L=ALL_ONES, N=0xFFFFFFFF)).key == OOB
    assert disk(cdb(text, L=99, N=2)).key == OOB
    assert disk(cdb(text, L=ALL_ONES, N=0)).key == OOB
    assert disk(cdb(text, L=99, N=0)).key is None


@pytest.mark.parametrize("opcode", ["88", "8a", "8e", "8b"])
def test_a_transfer_that_would_need_gigabytes_plans_nothing(opcode):
    disk = bench(blocks=1 << 32)
    assert disk(cdb(opcode + " 00 L:8 N:4 00 00", L=0, N=0xFFFFFFFF)).key == IFC


def test_write_same_in_every_odd_form():
    """NDOB, no data, two blocks of data, too long, an anchor, UNMAP with a pattern."""
    disk = bench(blocks=1 << 20)
    text = "93 F:1 L:8 N:4 00 00"
    assert disk(cdb(text, F=0x01, L=0, N=1)).key is None
    assert disk(cdb(text, F=0, L=0, N=1)).key == IFC
    assert disk(cdb(text, F=0, L=0, N=1), bytes(1024)).key == IFC
    assert disk(cdb(text, F=0, L=0, N=(64 << 20) // 512 + 1), bytes(512)).key == IFC
    assert disk(cdb(text, F=0, L=0, N=0), bytes(512)).key == IFC  # to the end, and that is too long
    assert disk(cdb(text, F=0x18, L=0, N=1), bytes(512)).key == IFC
    assert disk(cdb(text, F=0x08, L=0, N=1), b"p" * 512).key is None
    assert disk.medium.read(0, 1) == b"p" * 512


@pytest.mark.parametrize("length", [0, 0xFFFF])
def test_transport_ids_with_absurd_lengths(length):
    disk = bench()
    register = struct.pack(">QQ4xB3xI", 0, 5, 0x08, length) + bytes(24)
    move = struct.pack(">QQ2xHI", 5, 6, 1, 24) + struct.pack(">BxH", 0x05, length) + bytes(20)
    assert disk(cdb("5f 00 00 00 00 N:4 00", N=len(register)), register).key == IFP
    disk(cdb("5f 06 00 00 00 N:4 00", N=24), struct.pack(">QQ8x", 0, 5))
    disk(cdb("5f 01 01 00 00 N:4 00", N=24), struct.pack(">QQ8x", 5, 0))
    before = disk.unit.reservations
    assert disk(cdb("5f 07 00 00 00 N:4 00", N=len(move)), move).key == IFP
    assert disk.unit.reservations is before


def test_every_question_about_every_operation_code():
    disk = bench()
    for option, opcode, action in itertools.product(range(8), range(256), (0, 1, 0xFFFF)):
        ended = disk(cdb("a3 0c O:1 C:1 A:2 ff ff ff ff 00 00", O=option, C=opcode, A=action))
        assert ended.key in (None, IFC)
        assert len(ended.data) < 4096


@pytest.mark.parametrize("opcode", [0x3C, 0x3B, 0x1D, 0x1C, 0x4C, 0x04])
def test_buffers_diagnostics_logs_and_formatting_do_not_exist(opcode):
    """READ and WRITE BUFFER, SEND and RECEIVE DIAGNOSTIC, LOG SELECT, FORMAT UNIT."""
    assert bench()(bytes([opcode]) + b"\xff" * 15).key == (Key.ILLEGAL_REQUEST, 0x20, 0x00)


def test_the_list_of_luns_is_the_sessions_own_whatever_is_selected():
    disk = bench()
    disk.lane.luns = lambda: [0, 3]
    for select, allocation in itertools.product((0, 1, 2, 0x10, 0x11, 0x12), (0, 4, 8, 15, 16, 4096)):
        ended = disk(cdb("a0 00 S:1 00 00 00 N:4 00 00", S=select, N=allocation))
        assert ended.key in (None, IFC)
        listed = [ended.data[at : at + 2] for at in range(8, len(ended.data), 8)]
        assert set(listed) <= {b"\0\0", b"\0\3", b"\xc1\1", b"\0", b"\xc1"}


def test_the_cache_cannot_be_switched_off_but_two_bits_can_be_switched():
    """WCE refused; SWP and D_SENSE change the unit for everybody and are never saved."""
    disk = bench()
    other = disk.another()
    caching = bytes(4) + bytes([0x08, 18]) + bytes(18)
    both = bytes(4) + bytes([0x0A, 10, 0x04, 0x10, 0x08]) + bytes(7)
    assert disk(bytes([0x15, 0x10, 0, 0, len(caching), 0]), caching).key == IFP
    assert disk(bytes([0x15, 0x11, 0, 0, len(both), 0]), both).key == IFC
    assert disk(bytes([0x15, 0x10, 0, 0, len(both), 0]), both).key is None
    assert disk.unit.write_protected
    assert not other.may_write


@pytest.mark.parametrize("field", [1 << 48, 0x4001 << 48, (1 << 64) - 1, 0x0103 << 48])
def test_a_lun_that_is_somebody_elses_is_nobodys(field):
    """Only what the session's own map holds exists; the answer does not tell the two apart."""
    lun = absent.lun_untrusted(field)
    assert lun.number in (None, 1)
    with pytest.raises(CheckCondition) as refused:
        absent.begin(bytes(16), [0])
    assert (refused.value.asc, refused.value.ascq) == (0x25, 0x00)


def test_the_well_known_unit_reads_and_writes_nothing():
    assert absent.lun_untrusted(0xC101 << 48).well_known
    for opcode in (0x08, 0x28, 0x2A, 0x88, 0x8A, 0x42, 0x83, 0x5F):
        with pytest.raises(CheckCondition):
            absent.begin_well_known(bytes([opcode]) + bytes(15), [0])
