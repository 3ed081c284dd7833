"""Write data: immediate, unsolicited and asked for, and what happens when it is not as agreed."""

import pytest

from scsipub.errors import FramingLost
from scsipub.iscsi.constants import RejectReason
from scsipub.limits import Limits
from tests.support.talk import (
    Sense,
    command,
    data_out,
    full_feature,
    good,
    pattern,
    r2t,
    read,
    rejected,
    write,
)

UNEXPECTED = (0x0B, 0x0C, 0x0C)  # UNEXPECTED UNSOLICITED DATA
NOT_ENOUGH = (0x0B, 0x0C, 0x0D)  # NOT ENOUGH UNSOLICITED DATA
PHASE = (0x0B, 0x4B, 0x00)  # DATA PHASE ERROR
BURST = 2048  # FirstBurstLength in these tests
YES_NO = [(i, d) for i in ("Yes", "No") for d in ("Yes", "No")]


def test_a_write_waits_for_an_r2t_when_nothing_else_was_agreed():
    """RFC 7143 §13.10, §13.11: with InitialR2T=Yes and ImmediateData=No the target invites all data."""
    talk = full_feature(InitialR2T="Yes", ImmediateData="No")

    talk.initiator(write(7, blocks=16))
    talk.target(r2t(7, 0, 8192))
    talk.initiator(data_out(7, 0, pattern(8192), ttt=talk.tags[0]))
    talk.target(good(7))
    assert talk.disk.content[:8192] == pattern(8192)


@pytest.mark.parametrize(("initial_r2t", "immediate_data"), YES_NO)
@pytest.mark.parametrize("size", [512, BURST - 512, BURST, BURST + 512, 3 * BURST])
def test_a_write_succeeds_however_much_of_it_comes_unasked(initial_r2t, immediate_data, size):
    """§13.10-§13.14: whatever the two keys allow is taken, and the rest is asked for."""
    talk = full_feature(InitialR2T=initial_r2t, ImmediateData=immediate_data, FirstBurstLength=BURST)
    data = pattern(size)
    now = min(size, 1024) if immediate_data == "Yes" else 0
    unasked = min(size, BURST) if initial_r2t == "No" else now

    talk.initiator(write(1, blocks=size // 512, data=data[:now], final=unasked == now))
    for sn, at in enumerate(range(now, unasked, 512)):
        talk.initiator(data_out(1, at, data[at : at + 512], data_sn=sn, final=at + 512 == unasked))
    if unasked < size:
        talk.target(r2t(1, unasked, size - unasked))
        talk.initiator(data_out(1, unasked, data[unasked:], ttt=talk.tags[0]))
    talk.target(good(1))

    assert talk.disk.content[:size] == data


@pytest.mark.parametrize("initial_r2t", ["Yes", "No"])
def test_immediate_data_that_was_ruled_out_ends_the_command(initial_r2t):
    """§13.11: ImmediateData=No."""
    talk = full_feature(InitialR2T=initial_r2t, ImmediateData="No")

    talk.initiator(write(1, data=pattern(512)))

    talk.target(Sense(1, *UNEXPECTED))
    assert not any(talk.disk.content)


@pytest.mark.parametrize("immediate_data", ["Yes", "No"])
def test_unsolicited_data_that_was_ruled_out_ends_the_command_and_is_swallowed(immediate_data):
    """§13.10: InitialR2T=Yes, but the F bit says that more comes without being asked for."""
    talk = full_feature(InitialR2T="Yes", ImmediateData=immediate_data)

    talk.initiator(write(1, blocks=2, final=False))
    talk.target(Sense(1, *UNEXPECTED))
    talk.initiator(data_out(1, 0, pattern(512), final=False), data_out(1, 512, pattern(512), data_sn=1))

    talk.target()
    assert not any(talk.disk.content)


def test_immediate_data_up_to_first_burst_is_taken_and_no_byte_more():
    """§13.14: FirstBurstLength bounds immediate data as well."""
    talk = full_feature(FirstBurstLength=BURST)

    talk.initiator(write(1, blocks=8, data=pattern(BURST)))
    talk.target(r2t(1, BURST, 2048))
    talk.initiator(write(2, blocks=8, data=pattern(BURST + 1)))
    talk.target(Sense(2, *UNEXPECTED))


def test_unsolicited_data_beyond_first_burst_ends_the_command():
    """§13.14: the burst was complete before."""
    talk = full_feature(InitialR2T="No", FirstBurstLength=BURST)

    talk.initiator(
        write(1, blocks=16, data=pattern(1024), final=False), data_out(1, 1024, pattern(1536), final=False)
    )
    talk.target(Sense(1, *UNEXPECTED))
    talk.initiator(data_out(1, 2560, pattern(512), data_sn=1))
    talk.target()


def test_a_first_burst_that_stops_short_ends_the_command():
    """§13.14: with F=1 it must hold FirstBurstLength, or all there is."""
    talk = full_feature(InitialR2T="No", FirstBurstLength=BURST)

    talk.initiator(write(1, blocks=8, final=False), data_out(1, 0, pattern(BURST - 512)))

    talk.target(Sense(1, *NOT_ENOUGH))
    assert not talk.session.tasks


def test_a_first_burst_may_be_shorter_when_it_is_all_there_is():
    """§13.14: EDTL below FirstBurstLength."""
    talk = full_feature(InitialR2T="No", FirstBurstLength=BURST)

    talk.initiator(write(1, blocks=2, final=False), data_out(1, 0, pattern(1024)))

    talk.target(good(1))


def test_immediate_data_longer_than_the_command_expects_ends_it():
    """§11.3.4: more data than the Expected Data Transfer Length."""
    talk = full_feature()

    talk.initiator(write(1, data=pattern(1024)))

    talk.target(Sense(1, *UNEXPECTED))


def test_data_with_a_command_that_does_not_write_ends_it():
    """§11.3.1: no W bit, no data."""
    talk = full_feature()

    talk.initiator(read(1, data=pattern(512)))

    talk.target(Sense(1, *UNEXPECTED))


def test_a_long_write_is_asked_for_in_bursts():
    """§13.13: no R2T asks for more than MaxBurstLength; each continues where the last one ended."""
    talk = full_feature(MaxBurstLength=4096, ImmediateData="No")
    data = pattern(10240)
    talk.initiator(write(1, blocks=20))

    for sn, (offset, length) in enumerate(((0, 4096), (4096, 4096), (8192, 2048))):
        talk.target(r2t(1, offset, length, sn))
        half = offset + length // 2
        talk.initiator(
            data_out(1, offset, data[offset:half], ttt=talk.tags[-1], final=False),
            data_out(1, half, data[half : offset + length], ttt=talk.tags[-1], data_sn=1),
        )
    talk.target(good(1))

    assert talk.disk.content[:10240] == data
    assert len(set(talk.tags)) == 3


def test_an_r2t_asks_for_a_mebibyte_at_most():
    """Whatever MaxBurstLength was agreed to: one slow initiator must not hold much memory."""
    talk = full_feature(MaxBurstLength=16 * 2**20 - 1024, ImmediateData="No", blocks=8192)

    talk.initiator(write(1, blocks=4096))

    talk.target(r2t(1, 0, 2**20))


def test_bursts_of_several_commands_may_be_mixed():
    """§11.7: Data-Out belong to their task by tag, in whatever order the tasks take turns."""
    talk = full_feature(ImmediateData="No")
    talk.initiator(write(1, lba=0, blocks=2), write(2, lba=2, blocks=2))
    talk.target(r2t(1, 0, 1024), r2t(2, 0, 1024))
    one, two = talk.tags

    talk.initiator(
        data_out(2, 0, pattern(512, 2), ttt=two, final=False),
        data_out(1, 0, pattern(1024, 1), ttt=one),
        data_out(2, 512, pattern(512, 3), ttt=two, data_sn=1),
    )

    talk.target(good(1), good(2))
    assert talk.disk.content[:2048] == pattern(1024, 1) + pattern(512, 2) + pattern(512, 3)


@pytest.mark.parametrize("offset", [0, 511, 513, 1024, 0xFFFFFFFF])
def test_data_at_another_offset_drops_the_connection(offset):
    """§13.18: data comes in order, so any other offset says that we no longer understand each other."""
    talk = full_feature(ImmediateData="No")
    talk.initiator(write(1, blocks=4))
    talk.initiator(data_out(1, 0, pattern(512), ttt=talk.tags[0], final=False))

    with pytest.raises(FramingLost):
        talk.initiator(data_out(1, offset, pattern(512), ttt=talk.tags[0], data_sn=1))

    assert not any(talk.disk.content[512:])


def test_data_longer_than_the_burst_ends_the_command():
    """More than DesiredDataTransferLength; nothing of it is written."""
    talk = full_feature(ImmediateData="No", MaxBurstLength=1024)
    talk.initiator(write(1, blocks=4))
    talk.target(r2t(1, 0, 1024))

    talk.initiator(data_out(1, 0, pattern(1536), ttt=talk.tags[0]))

    talk.target(Sense(1, *NOT_ENOUGH))
    assert not any(talk.disk.content)


def test_data_that_stops_before_the_burst_is_complete_ends_the_command():
    """F=1 too early."""
    talk = full_feature(ImmediateData="No")
    talk.initiator(write(1, blocks=4))
    talk.heard.clear()

    talk.initiator(data_out(1, 0, pattern(512), ttt=talk.tags[0]))

    talk.target(Sense(1, *NOT_ENOUGH))


def test_a_complete_burst_without_the_f_bit_ends_the_command():
    """§11.7.1: F marks the end of a sequence, so a full one must carry it."""
    talk = full_feature(ImmediateData="No")
    talk.initiator(write(1, blocks=2))
    talk.heard.clear()

    talk.initiator(data_out(1, 0, pattern(1024), ttt=talk.tags[0], final=False))

    talk.target(Sense(1, *PHASE))


@pytest.mark.parametrize(("first", "second"), [(1, 1), (0, 0), (0, 2)])
def test_a_data_sequence_number_that_does_not_count_ends_the_command(first, second):
    """§11.7.5: DataSN begins at 0 with each R2T and goes up by one."""
    talk = full_feature(ImmediateData="No")
    talk.initiator(write(1, blocks=4))
    talk.heard.clear()
    ttt = talk.tags[0]

    talk.initiator(
        data_out(1, 0, pattern(512), ttt=ttt, final=False, data_sn=first),
        data_out(1, 512, pattern(1536), ttt=ttt, data_sn=second),
    )

    talk.target(Sense(1, *PHASE))


@pytest.mark.parametrize("wrong", [1, 2, 0x10000])
def test_data_with_a_foreign_transfer_tag_drops_the_connection(wrong):
    """Nobody gave that tag to this task."""
    talk = full_feature(ImmediateData="No")
    talk.initiator(write(1))

    with pytest.raises(FramingLost):
        talk.initiator(data_out(1, 0, pattern(512), ttt=talk.tags[0] + wrong))
    assert not any(talk.disk.content)


def test_the_transfer_tag_of_another_session_drops_the_connection():
    """Tags are worth nothing outside their session."""
    talk = full_feature(ImmediateData="No")
    other = talk.another()
    other.initiator(write(9), write(1))
    talk.initiator(write(1))

    with pytest.raises(FramingLost):
        talk.initiator(data_out(1, 0, pattern(512), ttt=other.tags[1]))


def test_the_transfer_tag_of_an_earlier_burst_drops_the_connection():
    """§11.7.4: a tag is good for one burst."""
    talk = full_feature(ImmediateData="No", MaxBurstLength=1024)
    talk.initiator(write(1, blocks=4))
    talk.initiator(data_out(1, 0, pattern(1024), ttt=talk.tags[0]))

    with pytest.raises(FramingLost):
        talk.initiator(data_out(1, 1024, pattern(1024), ttt=talk.tags[0]))


def test_unsolicited_data_after_an_r2t_ends_the_command():
    """§11.7.4: once we ask, data carries our tag."""
    talk = full_feature(ImmediateData="No")
    talk.initiator(write(1))
    talk.heard.clear()

    talk.initiator(data_out(1, 0, pattern(512)))

    talk.target(Sense(1, *UNEXPECTED))


def test_data_for_a_task_that_never_was_is_rejected():
    """§11.17: a Reject that quotes it; the session goes on."""
    talk = full_feature()

    talk.initiator(data_out(5, 0, pattern(512)), command(1))

    talk.target(rejected(RejectReason.INVALID_PDU_FIELD), good(1))


def test_what_comes_late_for_a_failed_write_is_swallowed_until_its_end():
    """What is on the wire already cannot be called back; the Data-Out with F=1 is the last of it."""
    talk = full_feature(InitialR2T="No", FirstBurstLength=4096)
    talk.initiator(write(1, lba=99999, blocks=4, final=False))
    talk.target(Sense(1, 0x05, 0x21, 0x00))

    talk.initiator(data_out(1, 0, pattern(512), final=False), data_out(1, 512, pattern(1536), data_sn=1))
    talk.target()
    talk.initiator(data_out(1, 2048, pattern(512)))
    talk.target(rejected(RejectReason.INVALID_PDU_FIELD))


def test_a_new_command_with_the_tag_of_a_failed_one_has_its_own_data():
    """§11.2.1.8: the tag is free again as soon as its status is out."""
    talk = full_feature(InitialR2T="No", ImmediateData="No", FirstBurstLength=4096)
    talk.initiator(write(1, lba=99999, final=False), data_out(1, 0, pattern(512)))
    talk.target(Sense(1, 0x05, 0x21, 0x00))

    talk.initiator(write(1, final=False), data_out(1, 0, pattern(512)))

    talk.target(good(1))


def test_the_memory_of_late_data_is_bounded():
    """A session that aborts for ever is not remembered for ever."""
    talk = full_feature(InitialR2T="No")

    for tag in range(500):
        talk.initiator(write(tag, lba=99999, final=False))

    assert len(talk.session.discarding) <= 64


def test_a_write_whose_data_was_asked_for_and_did_not_come_is_found():
    """60 seconds after the R2T, not one earlier."""
    talk = full_feature(ImmediateData="No", limits=Limits(r2t_seconds=60.0))
    talk.now = 100.0
    talk.initiator(*(write(tag) for tag in range(1, 33)))

    assert talk.session.late_transfers(160.0) == []
    assert len(talk.session.late_transfers(160.1)) == 32


def test_a_first_burst_that_does_not_come_is_found_as_well():
    """The command announced it; the same patience holds."""
    talk = full_feature(InitialR2T="No", limits=Limits(r2t_seconds=60.0))
    talk.now = 100.0
    talk.initiator(write(1, final=False))

    assert [t.initiator_task_tag for t in talk.session.late_transfers(160.1)] == [1]
    talk.initiator(data_out(1, 0, pattern(512)))
    assert talk.session.late_transfers(1000.0) == []


def test_a_write_that_expects_no_data_writes_none():
    """EDTL=0 and WRITE(10) of one block: GOOD, and the residual says that 512 bytes were missed."""
    talk = full_feature()

    talk.initiator(write(1, expected_data_transfer_length=0))

    talk.target(good(1, overflow=True, residual_count=512))
    assert not any(talk.disk.content)


def test_a_write_that_expects_less_than_its_cdb_writes_that_much():
    """§11.4.5.1: overflow of the rest."""
    talk = full_feature(ImmediateData="No")

    talk.initiator(write(1, blocks=2, expected_data_transfer_length=512))
    talk.target(r2t(1, 0, 512))
    talk.initiator(data_out(1, 0, pattern(512), ttt=talk.tags[0]))

    talk.target(good(1, overflow=True, residual_count=512))
    assert talk.disk.content[:1024] == pattern(512) + bytes(512)


def test_a_write_that_expects_more_than_its_cdb_takes_what_the_cdb_says():
    """§11.4.5.1: underflow of the rest, which is not asked for."""
    talk = full_feature(ImmediateData="No")

    talk.initiator(write(1, blocks=1, expected_data_transfer_length=2048))
    talk.target(r2t(1, 0, 512))
    talk.initiator(data_out(1, 0, pattern(512), ttt=talk.tags[0]))

    talk.target(good(1, underflow=True, residual_count=1536))


def test_data_beyond_the_cdb_is_taken_and_forgotten():
    """The initiator expects to send 1024 bytes and does; the command is about 512."""
    talk = full_feature(InitialR2T="No")

    talk.initiator(
        write(1, blocks=1, expected_data_transfer_length=1024, final=False),
        data_out(1, 0, pattern(512), final=False),
        data_out(1, 512, pattern(512), data_sn=1),
    )

    talk.target(good(1, underflow=True, residual_count=512))
    assert talk.disk.content[:1024] == pattern(512) + bytes(512)


def test_four_gibibytes_expected_cost_nothing():
    """EDTL=FFFFFFFFh with a CDB of one block."""
    talk = full_feature()

    talk.initiator(write(1, data=pattern(512), expected_data_transfer_length=0xFFFFFFFF))

    talk.target(good(1, underflow=True, residual_count=0xFFFFFFFF - 512))


def test_data_announced_for_a_read_ends_nothing_but_that_read():
    """§11.3.1: R and W both set and F=0: whatever comes is not ours to keep, and nothing breaks."""
    talk = full_feature(InitialR2T="No")
    talk.held, talk.disk.cached = True, False

    talk.initiator(read(1, write=True, final=False), data_out(1, 0, pattern(512)))
    talk.thread()

    assert [type(each).__name__ for each in talk.heard] == ["DataIn"]
    assert not any(talk.disk.content)


def test_data_announced_for_a_command_in_a_thread_does_not_run_it_twice():
    """§11.3.1: SYNCHRONIZE CACHE takes no data, whatever its flags say."""
    talk = full_feature(InitialR2T="No")
    talk.held = True

    talk.initiator(
        command(1, bytes.fromhex("35").ljust(16, b"\0"), write=True, final=False,
                expected_data_transfer_length=512),
        data_out(1, 0, pattern(512)),
    )  # fmt: skip
    talk.thread()

    talk.target(good(1, underflow=True, residual_count=512))
    assert not talk.threads
    assert talk.disk.calls == [("flush", 0, 0)]
