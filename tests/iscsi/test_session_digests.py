"""Digests: a wrong one on the header ends the connection, a wrong one on data costs that PDU."""

import pytest

from scsipub.errors import FramingLost
from scsipub.iscsi.constants import RejectReason
from scsipub.iscsi.pdu import (
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    SnackRequest,
    TaskManagementRequest,
    TaskManagementResponse,
    TextRequest,
    TextResponse,
)
from tests.support.talk import (
    Sense,
    command,
    data_in,
    data_out,
    full_feature,
    good,
    pattern,
    r2t,
    read,
    rejected,
    write,
)

CRC_ERROR = (0x0B, 0x47, 0x05)  # PROTOCOL SERVICE CRC ERROR
BOTH = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
EVERY_KIND = [
    NopOut(immediate=True, initiator_task_tag=1, data=b"ping!"),
    command(1),
    read(1),
    write(1, data=pattern(512)),
    write(1, blocks=2, data=pattern(509), final=False),
    command(1, ahs=b"\0\5\1\0abcd"),
    TaskManagementRequest(immediate=True, function=5, initiator_task_tag=1),
    TextRequest(initiator_task_tag=1, data=b"SendTargets=\0"),
    data_out(1, 0, pattern(512)),
    LogoutRequest(initiator_task_tag=1),
    SnackRequest(),
]


@pytest.mark.parametrize("header", ["CRC32C", "None"])
@pytest.mark.parametrize("data", ["CRC32C", "None"])
def test_every_kind_of_pdu_passes_with_right_digests(header, data):
    """RFC 7143 §13.1: with either, both, or none; odd lengths are padded and the padding is digested."""
    talk = full_feature(HeaderDigest=header, DataDigest=data, InitialR2T="No")

    talk.initiator(NopOut(immediate=True, initiator_task_tag=1, data=b"ping!"))
    talk.target(NopIn(initiator_task_tag=1, data=b"ping!"))
    talk.initiator(write(1, data=pattern(512)))
    talk.target(good(1))
    talk.initiator(write(2, blocks=2, data=pattern(509), final=False), data_out(2, 509, pattern(1024)[509:]))
    talk.target(good(2))
    talk.initiator(write(3, blocks=200))
    talk.target(r2t(3, 0, 102400))
    talk.initiator(data_out(3, 0, pattern(102400), ttt=talk.tags[0]))
    talk.target(good(3))
    talk.initiator(read(4, blocks=200))
    talk.expect_data(4, pattern(102400))
    talk.initiator(command(5, bytes.fromhex("120000002400").ljust(16, b"\0"), read=True,
                           expected_data_transfer_length=36))  # fmt: skip
    assert len(talk.heard.pop().data) == 36
    talk.initiator(TaskManagementRequest(immediate=True, function=2, initiator_task_tag=6))
    talk.target(TaskManagementResponse(initiator_task_tag=6))
    talk.initiator(TextRequest(initiator_task_tag=7, data=b"SendTargets=All\0"))
    assert [type(each) for each in talk.heard] == [TextResponse]
    talk.heard.clear()
    talk.initiator(SnackRequest(), command(8, ahs=b"\0\5\1\0abcd"), LogoutRequest(initiator_task_tag=9))
    talk.target(
        rejected(RejectReason.SNACK_REJECT),
        good(8),
        LogoutResponse(initiator_task_tag=9, time2wait=2),
    )


@pytest.mark.parametrize("said", EVERY_KIND, ids=lambda said: type(said).__name__)
def test_a_wrong_header_digest_drops_the_connection(said):
    """§7.7: we no longer know where PDUs begin; nothing of that PDU is carried out or answered."""
    talk = full_feature(**BOTH)

    with pytest.raises(FramingLost):
        talk.initiator(said, corrupt="header")

    assert talk.session.exp_cmd_sn == 1
    assert not talk.worker.out.queued
    assert not any(talk.disk.content)


@pytest.mark.parametrize("byte", range(48))
def test_a_flipped_bit_anywhere_in_a_header_executes_nothing(byte):
    """A WRITE with its data, one bit wrong; lengths included."""
    talk = full_feature(HeaderDigest="CRC32C")
    said = bytearray(talk.pack(write(1, data=pattern(512))))
    said[byte] ^= 0x01

    try:
        talk.bytes(bytes(said) + bytes(2048))
    except FramingLost:
        pass
    else:
        pytest.fail("somebody believed it")
    assert not any(talk.disk.content)


def test_wrong_immediate_data_is_rejected_and_its_command_fails():
    """§7.8: Reject 02h, then CHECK CONDITION 0B/47/05; not a sector changes; the session lives."""
    talk = full_feature(DataDigest="CRC32C")

    talk.initiator(write(1, data=pattern(512)), corrupt="data")

    talk.target(rejected(RejectReason.DATA_DIGEST_ERROR), Sense(1, *CRC_ERROR))
    assert not any(talk.disk.content)
    talk.initiator(write(1, data=pattern(512)))
    talk.target(good(1))


def test_wrong_data_after_an_r2t_is_rejected_and_its_command_fails():
    """§7.8: the same for Data-Out, and what follows it is swallowed."""
    talk = full_feature(DataDigest="CRC32C", ImmediateData="No")
    talk.initiator(write(1, blocks=3))
    talk.target(r2t(1, 0, 1536))
    ttt = talk.tags[0]

    talk.initiator(data_out(1, 0, pattern(512), ttt=ttt, final=False))
    talk.initiator(data_out(1, 512, pattern(512), ttt=ttt, final=False, data_sn=1), corrupt="data")
    talk.target(rejected(RejectReason.DATA_DIGEST_ERROR), Sense(1, *CRC_ERROR))
    talk.initiator(data_out(1, 1024, pattern(512), ttt=ttt, data_sn=2), command(2))

    talk.target(good(2))
    assert not any(talk.disk.content[512:])


def test_wrong_data_in_the_last_pdu_of_a_burst_leaves_nothing_to_swallow():
    """A later Data-Out of that tag would be somebody's mistake."""
    talk = full_feature(DataDigest="CRC32C", ImmediateData="No")
    talk.initiator(write(1))
    talk.heard.clear()

    talk.initiator(data_out(1, 0, pattern(512), ttt=talk.tags[0]), corrupt="data")

    talk.target(rejected(RejectReason.DATA_DIGEST_ERROR), Sense(1, *CRC_ERROR))
    assert not talk.session.discarding


@pytest.mark.parametrize(
    "said",
    [
        NopOut(immediate=True, initiator_task_tag=1, data=b"ping"),
        NopOut(initiator_task_tag=1, data=b"ping"),
        TextRequest(initiator_task_tag=1, data=b"SendTargets=All\0"),
    ],
)
def test_wrong_data_of_other_requests_is_rejected_and_the_session_lives(said):
    """§7.8: Reject 02h; a number that it carried is used up."""
    talk = full_feature(DataDigest="CRC32C")

    talk.initiator(said, corrupt="data")
    talk.target(rejected(RejectReason.DATA_DIGEST_ERROR))
    talk.initiator(command(2))
    talk.target(good(2))


def test_padding_need_not_be_zero():
    """§11.1: what fills up to four bytes is not looked at."""
    talk = full_feature()
    said = talk.pack(write(1, blocks=2, data=pattern(511)))

    talk.bytes(said[:-1] + b"\xff")
    talk.target(r2t(1, 511, 513))
    talk.initiator(data_out(1, 511, pattern(1024)[511:], ttt=talk.tags[0]))
    talk.target(good(1))
    assert talk.disk.content[:1024] == pattern(1024)


def test_an_empty_segment_has_no_digest():
    """§11.1: no data, no data digest."""
    talk = full_feature(DataDigest="CRC32C")

    talk.initiator(command(1), read(2))

    talk.target(good(1), data_in(2, bytes(512)))
