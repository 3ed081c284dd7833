"""A microcontroller as initiator: what a USB bridge with half a megabyte of memory asks for, and gets.

Source: RFC 7143 §13.12 (MaxRecvDataSegmentLength), §13.10 (InitialR2T); SBC-4 §5 (READ and WRITE of 6, 10 and
16 bytes).  docs/netboot.md points here."""

import hashlib
import struct

import pytest

from tests.support.initiator import Initiator

NAME = "iqn.2004-06.com.espressif:bridge"
SEGMENT = 4096
KEYS = {
    "HeaderDigest": None,
    "DataDigest": None,
    "ErrorRecoveryLevel": None,
    "InitialR2T": "Yes",
    "ImmediateData": "No",
    "MaxBurstLength": "16384",
    "FirstBurstLength": "4096",
    "MaxOutstandingR2T": None,
    "MaxConnections": None,
    "DataPDUInOrder": None,
    "DataSequenceInOrder": None,
    "DefaultTime2Wait": None,
    "DefaultTime2Retain": None,
    "MaxRecvDataSegmentLength": str(SEGMENT),
}
BLOCKS = 64
PATTERN = b"".join(hashlib.sha512(b"%d" % n).digest() for n in range(BLOCKS * 512 // 64))


def bridge(running, number: int) -> Initiator:
    return Initiator(running.iscsi, name=f"{NAME}-{number}").login(running.target("blank"), **KEYS).settle()


READS = {
    6: lambda first, count: struct.pack(">BBHBx", 0x08, 0, first, count),
    10: lambda first, count: struct.pack(">BxIxHx", 0x28, first, count),
    16: lambda first, count: struct.pack(">BxQIxx", 0x88, first, count),
}
WRITES = {
    6: lambda first, count: struct.pack(">BBHBx", 0x0A, 0, first, count),
    10: lambda first, count: struct.pack(">BxIxHx", 0x2A, first, count),
    16: lambda first, count: struct.pack(">BxQIxx", 0x8A, first, count),
}


@pytest.mark.parametrize("size", [6, 10, 16])
def test_reads_and_writes_of_each_size_arrive_in_pieces_the_bridge_can_hold(running, size):
    """RFC 7143 §13.12: no data segment is longer than the receiver declared."""
    with bridge(running, size) as small:
        assert small.command(WRITES[size](8, BLOCKS), write=PATTERN).status == 0

        result = small.command(READS[size](8, BLOCKS), read=len(PATTERN))

        assert bytes(result.data) == PATTERN
        assert max(len(pdu.data) for pdu in result.pdus) <= SEGMENT


def test_a_usb_host_s_questions_are_answered_within_what_it_makes_room_for(running):
    """SPC-4 §4.3.5.6: never more than the allocation length; a USB host asks for 36 bytes and for 18."""
    with bridge(running, 36) as small:
        assert small.command(bytes(6)).status == 0
        assert len(small.command(bytes([0x12, 0, 0, 0, 36, 0]), read=36).data) == 36
        assert len(small.command(bytes([0x03, 0, 0, 0, 18, 0]), read=18).data) == 18
        assert len(small.command(bytes([0x25]).ljust(10, b"\0"), read=8).data) == 8


def test_what_was_written_before_the_radio_failed_is_there_after_it_came_back(running):
    """No logout, no end of stream that anybody waited for: the same name from the same address returns."""
    small = bridge(running, 99)
    small.command(WRITES[10](0, BLOCKS), write=PATTERN)
    small.sock.close()

    with bridge(running, 99) as again:
        assert bytes(again.command(READS[10](0, BLOCKS), read=len(PATTERN)).data) == PATTERN
