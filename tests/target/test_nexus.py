"""The nexus: units that are there and that are not, errors of the disk, memory, background work."""

import errno

import pytest

from scsipub.errors import FramingLost
from scsipub.iscsi.pdu import NopIn, NopOut
from scsipub.limits import Limits
from scsipub.storage.base import Blank
from scsipub.storage.disk import Disk
from scsipub.storage.layout import OverlayId, OverlayPaths
from tests.support.talk import (
    RESERVATION_CONFLICT,
    SYNCHRONIZE_CACHE,
    Sense,
    cdb,
    command,
    data_in,
    data_out,
    full_feature,
    good,
    pattern,
    r2t,
    read,
    write,
    write_10,
)

MIB = 1024 * 1024
INQUIRY = cdb("120000002400")
REPORT_LUNS = cdb("a0000000000000000040")
REQUEST_SENSE = cdb("030000001200")
NOT_SUPPORTED = (0x05, 0x25, 0x00)
W_LUN = 0xC101 << 48
NOBODYS = [1 << 48, 0x4001 << 48, 255 << 48, 0xFFFFFFFFFFFFFFFF, 1, 0x0100 << 48, 0xC102 << 48]


# -- units ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lun", NOBODYS)
def test_a_unit_that_is_not_there_says_so(lun):
    """SPC-4 §6.6.2: 05/25/00 for commands, and an INQUIRY with qualifier 011b."""
    talk = full_feature()

    talk.initiator(command(1, lun=lun), read(2, lun=lun), write(3, data=pattern(512), lun=lun))
    talk.target(*(Sense(tag, *NOT_SUPPORTED) for tag in (1, 2, 3)))
    talk.initiator(command(4, INQUIRY, read=True, expected_data_transfer_length=36, lun=lun))
    assert talk.heard.pop().data[0] == 0x7F
    assert not any(talk.disk.content)


def test_the_well_known_unit_lists_the_others_and_does_nothing_else():
    """SPC-4 §8.2: REPORT LUNS, INQUIRY, TEST UNIT READY and REQUEST SENSE."""
    talk = full_feature(luns=(0, 3))
    room = {"read": True, "expected_data_transfer_length": 64, "lun": W_LUN}

    talk.initiator(command(1, REPORT_LUNS, **room))
    assert talk.heard.pop().data == bytes.fromhex("0000001000000000" + "00" * 8 + "0003" + "00" * 6)
    talk.initiator(command(2, INQUIRY, **room))
    assert talk.heard.pop().data[0] == 0x1E
    talk.initiator(command(3, lun=W_LUN))
    talk.target(good(3))
    talk.initiator(command(4, REQUEST_SENSE, **room))
    assert talk.heard.pop().data[2] == 0
    talk.initiator(read(5, lun=W_LUN))
    talk.target(Sense(5, 0x05, 0x20, 0x00))


@pytest.mark.parametrize("lun", [3, 255])
def test_a_unit_answers_to_peripheral_and_to_flat_addressing(lun):
    """SAM-5 §4.7: 00b and 01b name the same unit."""
    talk = full_feature(luns=(0, lun))
    talk.initiator(write(1, data=pattern(512), lun=lun << 48))
    talk.target(good(1))

    talk.initiator(read(2, lun=lun << 48 | 0x4000 << 48), read(3, lun=0))

    talk.target(data_in(2, pattern(512)), data_in(3, bytes(512)))


def test_a_stranger_s_reservation_is_met_by_everybody_else():
    """SPC-2 §7.21: status 18h and no data, on the fast lane as well."""
    talk = full_feature()
    other = talk.another()
    talk.initiator(command(1, cdb("16")))
    talk.target(good(1))

    other.initiator(read(1), write(2, data=pattern(512)))
    conflict = {"status": RESERVATION_CONFLICT, "underflow": True, "residual_count": 512}
    other.target(good(1, **conflict), good(2, **conflict))
    talk.nexus.close()
    other.initiator(read(3))
    other.target(data_in(3, bytes(512)))


def test_sense_comes_in_the_format_that_was_asked_for():
    """SPC-4 §4.5: D_SENSE makes it descriptors."""
    talk = full_feature()
    page = bytes.fromhex("00000000" + "0a0a" + "04" + "000000000000" + "0000" + "00")
    talk.initiator(
        command(1, cdb("151000001000"), write=True, data=page, expected_data_transfer_length=len(page))
    )
    talk.heard.clear()
    talk.initiator(command(9), read(2, lba=99999))

    assert talk.heard[-1].data[2] in (0x70, 0x72)
    assert talk.unit.modes.d_sense == (talk.heard[-1].data[2] == 0x72)


# -- lists ---------------------------------------------------------------------------------------------------


def test_a_parameter_list_may_come_as_immediate_data_or_be_asked_for():
    """UNMAP of one extent, both ways."""
    extent = bytes.fromhex("0016001000000000") + (1).to_bytes(8) + (2).to_bytes(4) + bytes(4)
    unmap = cdb("42000000000000001800")
    for immediate in (True, False):
        talk = full_feature()
        talk.initiator(write(1, blocks=8, data=pattern(4096)))
        talk.heard.clear()

        talk.initiator(
            command(2, unmap, write=True, expected_data_transfer_length=24, data=extent if immediate else b"")
        )
        if not immediate:
            talk.target(r2t(2, 0, 24))
            talk.initiator(data_out(2, 0, extent, ttt=talk.tags[0]))

        talk.target(good(2))
        assert talk.disk.content[:4096] == pattern(512) + bytes(1024) + pattern(4096)[1536:]


def test_an_empty_list_is_good():
    """Parameter list length 0."""
    talk = full_feature()

    talk.initiator(command(1, cdb("42"), write=True), command(2, cdb("5510"), write=True))

    assert [each.status for each in talk.target(good(1), good(2))] == [0, 0]


def test_a_list_that_is_announced_and_not_sent_is_asked_for():
    """F=1, no data, InitialR2T=No."""
    talk = full_feature(InitialR2T="No")

    talk.initiator(command(1, cdb("42000000000000001800"), write=True, expected_data_transfer_length=24))

    talk.target(r2t(1, 0, 24))


def test_a_write_that_was_promised_without_data_is_asked_for():
    """EDTL=512, F=1, no data, InitialR2T=No."""
    talk = full_feature(InitialR2T="No")

    talk.initiator(write(1))

    talk.target(r2t(1, 0, 512))


# -- the disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "reading", "writing"),
    [
        (errno.ENOSPC, (0x07, 0x27, 0x07), (0x07, 0x27, 0x07)),
        (errno.EDQUOT, (0x07, 0x27, 0x07), (0x07, 0x27, 0x07)),
        (errno.EIO, (0x03, 0x11, 0x00), (0x03, 0x0C, 0x00)),
        (errno.EROFS, (0x04, 0x44, 0x00), (0x04, 0x44, 0x00)),
        (errno.EBADF, (0x04, 0x44, 0x00), (0x04, 0x44, 0x00)),
    ],
)
def test_errors_of_the_disk_become_sense_and_the_session_lives(number, reading, writing):
    """In reads, in writes, in flushes; and the next command is served."""
    talk = full_feature()
    talk.disk.cached = talk.disk.settled = False

    talk.disk.next_errors.extend([number, 0, number, number])
    talk.initiator(read(1))
    talk.target(Sense(1, *reading))
    talk.initiator(read(2))
    talk.target(data_in(2, bytes(512)))
    talk.initiator(write(3, data=pattern(512)))
    talk.target(Sense(3, *writing))
    talk.initiator(command(4, SYNCHRONIZE_CACHE))
    assert talk.heard.pop().status == 0x02
    talk.initiator(write(5, data=pattern(512)))
    talk.target(good(5))
    assert talk.backings[0].quiet


def test_a_write_that_fails_in_the_middle_takes_no_more_of_its_data():
    """The rest of the burst is swallowed, nothing else of it is written."""
    talk = full_feature(ImmediateData="No")
    talk.disk.settled = False
    talk.disk.next_errors.extend([0, errno.ENOSPC])
    talk.initiator(write(1, blocks=4))
    ttt = talk.tags[0]
    talk.heard.clear()

    for sn in range(4):
        talk.initiator(data_out(1, 512 * sn, pattern(512, sn), ttt=ttt, data_sn=sn, final=sn == 3))

    talk.target(Sense(1, 0x07, 0x27, 0x07))
    assert talk.disk.content[:2048] == pattern(512, 0) + bytes(1536)
    assert talk.nexus.writes.buffered == 0


def test_a_disk_out_of_budget_refuses_what_is_new_and_takes_what_is_not(tmp_path):
    """07/27/07: Linux tells the application "no space left"; overwriting goes on."""
    (tmp_path / "disposable").mkdir()
    paths = OverlayPaths(str(tmp_path), OverlayId("d", "session1", 0), boot=bytes(16))
    talk = full_feature(blocks=1024, disk=Disk(Blank(1024), paths, 2 * 4096))

    talk.initiator(write(1, blocks=16, data=pattern(8192)))
    talk.target(good(1))
    talk.initiator(write(2, lba=16, data=pattern(512)))
    talk.target(Sense(2, 0x07, 0x27, 0x07))
    talk.initiator(write(3, lba=0, blocks=8, data=pattern(4096, 3)), read(4, lba=0, blocks=16))
    talk.target(good(3), data_in(4, pattern(4096, 3) + pattern(8192)[4096:]))
    talk.disk.destroy()


def test_a_bug_of_ours_in_a_thread_ends_the_session_and_frees_the_range():
    """What is neither an OSError nor SCSI's business goes up; the sectors it held are free again."""
    talk = full_feature()
    other = talk.another()
    talk.held, talk.disk.settled = True, False
    talk.initiator(write(1, data=pattern(512)))
    (job,) = talk.threads

    with pytest.raises(ZeroDivisionError):
        talk.nexus.finished(job, None, ZeroDivisionError(), 0.0)

    talk.nexus.close()
    other.initiator(write(1, data=pattern(512)))
    other.target(good(1))
    assert other.backings[0].quiet


def test_force_unit_access_flushes_before_the_answer():
    """SBC-3 §5.32: FUA=1; the flush comes after the data and before GOOD."""
    talk = full_feature()
    fua = bytearray(write_10(0, 1))
    fua[1] = 0x08

    talk.initiator(write(1, data=pattern(512), cdb=bytes(fua)))

    talk.target(good(1))
    assert talk.disk.calls == [("write", 0, 1), ("flush", 0, 0)]


def test_writes_to_the_same_sectors_from_two_sessions_are_never_mixed():
    """The second begins when the first has ended, and a reader sees the one or the other."""
    talk = full_feature()
    other = talk.another()
    for each in (talk, other):
        each.held = True
    talk.disk.settled = False
    talk.initiator(write(1, blocks=2, data=pattern(1024, 1)))
    other.initiator(write(1, blocks=2, data=pattern(1024, 2)), read(2, blocks=2))
    assert not other.threads

    talk.thread()
    other.settle()
    other.thread()
    other.thread()

    other.target(good(1), data_in(2, pattern(1024, 2)))
    talk.target(good(1))


def test_a_write_in_pieces_of_odd_sizes_reaches_the_disk_in_whole_blocks():
    """§11.7: segments may end anywhere."""
    talk = full_feature(ImmediateData="No", block_size=4096, blocks=16)
    data = pattern(3 * 4096)
    talk.initiator(write(1, lba=1, blocks=3, block_size=4096))
    talk.target(r2t(1, 0, 12288))

    at = 0
    for sn, size in enumerate((1, 4094, 2, 4096, 100, 3995)):
        talk.initiator(
            data_out(1, at, data[at : at + size], ttt=talk.tags[0], data_sn=sn, final=at + size == 12288)
        )
        at += size

    talk.target(good(1))
    assert talk.disk.content[4096 : 4 * 4096] == data


@pytest.mark.parametrize("expected", [511, 513, 1023])
def test_a_write_that_has_less_than_its_blocks_leaves_the_rest_of_the_last_one(expected):
    """§11.4.5.1: what the initiator has is written, the residual says what it did not have."""
    talk = full_feature(ImmediateData="No")
    talk.disk.content[:1024] = b"o" * 1024

    talk.initiator(write(1, blocks=2, expected_data_transfer_length=expected))
    talk.target(r2t(1, 0, expected))
    talk.initiator(data_out(1, 0, pattern(expected), ttt=talk.tags[0]))

    talk.target(good(1, overflow=True, residual_count=1024 - expected))
    assert talk.disk.content[:1024] == pattern(expected) + b"o" * (1024 - expected)


def test_part_of_a_block_waits_for_the_sectors_it_shares():
    """The rest of the block is read and written back, so nobody else may write it meanwhile."""
    talk = full_feature(ImmediateData="No")
    other = talk.another()
    talk.held = other.held = True
    talk.initiator(write(1, expected_data_transfer_length=100))
    talk.initiator(data_out(1, 0, pattern(100), ttt=talk.tags[0]))

    other.initiator(write(1))
    other.initiator(data_out(1, 0, pattern(512, 2), ttt=other.tags[0]))
    assert not other.threads
    talk.thread()
    other.settle()
    other.thread()

    assert talk.disk.content[:512] == pattern(512, 2)


@pytest.mark.parametrize("expected", [511, 513, 1023])
def test_part_of_a_block_cannot_be_verified(expected):
    """§11.4.5.1: WRITE AND VERIFY needs its blocks whole; the residual tells the two lengths apart."""
    talk = full_feature(ImmediateData="No")

    talk.initiator(
        command(1, cdb("2e000000000000000200"), write=True, expected_data_transfer_length=expected)
    )

    talk.target(Sense(1, 0x05, 0x0E, 0x03))


# -- memory --------------------------------------------------------------------------------------------------


def test_write_data_that_is_asked_for_is_bounded_for_all_commands_together():
    """32 writes of a mebibyte; eight may be on their way, each end lets one more begin."""
    talk = full_feature(
        ImmediateData="No", MaxBurstLength=MIB, blocks=70000, limits=Limits(session_write_bytes=8 * MIB)
    )

    talk.initiator(*(write(tag, lba=tag * 2048, blocks=2048) for tag in range(32)))
    talk.target(*(r2t(tag, 0, MIB) for tag in range(8)))
    for tag in range(24):
        for sn in range(4):
            at = sn * MIB // 4
            talk.initiator(data_out(tag, at, bytes(MIB // 4), ttt=talk.tags[tag], data_sn=sn, final=sn == 3))
        assert talk.target(*_any_order(talk, good(tag), r2t(tag + 8, 0, MIB)))


def _any_order(talk, *expected):
    """Which of the two comes first does not matter."""
    return expected if talk.heard[0].OPCODE == expected[0].OPCODE else expected[::-1]


def test_data_that_waits_for_a_slow_disk_counts_as_well():
    """What is buffered for threads and what was asked for, together."""
    talk = full_feature(
        ImmediateData="No", MaxBurstLength=MIB, blocks=70000, limits=Limits(session_write_bytes=2 * MIB)
    )
    talk.held, talk.disk.settled = True, False

    talk.initiator(*(write(tag, lba=tag * 2048, blocks=2048) for tag in range(4)))
    assert len(talk.tags) == 2
    for tag in range(2):
        for sn in range(4):
            at = sn * MIB // 4
            talk.initiator(data_out(tag, at, bytes(MIB // 4), ttt=talk.tags[tag], data_sn=sn, final=sn == 3))
    assert talk.nexus.writes.buffered == 2 * MIB
    assert len(talk.tags) == 2
    while talk.threads:
        talk.thread()

    assert talk.nexus.writes.buffered == 0
    assert len(talk.tags) == 4


def test_a_command_that_is_aborted_gives_its_share_to_the_next():
    """The R2T of the first is out and will never be answered."""
    talk = full_feature(
        ImmediateData="No", MaxBurstLength=MIB, blocks=70000, limits=Limits(session_write_bytes=2 * MIB)
    )
    talk.initiator(*(write(tag, blocks=2048) for tag in (1, 2, 3)))
    talk.target(r2t(1, 0, MIB), r2t(2, 0, MIB))

    (task, *_) = talk.session.tasks.values()
    talk.do(lambda: talk.nexus.abort(task, lambda: None))
    talk.do(talk.nexus.settle)

    talk.target(r2t(3, 0, MIB))


def test_unsolicited_data_that_finds_no_room_ends_with_task_set_full():
    """SAM-5 §5.3.1: room is left for one burst, so that what needs an R2T can go on.

    Behind an ORDERED write that waits for its data, four commands fit and the fifth does not."""
    limits = Limits(session_write_bytes=2 * MIB, r2t_bytes=MIB)
    talk = full_feature(
        InitialR2T="No", FirstBurstLength=256 * 1024, MaxBurstLength=MIB, blocks=70000, limits=limits
    )
    quarter = bytes(range(256)) * 1024

    talk.initiator(write(0, blocks=2048, attribute=2))
    talk.target(r2t(0, 0, MIB))
    talk.initiator(*(write(tag, lba=tag * 2048, blocks=512, data=quarter) for tag in range(1, 6)))

    talk.target(ended_with(0x28, 5, underflow=len(quarter)))
    assert talk.nexus.writes.held() == 2 * MIB
    talk.initiator(
        *(data_out(0, at, quarter, ttt=talk.tags[0], data_sn=at >> 18, final=at == 3 << 18)
          for at in range(0, MIB, 1 << 18))
    )  # fmt: skip
    talk.target(*(good(tag) for tag in range(5)))
    assert talk.nexus.writes.held() == 0
    assert talk.disk.content[4 * MIB :][: len(quarter)] == quarter


def test_what_came_too_early_and_what_waits_share_one_account():
    """Commands ahead of their turn are held with their data; together with the rest they stay below."""
    limits = Limits(session_write_bytes=2 * MIB, r2t_bytes=MIB)
    talk = full_feature(
        InitialR2T="No", FirstBurstLength=256 * 1024, MaxBurstLength=MIB, blocks=70000, limits=limits
    )
    talk.initiator(write(0, blocks=2048, attribute=2))
    quarter = bytes(256 * 1024)
    talk.initiator(*(write(tag, blocks=512, data=quarter) for tag in range(1, 4)))
    talk.initiator(write(5, blocks=510, data=quarter[:-1024], cmd_sn=6))
    assert talk.nexus.writes.held() <= 2 * MIB

    with pytest.raises(FramingLost, match="ahead of their turn"):
        talk.initiator(write(6, blocks=2, data=bytes(1024), cmd_sn=7))


def test_parameter_lists_are_on_the_account_until_they_have_been_read():
    """The list of an UNMAP."""
    talk = full_feature(InitialR2T="Yes", ImmediateData="Yes")
    talk.held = True
    parameters = bytes([0, 22, 0, 16, 0, 0, 0, 0]) + bytes(8) + (8).to_bytes(4) + bytes(4)

    talk.initiator(
        command(1, cdb("42" + "00" * 6 + "0018"), write=True, data=parameters,
                expected_data_transfer_length=len(parameters))
    )  # fmt: skip
    assert talk.nexus.writes.held() == len(parameters)
    talk.thread()

    talk.target(good(1))
    assert talk.nexus.writes.held() == 0


def ended_with(status, tag, *, underflow):
    return good(tag, status=status, underflow=True, residual_count=underflow)


# -- in the background ---------------------------------------------------------------------------------------


def test_a_sanitize_is_answered_when_it_is_done():
    """SBC-3 §4.11, IMMED=0; others are told that it is under way; pings go on."""
    talk = full_feature()
    other = talk.another()
    talk.initiator(write(1, data=pattern(512)), command(2, cdb("4802")))
    talk.target(good(1))

    other.initiator(read(1), NopOut(immediate=True, initiator_task_tag=9))
    other.target(Sense(1, 0x02, 0x04, 0x1B), NopIn(initiator_task_tag=9))
    talk.background()

    talk.target(good(2))
    talk.initiator(read(3))
    talk.target(data_in(3, bytes(512)))


def test_a_sanitize_survives_its_session():
    """SBC-3 §4.11: it goes on to its end, whoever started it."""
    talk = full_feature()
    other = talk.another()
    talk.initiator(write(1, data=pattern(512)), command(2, cdb("4802")))

    talk.nexus.close()
    talk.heard.clear()
    talk.background()

    talk.target()
    other.initiator(read(3))
    other.target(data_in(3, bytes(512)))


def test_a_sanitize_that_fails_says_so():
    """SBC-3 §4.11: its answer carries the error."""
    talk = full_feature()
    talk.disk.next_errors.append(errno.EIO)
    talk.initiator(command(2, cdb("4802")))

    talk.background()

    assert talk.heard.pop().status == 0x02


def test_after_a_write_that_held_up_the_loop_writes_go_to_threads_for_a_moment():
    """A kernel that holds back who dirties pages too fast must hold back this session alone."""
    talk = full_feature()
    talk.held, talk.now = True, 100.0

    talk.nexus.write_in_threads(100.0)
    talk.initiator(write(1, data=pattern(512)))
    assert len(talk.threads) == 1
    talk.thread()
    talk.target(good(1))

    talk.now = 100.1
    talk.initiator(write(2, data=pattern(512)))
    talk.target(good(2))


def test_a_flush_of_45_seconds_holds_up_nobody_but_who_asked():
    """Pings are answered, other units go on, and so do reads of this one; one flush is under way, not two."""
    talk = full_feature(luns=(0, 1), InitialR2T="No")
    talk.held = True
    talk.initiator(command(1, SYNCHRONIZE_CACHE), write(2, lun=1 << 48, data=pattern(512)))
    talk.target(good(2))
    for _ in range(45):
        talk.now += 1.0
        talk.initiator(NopOut(immediate=True, initiator_task_tag=50, data=b"there?"))
        talk.target(NopIn(initiator_task_tag=50, data=b"there?"))
    assert len(talk.threads) == 1

    talk.thread()

    talk.target(good(1))
    assert talk.disk.calls == [("flush", 0, 0)]
