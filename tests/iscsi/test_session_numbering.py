"""Command numbering: the order in which commands run, and the window they run in."""

import attrs
import pytest

from scsipub.errors import FramingLost
from scsipub.iscsi.constants import RejectReason, TaskFunction
from scsipub.iscsi.pdu import NopIn, NopOut, TaskManagementRequest, TaskManagementResponse
from scsipub.limits import Limits
from tests.support.talk import command, data_in, data_out, full_feature, good, pattern, read, rejected, write


def test_commands_run_in_the_order_of_their_numbers():
    """RFC 7143 §4.2.2.1: 3, 2, 1 arrive, 1, 2, 3 are executed."""
    talk = full_feature()

    talk.initiator(command(3, cmd_sn=3), command(2, cmd_sn=2))
    talk.target()
    talk.initiator(command(1, cmd_sn=1))
    talk.target(good(1), good(2), good(3))


def test_a_gap_holds_back_everything_behind_it():
    """§4.2.2.1: delivery to SCSI is in CmdSN order, so 3 waits for 2 although 1 is done."""
    talk = full_feature()

    talk.initiator(command(1, cmd_sn=1), command(3, cmd_sn=3), command(4, cmd_sn=4))
    talk.target(good(1))
    talk.initiator(command(2, cmd_sn=2))
    talk.target(good(2), good(3), good(4))


def test_a_rejected_command_still_lets_those_behind_it_run():
    """§4.2.2.1: a rejected PDU has used its CmdSN up; what waited for it must not wait for ever."""
    talk = full_feature()
    talk.initiator(write(9, cmd_sn=1))
    talk.heard.clear()

    talk.initiator(command(3, cmd_sn=3), command(9, cmd_sn=2))

    talk.target(rejected(RejectReason.TASK_IN_PROGRESS), good(3))


def test_numbers_wrap_without_a_stall():
    """§4.2.2.1: CmdSN is a serial number of 32 bits."""
    talk = full_feature(cmd_sn=0xFFFFFFFE)

    for tag in range(10):
        talk.initiator(command(tag))
        answer = talk.target(good(tag))[0]
        assert answer.exp_cmd_sn == (0xFFFFFFFF + tag) & 0xFFFFFFFF
        assert answer.max_cmd_sn == (answer.exp_cmd_sn + 31) & 0xFFFFFFFF


def test_the_order_holds_across_the_wrap():
    """1 after 0xFFFFFFFF and 0, although they came backwards."""
    talk = full_feature(cmd_sn=0xFFFFFFFF)
    pdus = [attrs.evolve(command(tag), cmd_sn=sn) for tag, sn in ((3, 1), (2, (1 << 32) - 1))]
    zero = bytearray(talk.pack(command(1, cmd_sn=7)))
    zero[24:28] = bytes(4)

    talk.initiator(pdus[0])
    talk.bytes(bytes(zero))
    talk.target()
    talk.initiator(pdus[1])
    talk.target(good(2), good(1), good(3))


@pytest.mark.parametrize("window", [1, 2, 32])
def test_the_last_number_of_the_window_is_taken_and_the_next_ignored(window):
    """MaxCmdSN is allowed; MaxCmdSN + 1 is as if it had never been sent."""
    talk = full_feature(limits=Limits(command_window=window))

    talk.initiator(command(1, cmd_sn=1 + window))
    for n in range(2, window + 1):
        talk.initiator(command(n, cmd_sn=n))
    talk.target()
    talk.initiator(command(1, cmd_sn=1))
    talk.target(*(good(n) for n in range(1, window + 1)))
    talk.initiator(command(77, cmd_sn=1 + window))
    talk.target(good(77))


def test_a_number_from_the_past_is_ignored():
    """CmdSN below ExpCmdSN is a duplicate; nothing is said about it, and nothing done."""
    talk = full_feature()
    talk.initiator(command(1, cmd_sn=1))
    talk.target(good(1))

    talk.initiator(write(2, data=pattern(512), cmd_sn=1), NopOut(initiator_task_tag=3, cmd_sn=(1 << 32) - 5))

    talk.target()
    assert not any(talk.disk.content)


def test_the_first_of_two_with_the_same_number_counts():
    """§4.2.2.1: the second is a duplicate, also while both wait."""
    talk = full_feature()

    talk.initiator(command(2, cmd_sn=2), command(22, cmd_sn=2), command(1, cmd_sn=1))

    talk.target(good(1), good(2))


def test_a_full_window_closes_and_opens_by_one_for_each_command_that_ends():
    """MaxCmdSN = ExpCmdSN - 1 says "no more"; each status opens the window again."""
    talk = full_feature(InitialR2T="Yes", ImmediateData="No")
    talk.initiator(*(write(tag) for tag in range(1, 33)))
    last = talk.heard[-1]
    assert last.max_cmd_sn == last.exp_cmd_sn - 1
    talk.heard.clear()

    talk.initiator(command(99, cmd_sn=33))
    talk.target()
    talk.initiator(data_out(1, 0, pattern(512), ttt=talk.tags[0]))
    answer = talk.target(good(1))[0]
    assert answer.max_cmd_sn == answer.exp_cmd_sn
    talk.initiator(command(99, cmd_sn=33))
    talk.target(good(99))


def test_a_ping_is_answered_while_the_window_is_full():
    """Immediate commands pass a closed window."""
    talk = full_feature()
    talk.initiator(*(write(tag) for tag in range(1, 33)))
    talk.heard.clear()

    talk.initiator(NopOut(immediate=True, initiator_task_tag=50, data=b"ping"))

    talk.target(NopIn(initiator_task_tag=50, data=b"ping"))


def test_immediate_commands_run_at_once_and_use_no_number():
    """§4.2.2.1: an immediate command carries the next CmdSN but does not take it."""
    talk = full_feature()

    talk.initiator(command(2, cmd_sn=2), command(5, immediate=True, cmd_sn=1))
    answer = talk.target(good(5))[0]
    assert answer.exp_cmd_sn == 1
    talk.initiator(command(1, cmd_sn=1))
    talk.target(good(1), good(2))


def test_eight_immediate_commands_may_be_outstanding_and_not_nine():
    """§4.2.2.1: one more is rejected with 06h; it may be sent again later."""
    talk = full_feature()
    talk.initiator(*(write(tag, immediate=True) for tag in range(8)))
    talk.heard.clear()

    talk.initiator(write(8, immediate=True))
    talk.target(rejected(RejectReason.TOO_MANY_IMMEDIATE_COMMANDS))
    talk.initiator(data_out(0, 0, pattern(512), ttt=talk.tags[0]))
    talk.target(good(0))
    talk.initiator(command(8, immediate=True))
    talk.target(good(8))


def test_data_of_a_command_that_was_one_too_many_is_swallowed():
    """One Reject for the command, none for what it had announced."""
    talk = full_feature(InitialR2T="No")
    talk.initiator(*(write(tag, immediate=True) for tag in range(8)))
    talk.heard.clear()

    talk.initiator(write(8, immediate=True, final=False), data_out(8, 0, pattern(512)), command(9))

    talk.target(rejected(RejectReason.TOO_MANY_IMMEDIATE_COMMANDS), good(9))


def test_a_tag_in_use_is_rejected_and_its_task_lives_on():
    """§11.2.1.8: the initiator task tag must be unique; the first owner is not disturbed."""
    talk = full_feature()
    talk.initiator(write(7))
    talk.heard.clear()

    talk.initiator(read(7))
    talk.target(rejected(RejectReason.TASK_IN_PROGRESS))
    talk.initiator(data_out(7, 0, pattern(512), ttt=talk.tags[0]))
    talk.target(good(7))


def test_a_tag_may_be_used_again_once_its_status_is_out():
    """§11.2.1.8: and is by every initiator."""
    talk = full_feature()

    talk.initiator(command(7))
    talk.target(good(7))
    talk.initiator(read(7))
    talk.target(data_in(7, bytes(512)))


def test_the_reserved_tag_names_no_command():
    """§11.2.1.8: FFFFFFFFh is reserved."""
    talk = full_feature()

    talk.initiator(command(0xFFFFFFFF))
    talk.target(rejected(RejectReason.INVALID_PDU_FIELD))
    talk.initiator(command(0xFFFFFFFE))
    talk.target(good(0xFFFFFFFE))


def test_a_command_that_waits_for_its_turn_brings_its_unsolicited_data_along():
    """§4.2.2.1: Data-Out carries no CmdSN; it belongs to its command wherever that waits."""
    talk = full_feature(InitialR2T="No", ImmediateData="Yes")
    data = pattern(1024)

    talk.initiator(write(2, blocks=2, data=data[:512], final=False, cmd_sn=2), data_out(2, 512, data[512:]))
    talk.target()
    talk.initiator(command(1, cmd_sn=1))
    talk.target(good(1), good(2))
    assert talk.disk.content[:1024] == data


def test_a_command_ahead_of_its_turn_cannot_be_aborted_under_another_name():
    """§11.5.1: ABORT TASK names the task by its tag; RefCmdSN alone does not pick a victim."""
    talk = full_feature()
    talk.initiator(command(2, cmd_sn=2))

    talk.initiator(abort(9, referenced=77, ref_cmd_sn=2))
    talk.target(TaskManagementResponse(initiator_task_tag=9, response=1))
    talk.initiator(command(1, cmd_sn=1))
    talk.target(good(1), good(2))


def test_a_command_ahead_of_its_turn_can_be_aborted():
    """§11.5.1: what waits in the window is over; its number is used up and nothing is answered for it."""
    talk = full_feature()
    talk.initiator(command(2, cmd_sn=2), command(3, cmd_sn=3))

    talk.initiator(abort(9, referenced=2, ref_cmd_sn=2))
    talk.target(TaskManagementResponse(initiator_task_tag=9, response=0))
    talk.initiator(command(1, cmd_sn=1))
    talk.target(good(1), good(3))
    assert talk.session.exp_cmd_sn == 4
    assert not talk.session.may_ping  # nobody has shown that it knows NOPs


def test_a_command_that_never_came_counts_as_received_and_aborted():
    """§11.5.1: its number lies in the window and before that of the request, so it is complete."""
    talk = full_feature()
    talk.initiator(command(2, cmd_sn=2))

    talk.initiator(abort(9, referenced=1, ref_cmd_sn=1, cmd_sn=3))

    talk.target(TaskManagementResponse(initiator_task_tag=9, response=0), good(2))
    talk.initiator(command(1, cmd_sn=1))
    talk.target()


def test_a_command_that_is_over_cannot_be_aborted():
    """§11.5.1: its number lies before the window: the task does not exist."""
    talk = full_feature()
    talk.initiator(command(1, cmd_sn=1))
    talk.target(good(1))

    talk.initiator(abort(9, referenced=1, ref_cmd_sn=1, cmd_sn=2))

    talk.target(TaskManagementResponse(initiator_task_tag=9, response=1))


def test_what_waits_for_its_turn_is_bounded():
    """A window full of large commands that can never run must not be kept for ever."""
    limits = Limits(command_window=64)
    talk = full_feature(limits=limits, InitialR2T="No", FirstBurstLength=262144)
    data = bytes(262144)

    with pytest.raises(FramingLost, match="ahead of their turn"):
        for n in range(2, 64):
            talk.initiator(write(n, blocks=512, data=data, cmd_sn=n))
    held = sum(len(each) for pdus in talk.session.held.values() for each in pdus)
    assert held <= limits.session_write_bytes


def abort(tag: int, *, referenced: int, ref_cmd_sn: int, **fields: int) -> TaskManagementRequest:
    return TaskManagementRequest(
        immediate=True, function=TaskFunction.ABORT_TASK, initiator_task_tag=tag,
        referenced_task_tag=referenced, ref_cmd_sn=ref_cmd_sn, **{"cmd_sn": 3, **fields},
    )  # fmt: skip
