"""EXTENDED COPY and RECEIVE COPY RESULTS."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import CheckCondition
from scsipub.scsi import limits
from scsipub.scsi.copy import parse_copy_untrusted
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.lane import Peer
from scsipub.scsi.sense import Key
from scsipub.scsi.unit import LogicalUnit
from tests.support.medium import MemoryMedium
from tests.support.scsi import bench, cdb

COPY = "83 00 00 00 00 00 00 00 00 00 N:4 00 00"
STATUS = "84 00 I:1 00 00 00 00 00 00 00 N:4 00 00"
PARAMETERS = "84 03 00 00 00 00 00 00 00 00 N:4 00 00"
LIST_LENGTH = (Key.ILLEGAL_REQUEST, 0x1A, 0x00)
NOT_REACHABLE = (Key.COPY_ABORTED, 0x0D, 0x02)
IFP = (Key.ILLEGAL_REQUEST, 0x26, 0x00)


def target(config, kind=3, *, block_length=None, byte_0=0xE4, byte_1=0x00):
    name = config.naa6 if kind == 3 else config.eui64
    length = config.block_size if block_length is None else block_length
    return struct.pack(">BBHBBxB20sI", byte_0, byte_1, 0, 1, kind, len(name), name, length)


def segment(blocks, source_lba, destination_lba, source=0, destination=0, flags=0):
    return struct.pack(
        ">BBHHH2xHQQ", 0x02, flags, 0x18, source, destination, blocks, source_lba, destination_lba
    )


def segment_with_offset(length, source_lba, destination_lba, offsets=(0, 0), source=0, destination=0):
    return struct.pack(
        ">BBHHHIQQHH", 0x0A, 0, 0x1C, source, destination, length, source_lba, destination_lba, *offsets
    )


def copy_list(targets, segments, list_id=1, usage=0, inline=0):
    first, second = b"".join(targets), b"".join(segments)
    return struct.pack(">BBH4xII", list_id, usage << 3, len(first), len(second), inline) + first + second


def send(disk, data, length=None):
    return disk(cdb(COPY, N=len(data) if length is None else length), data)


def filled(blocks=64, **config):
    disk = bench(blocks=blocks, **config)
    disk.medium.write(0, random.Random(3).randbytes(blocks * disk.unit.config.block_size))
    return disk


def two(block_size=512, other_size=512):
    """A session with two units: LUN 0 is the bench's own, LUN 1 the returned peer."""
    disk = filled(block_size=block_size)
    config = UnitConfig(uuid=b"another unit 16b", block_size=other_size)
    other = LogicalUnit(config, 64)
    peer = Peer(other, other.attach("iqn.2025-01.test:one"), MemoryMedium(64, other_size))
    disk.lane.peers = lambda: (peer,)
    return disk, peer


@pytest.mark.parametrize("kind", [2, 3])
def test_blocks_are_copied_within_a_unit_named_by_naa_or_eui(kind):
    """SPC-4 §6.4.5.5: block to block."""
    disk = filled()
    wanted = disk.medium.read(3, 10)
    assert send(disk, copy_list([target(disk.unit.config, kind)], [segment(10, 3, 40)])).key is None
    assert disk.medium.read(40, 10) == wanted


def test_bytes_are_copied_with_offsets_and_their_neighbours_stay():
    """Segment 0Ah: a byte count, and offsets inside the first blocks."""
    disk = filled()
    before = disk.medium.read(0, 64)
    assert (
        send(disk, copy_list([target(disk.unit.config)], [segment_with_offset(1000, 1, 20, (5, 300))])).key
        is None
    )

    at = 20 * 512 + 300
    assert disk.medium.read(0, 64) == before[:at] + before[512 + 5 : 512 + 1005] + before[at + 1000 :]


@pytest.mark.parametrize(("source", "destination"), [(0, 1), (0, 3000), (3000, 0), (100, 100)])
def test_ranges_that_overlap_are_moved_not_smeared(source, destination):
    disk = filled(blocks=12_000)
    before = disk.medium.read(source, 6000)
    assert send(disk, copy_list([target(disk.unit.config)], [segment(6000, source, destination)])).key is None
    assert disk.medium.read(destination, 6000) == before


@pytest.mark.parametrize(("mine", "theirs"), [(512, 512), (512, 4096), (4096, 512)])
def test_blocks_are_copied_to_another_unit_of_the_session(mine, theirs):
    disk, peer = two(mine, theirs)
    targets = [target(disk.unit.config), target(peer.unit.config)]
    big = max(mine, theirs)
    blocks = 2 * big // mine
    assert send(disk, copy_list(targets, [segment(blocks, 0, 5, 0, 1)])).key is None
    assert peer.medium.read(5, 2 * big // theirs) == disk.medium.read(0, blocks)


def test_dc_counts_in_blocks_of_the_destination():
    """SPC-4 §6.4.5.5: the DC bit."""
    disk, peer = two(512, 4096)
    targets = [target(disk.unit.config), target(peer.unit.config)]
    assert send(disk, copy_list(targets, [segment(2, 0, 5, 0, 1, flags=0x02)])).key is None
    assert peer.medium.read(5, 2) == disk.medium.read(0, 16)


def test_a_unit_outside_the_session_cannot_be_reached():
    """Its designator is known, right, and looked for nowhere but among the session's own units."""
    disk = filled()
    stranger = UnitConfig(uuid=b"a stranger's one")
    for source, destination in ((0, 1), (1, 0)):
        segments = [segment(1, 0, 5, source, destination)]
        assert (
            send(disk, copy_list([target(disk.unit.config), target(stranger)], segments)).key == NOT_REACHABLE
        )


def test_a_descriptor_that_is_not_there_cannot_be_reached():
    disk = filled()
    assert send(disk, copy_list([target(disk.unit.config)], [segment(1, 0, 5, 0, 1)])).key == NOT_REACHABLE
    null = target(disk.unit.config, byte_1=0x20)
    assert send(disk, copy_list([null], [segment(1, 0, 5)])).key == NOT_REACHABLE


def test_the_obsolete_lu_id_type_is_ignored():
    disk = filled()
    assert send(disk, copy_list([target(disk.unit.config, byte_1=0x80)], [segment(1, 0, 5)])).key is None


@pytest.mark.parametrize(("source", "destination"), [(55, 0), (0, 55), (1 << 63, 0), (0, (1 << 64) - 1)])
def test_copying_beyond_the_end_is_aborted(source, destination):
    disk = filled()
    before = disk.medium.read(0, 64)
    ended = send(disk, copy_list([target(disk.unit.config)], [segment(10, source, destination)]))
    assert ended.key == (Key.COPY_ABORTED, 0x00, 0x00)
    assert disk.medium.read(0, 64) == before


def test_nothing_is_copied_when_one_of_two_segments_cannot_be():
    disk = filled()
    before = disk.medium.read(0, 64)
    ended = send(disk, copy_list([target(disk.unit.config)], [segment(1, 0, 9), segment(10, 0, 60)]))
    assert ended.key == (Key.COPY_ABORTED, 0x00, 0x00)
    assert disk.medium.read(0, 64) == before


@pytest.mark.parametrize("cdb_at_peer", ["16 00 00 00 00 00", "15 10 00 00 10 00"])
def test_a_unit_that_a_write_would_not_reach_is_not_written_by_a_copy(cdb_at_peer):
    """Reservation of another nexus; write protection."""
    disk, peer = two()
    stranger = peer.unit.attach("iqn.2025-01.test:stranger")
    plan = peer.unit.begin(stranger, bytes.fromhex(cdb_at_peer), 0)
    if plan.run:
        plan.run(peer.medium, bytes(4) + bytes([0x0A, 10, 0, 0x10, 8]) + bytes(7))
    targets = [target(disk.unit.config), target(peer.unit.config)]

    assert send(disk, copy_list(targets, [segment(1, 0, 5, 0, 1)])).key == (Key.COPY_ABORTED, 0x0D, 0x01)
    assert peer.medium.read(5, 1) == bytes(512)


def test_who_is_fenced_at_the_destination_writes_nothing_more_there():
    """A copy may run for seconds in a thread, at another unit than the one that it writes to."""
    disk, peer = two()
    write = peer.medium.write

    def write_and_lose_the_registration(first, data):
        write(first, data)
        peer.lane.fenced = True

    peer.medium.write = write_and_lose_the_registration
    targets = [target(disk.unit.config), target(peer.unit.config)]

    answer = send(disk, copy_list(targets, [segment(1, 0, 5, 0, 1), segment(1, 1, 6, 0, 1)]))

    assert answer.key == (Key.COPY_ABORTED, 0x0D, 0x01)
    assert peer.medium.read(5, 2) == disk.medium.read(0, 1) + bytes(512)


def test_an_empty_parameter_list_is_good():
    """SPC-4 §6.4.1."""
    assert bench()(cdb(COPY, N=0)).key is None


def test_a_list_that_copies_nothing_is_good():
    disk = filled()
    assert send(disk, copy_list([], [])).key is None
    assert send(disk, copy_list([target(disk.unit.config)], [segment(0, 0, 0)])).key is None


@pytest.mark.parametrize("cut", [1, 15, 16 + 31, 16 + 32 + 27])
def test_a_list_cut_inside_a_descriptor_is_refused(cut):
    """PARAMETER LIST LENGTH ERROR."""
    disk = filled()
    whole = copy_list([target(disk.unit.config)], [segment(1, 0, 5)])
    assert send(disk, whole[:cut]).key == LIST_LENGTH
    assert send(disk, whole[:cut], len(whole)).key == LIST_LENGTH


def test_descriptor_lists_that_end_inside_a_descriptor_are_refused():
    disk = filled()
    assert send(disk, copy_list([target(disk.unit.config)[:31]], [])).key == LIST_LENGTH
    assert send(disk, copy_list([target(disk.unit.config)], [segment(1, 0, 5)[:27]])).key == LIST_LENGTH


def test_as_many_targets_and_segments_as_announced_and_no_more():
    """05h/26h/06h TOO MANY TARGET DESCRIPTORS, 05h/26h/08h TOO MANY SEGMENT DESCRIPTORS."""
    disk = filled()
    one, move = target(disk.unit.config), segment(1, 0, 5)
    assert send(disk, copy_list([one] * limits.COPY_TARGETS, [move] * limits.COPY_SEGMENTS)).key is None
    assert send(disk, copy_list([one] * (limits.COPY_TARGETS + 1), [move])).key == (5, 0x26, 0x06)
    assert send(disk, copy_list([one], [move] * (limits.COPY_SEGMENTS + 1))).key == (5, 0x26, 0x08)


def test_a_list_longer_than_announced_is_refused_before_the_counts():
    disk = filled()
    one, move = target(disk.unit.config), segment(1, 0, 5)
    both = copy_list([one] * (limits.COPY_TARGETS + 1), [move] * (limits.COPY_SEGMENTS + 1))
    assert send(disk, both).key == LIST_LENGTH
    assert disk(cdb(COPY, N=0xFFFFFFFF)).key == LIST_LENGTH


def test_other_kinds_of_descriptors_are_refused():
    """05h/26h/07h and 05h/26h/09h."""
    disk = filled()
    assert send(disk, copy_list([target(disk.unit.config, byte_0=0xE0)], [segment(1, 0, 5)])).key == (
        5,
        0x26,
        0x07,
    )
    wrong = b"\x03" + segment(1, 0, 5)[1:]
    assert send(disk, copy_list([target(disk.unit.config)], [wrong])).key == (5, 0x26, 0x09)


def test_inline_data_are_refused():
    disk = filled()
    assert send(disk, copy_list([target(disk.unit.config)], [], inline=8) + bytes(8)).key == (5, 0x26, 0x0B)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:7] + b"\x15" + t[8:],  # designator longer than 20 bytes
        lambda t: t[:5] + b"\x13" + t[6:],  # of a target port
        lambda t: t[:29] + b"\x00\x10\x00",  # of another block size
    ],
)
def test_a_target_descriptor_that_is_not_right_is_refused(change):
    disk = filled()
    ended = send(disk, copy_list([change(target(disk.unit.config))], [segment(1, 0, 5)]))
    assert ended.key == IFP
    assert ended.check.in_cdb is False


def test_a_segment_longer_than_announced_is_refused():
    disk = bench(blocks=1 << 20)
    one = [target(disk.unit.config)]
    assert (
        send(disk, copy_list(one, [segment_with_offset(limits.COPY_SEGMENT_BYTES + 1, 0, 1 << 19)])).key
        == IFP
    )


def test_the_status_of_a_copy_is_held():
    """SPC-4 §6.21: 01h, completed without errors; transfer count in bytes."""
    disk = filled()
    assert disk(cdb(STATUS, I=9, N=64)).key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    send(disk, copy_list([target(disk.unit.config)], [segment(4, 0, 9), segment(1, 0, 20)], list_id=9))
    assert disk(cdb(STATUS, I=9, N=64)).data == struct.pack(">IBHBI", 8, 0x01, 2, 0, 5 * 512)
    assert disk(cdb(STATUS, I=9, N=64), lane=disk.another()).key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def test_the_status_of_a_failed_copy_is_held_too():
    disk = filled()
    send(disk, copy_list([target(disk.unit.config)], [segment(60, 9, 9)], list_id=9))
    assert disk(cdb(STATUS, I=9, N=64)).data[4] == 0x02


def test_the_list_identifier_may_be_used_again_and_need_not_be_held():
    disk = filled()
    one = [target(disk.unit.config)]
    send(disk, copy_list(one, [segment(1, 0, 9)], list_id=9))
    send(disk, copy_list(one, [segment(2, 0, 9)], list_id=9))
    assert disk(cdb(STATUS, I=9, N=64)).data[-4:] == struct.pack(">I", 1024)
    send(disk, copy_list(one, [segment(1, 0, 9)], list_id=8, usage=2))
    assert disk(cdb(STATUS, I=8, N=64)).key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def test_a_nexus_holds_so_many_statuses_and_the_oldest_go():
    disk = filled()
    for list_id in range(limits.COPIES_HELD + 1):
        send(disk, copy_list([target(disk.unit.config)], [segment(1, 0, 9)], list_id=list_id))
    assert len(disk.lane.copies) == limits.COPIES_HELD
    assert disk(cdb(STATUS, I=0, N=64)).key is not None
    assert disk(cdb(STATUS, I=1, N=64)).key is None


@pytest.mark.parametrize(("blocks", "longest"), [(1 << 17, 16 << 20), (1 << 14, 4 << 20), (100, 1 << 20)])
def test_operating_parameters_say_what_is_taken(blocks, longest):
    """SPC-4 §6.23."""
    data = bench(blocks=blocks)(cdb(PARAMETERS, N=256)).data

    assert struct.unpack(">I", data[:4])[0] == len(data) - 4
    assert struct.unpack(">HHII", data[8:20]) == (8, 16, 720, longest)
    assert data[37] == 9
    assert data[43] == 3
    assert data[44:] == bytes([0x02, 0x0A, 0xE4])


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_noise_is_a_list_or_a_check_condition(noise):
    try:
        parse_copy_untrusted(noise)
    except CheckCondition as check:
        assert check.key == Key.ILLEGAL_REQUEST


@given(st.data())
@settings(max_examples=100)
def test_a_list_with_some_bytes_wrong_is_carried_out_or_refused(data):
    disk = filled()
    good = bytearray(
        copy_list([target(disk.unit.config)], [segment(3, 0, 9), segment_with_offset(700, 1, 20)])
    )
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    ended = send(disk, bytes(good))
    assert ended.key is None or ended.key[0] in (Key.ILLEGAL_REQUEST, Key.COPY_ABORTED)
