"""Requests that are not SCSI: pings, texts, logout, and what no initiator may send."""

import attrs
import pytest

from scsipub.errors import FramingLost
from scsipub.iscsi.constants import LogoutReason, LogoutResponseCode, RejectReason
from scsipub.iscsi.pdu import (
    DataOut,
    LoginRequest,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    SnackRequest,
    TaskManagementRequest,
    TextRequest,
    TextResponse,
)
from scsipub.limits import Limits
from tests.support.talk import (
    TARGET,
    command,
    data_in,
    discovery,
    full_feature,
    good,
    pattern,
    read,
    rejected,
    write,
)

NO_TAG = 0xFFFFFFFF


# -- NOP -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("immediate", [True, False])
@pytest.mark.parametrize("data", [b"", b"x", pattern(4096)])
def test_a_ping_is_answered_with_its_own_data(immediate, data):
    """RFC 7143 §11.18, §11.19."""
    talk = full_feature()

    talk.initiator(NopOut(immediate=immediate, initiator_task_tag=1, data=data))

    answer = talk.target(NopIn(initiator_task_tag=1, data=data))[0]
    assert answer.exp_cmd_sn == (1 if immediate else 2)


def test_a_ping_brings_back_no_more_than_the_initiator_takes():
    """§11.18.1: the data is cut to MaxRecvDataSegmentLength."""
    talk = full_feature(MaxRecvDataSegmentLength=512)

    talk.initiator(NopOut(immediate=True, initiator_task_tag=1, data=pattern(513)))

    talk.target(NopIn(initiator_task_tag=1, data=pattern(512)))


def test_a_nop_without_a_tag_is_not_answered():
    """§11.18: ITT=FFFFFFFFh says that nobody waits."""
    talk = full_feature()

    talk.initiator(NopOut(immediate=True))

    talk.target()
    assert talk.session.may_ping


def test_a_nop_without_a_tag_must_be_immediate():
    """§11.18.1: otherwise it would use up a number that nobody acknowledges."""
    talk = full_feature()

    with pytest.raises(FramingLost):
        talk.initiator(NopOut())


def test_our_ping_is_answered_and_forgotten():
    """§11.19: a NOP-In with a target transfer tag asks for a NOP-Out with the same."""
    talk = full_feature()
    talk.do(lambda: talk.session.ping(5.0))
    ping = talk.heard.pop()
    assert ping.initiator_task_tag == NO_TAG

    talk.initiator(NopOut(immediate=True, target_transfer_tag=ping.target_transfer_tag))

    talk.target()
    assert talk.session.ping_tag is None


def test_an_answer_to_another_ping_is_no_answer():
    """Whoever answers what was not asked has not shown that it is there."""
    talk = full_feature()
    talk.do(lambda: talk.session.ping(5.0))
    ping = talk.heard.pop()

    talk.initiator(NopOut(immediate=True, target_transfer_tag=ping.target_transfer_tag + 1))

    talk.target()
    assert talk.session.ping_tag == ping.target_transfer_tag


def test_who_never_sends_a_nop_is_never_pinged():
    """Boot firmware does not know NOPs."""
    talk = full_feature()

    talk.initiator(command(1), read(2))

    assert not talk.session.may_ping


# -- text ----------------------------------------------------------------------------------------------------


def test_send_targets_in_a_session_shows_its_own_target():
    """Appendix C: the normal session knows one target."""
    talk = full_feature()

    talk.initiator(TextRequest(initiator_task_tag=1, data=b"SendTargets=\0"))

    talk.target(TextResponse(initiator_task_tag=1, data=f"TargetName={TARGET}\0".encode()))


def test_a_smaller_segment_length_holds_from_the_next_pdu_on():
    """§13.12: MaxRecvDataSegmentLength may be declared again; a read behind it in the same breath obeys."""
    talk = full_feature()

    talk.initiator(
        TextRequest(initiator_task_tag=1, data=b"MaxRecvDataSegmentLength=512\0"), read(2, blocks=8)
    )

    assert [len(each.data) for each in talk.heard[1:]] == [512] * 8


def test_a_bad_text_is_rejected_and_the_next_one_answered():
    """§11.17: Reject 04h."""
    talk = full_feature()

    talk.initiator(TextRequest(initiator_task_tag=1, data=b"HeaderDigest=None\0"))
    talk.target(rejected(RejectReason.PROTOCOL_ERROR))
    talk.initiator(TextRequest(initiator_task_tag=2, data=b""))
    talk.target(TextResponse(initiator_task_tag=2))


# -- logout --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [LogoutReason.CLOSE_SESSION, LogoutReason.CLOSE_CONNECTION])
def test_a_logout_is_answered_and_is_the_end(reason):
    """§11.15: response 0; nothing behind it is looked at."""
    talk = full_feature()

    talk.initiator(LogoutRequest(reason=reason, initiator_task_tag=1), write(2, data=pattern(512)))

    talk.target(LogoutResponse(initiator_task_tag=1, response=LogoutResponseCode.CLOSED, time2wait=2))
    assert talk.session.closing
    assert not any(talk.disk.content)


def test_nothing_follows_the_answer_to_a_logout():
    """§11.14: what is still under way ends in silence: a long read, a write in a thread, one without data."""
    talk = full_feature(blocks=8192)
    talk.held, talk.disk.settled = True, False

    talk.initiator(
        write(1, data=pattern(512)),
        write(2, lba=8),
        read(3, lba=16, blocks=4096),
        LogoutRequest(initiator_task_tag=4),
    )
    talk.heard.pop(0)
    talk.thread()

    talk.target(LogoutResponse(initiator_task_tag=4, time2wait=2))
    talk.nexus.close()
    assert talk.backings[0].quiet


def test_a_logout_waits_for_the_commands_before_it():
    """§4.2.2.1: its number says that they come first."""
    talk = full_feature()

    talk.initiator(LogoutRequest(initiator_task_tag=2, cmd_sn=2), command(3, cmd_sn=3))
    talk.initiator(command(1, cmd_sn=1))

    talk.target(good(1), LogoutResponse(initiator_task_tag=2, time2wait=2))


def test_a_connection_that_does_not_exist_cannot_be_closed():
    """§11.15.1: response 1; the session goes on."""
    talk = full_feature(cid=3)

    talk.initiator(LogoutRequest(reason=LogoutReason.CLOSE_CONNECTION, cid=4, initiator_task_tag=1))
    talk.target(LogoutResponse(initiator_task_tag=1, response=LogoutResponseCode.CID_NOT_FOUND, time2wait=2))
    talk.initiator(LogoutRequest(reason=LogoutReason.CLOSE_CONNECTION, cid=3, initiator_task_tag=2))
    talk.target(LogoutResponse(initiator_task_tag=2, time2wait=2))


def test_recovery_is_not_supported():
    """§11.15.1: response 2 at ErrorRecoveryLevel 0."""
    talk = full_feature()

    talk.initiator(LogoutRequest(reason=2, initiator_task_tag=1), command(2))

    talk.target(
        LogoutResponse(initiator_task_tag=1, response=LogoutResponseCode.RECOVERY_NOT_SUPPORTED, time2wait=2),
        good(2),
    )


@pytest.mark.parametrize("reason", [3, 127])
def test_a_logout_for_no_known_reason_is_rejected(reason):
    """§11.14.1."""
    talk = full_feature()

    talk.initiator(LogoutRequest(reason=reason, initiator_task_tag=1))

    talk.target(rejected(RejectReason.INVALID_PDU_FIELD))
    assert not talk.session.closing


# -- what is not served --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 15])
def test_nothing_is_sent_again(kind):
    """§11.16: every SNACK is rejected with 03h at ErrorRecoveryLevel 0."""
    talk = full_feature()

    talk.initiator(SnackRequest(type=kind, run_length=1), command(1))

    talk.target(rejected(RejectReason.SNACK_REJECT), good(1))


@pytest.mark.parametrize("opcode", [0x07, 0x08, 0x0F, *range(0x11, 0x40)])
@pytest.mark.parametrize("immediate", [0, 0x40])
def test_an_opcode_of_nobody_or_of_a_target_is_rejected(opcode, immediate):
    """§11.17.1: 05h; StatSN advances once; the session goes on."""
    talk = full_feature()
    header = bytearray(NopOut(initiator_task_tag=1, cmd_sn=1).pack())
    header[0] = opcode | immediate
    talk.said.append(bytes(header))

    talk.bytes(bytes(header))

    talk.target(rejected(RejectReason.COMMAND_NOT_SUPPORTED))
    talk.initiator(command(1))
    talk.target(good(1))


def test_a_login_request_after_login_is_rejected():
    """§11.12: that phase is over."""
    talk = full_feature()

    talk.initiator(LoginRequest(initiator_task_tag=1, cmd_sn=1))

    talk.target(rejected(RejectReason.PROTOCOL_ERROR))


@pytest.mark.parametrize(
    "said",
    [
        command(1),
        read(1),
        write(1, data=pattern(512)),
        DataOut(initiator_task_tag=1, data=b"1234"),
        TaskManagementRequest(function=5, initiator_task_tag=1),
    ],
    ids=lambda said: type(said).__name__,
)
def test_a_discovery_session_knows_no_scsi(said):
    """Reject 05h."""
    talk = discovery("iqn.2025-01.pub.scsipub:blank")

    talk.initiator(said)

    talk.target(rejected(RejectReason.COMMAND_NOT_SUPPORTED))


def test_a_discovery_session_lists_pings_and_leaves():
    """§4.3: what it is for."""
    talk = discovery("iqn.2025-01.pub.scsipub:a", "iqn.2025-01.pub.scsipub:b")

    talk.initiator(
        TextRequest(initiator_task_tag=1, data=b"SendTargets=All\0"),
        NopOut(immediate=True, initiator_task_tag=2),
        LogoutRequest(initiator_task_tag=3),
    )

    talk.target(
        TextResponse(
            initiator_task_tag=1,
            data=b"TargetName=iqn.2025-01.pub.scsipub:a\0TargetName=iqn.2025-01.pub.scsipub:b\0",
        ),
        NopIn(initiator_task_tag=2),
        LogoutResponse(initiator_task_tag=3, time2wait=2),
    )


def test_a_discovery_session_asks_only_so_often():
    """Then the connection is closed."""
    talk = discovery("iqn.2025-01.pub.scsipub:a")

    with pytest.raises(FramingLost):
        for tag in range(1000):
            talk.initiator(TextRequest(initiator_task_tag=tag, data=b"SendTargets=All\0"))
    assert len(talk.heard) == Limits().discovery_pdus


def test_an_additional_header_that_lies_is_rejected():
    """§11.2.2: it says that it is longer than TotalAHSLength."""
    talk = full_feature()

    talk.initiator(command(1, ahs=b"\0\6\1\0abcd"), command(2))

    talk.target(rejected(RejectReason.PROTOCOL_ERROR), good(2))


def test_the_expected_length_of_a_bidirectional_read_is_ignored():
    """§11.2.2.4: we have no bidirectional commands; the header is well-formed, so the command runs."""
    talk = full_feature()

    talk.initiator(command(1, ahs=b"\0\5\2\0\0\0\2\0"))

    talk.target(good(1))


@pytest.mark.parametrize("seed", range(4))
def test_reserved_bits_are_ignored(seed):
    """All of them set, and the command is the same command."""
    talk = full_feature()
    said = bytearray(talk.pack(read(1)))
    said[0] |= 0x80
    said[1] |= 0x18
    said[2:4] = b"\xff\xff"
    said[28:32] = bytes([seed] * 4)  # ExpStatSN: nothing is kept to be sent again

    talk.bytes(bytes(said))

    talk.target(data_in(1, bytes(512)))


def test_before_a_shutdown_the_initiator_is_asked_to_log_out():
    """§11.9: asynchronous event 1 with the seconds that are left."""
    talk = full_feature()

    talk.do(lambda: talk.session.ask_for_logout(3))

    message = talk.heard.pop()
    assert (message.async_event, message.parameter3) == (1, 3)
    assert attrs.evolve(message, stat_sn=0).initiator_task_tag == NO_TAG
