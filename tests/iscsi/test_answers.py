"""Answers: read data in segments and bursts, residuals, and sense."""

import pytest

from scsipub.errors import CheckCondition
from scsipub.iscsi.data import residual
from scsipub.iscsi.pdu import ScsiCommand
from tests.support.talk import (
    CHECK,
    Sense,
    cdb,
    command,
    data_in,
    data_out,
    full_feature,
    good,
    pattern,
    read,
    read_10,
    write,
)

INQUIRY_36 = cdb("120000002400")
READ_CAPACITY = cdb("25")


@pytest.mark.parametrize("segment", [512, 1000, 4096, 65536, 262144, 2**24 - 1])
@pytest.mark.parametrize("burst", [512, 4096, 65536, 2**24 - 1])
@pytest.mark.parametrize("blocks", [1, 2, 8, 129, 600])
def test_reads_arrive_in_segments_and_bursts_as_negotiated(segment, burst, blocks):
    """RFC 7143 §13.12, §13.13, §11.7.1: no segment longer than declared; F where a burst is complete."""
    talk = full_feature(MaxRecvDataSegmentLength=segment, MaxBurstLength=burst)
    talk.disk.content[:] = pattern(len(talk.disk.content))
    size = blocks * 512

    talk.initiator(read(1, blocks=blocks))

    answers = talk.expect_data(1, pattern(len(talk.disk.content))[:size])
    at = 0
    for each in answers:
        assert each.buffer_offset == at
        at += len(each.data)
        assert each.final == (at % burst == 0 or at == size)
        assert each.has_status == (at == size)


@pytest.mark.parametrize("cached", [True, False])
def test_a_read_from_a_thread_looks_like_any_other(cached):
    """§11.7: where the bytes come from is nobody's business."""
    talk = full_feature(MaxRecvDataSegmentLength=8192, MaxBurstLength=16384)
    talk.disk.content[:] = pattern(len(talk.disk.content))
    talk.disk.cached = cached

    talk.initiator(read(1, lba=3, blocks=700))

    answers = talk.expect_data(1, pattern(len(talk.disk.content))[1536 : 1536 + 700 * 512])
    assert [len(each.data) for each in answers] == [8192] * 43 + [6144]


@pytest.mark.parametrize("expected", [0, 1, 511, 512, 513, 1024, 4096, 0xFFFFFFFF])
@pytest.mark.parametrize("blocks", [1, 2])
def test_what_was_expected_and_what_the_cdb_says_are_compared(expected, blocks):
    """§11.4.5.1: never more than expected is sent, and the residual is exact; in both answers."""
    talk = full_feature()
    talk.disk.content[:1024] = pattern(1024)
    size = 512 * blocks

    talk.initiator(read(1, blocks=blocks, expected_data_transfer_length=expected))

    mismatch = {"overflow": size > expected, "underflow": size < expected}
    mismatch["residual_count"] = abs(size - expected)
    if expected == 0:
        talk.target(good(1, **mismatch))
    else:
        talk.target(data_in(1, pattern(1024)[: min(size, expected)], **mismatch))


def test_a_long_read_may_end_inside_a_sector():
    """EDTL of 100,001 bytes for 200 blocks, in segments of 4096."""
    talk = full_feature(MaxRecvDataSegmentLength=4096)
    talk.disk.content[:] = pattern(len(talk.disk.content))

    talk.initiator(read(1, blocks=200, expected_data_transfer_length=100_001))

    last = talk.expect_data(1, pattern(100_001))[-1]
    assert (last.overflow, last.residual_count) == (True, 102_400 - 100_001)


@pytest.mark.parametrize("flags", [{}, {"write": True}])
def test_a_read_without_the_r_bit_sends_nothing(flags):
    """§11.3.1: the initiator has no room for it; the residual says what it missed."""
    talk = full_feature(ImmediateData="No")
    fields = {"expected_data_transfer_length": 0, **flags}

    talk.initiator(command(1, read_10(0, 1), **fields))

    talk.target(good(1, overflow=True, residual_count=512))


@pytest.mark.parametrize(("expected", "sent"), [(36, 36), (100, 36), (10, 10), (0, 0)])
def test_parameter_data_has_a_residual_as_well(expected, sent):
    """§11.4.5.1: INQUIRY of 36 bytes."""
    talk = full_feature()

    talk.initiator(command(1, INQUIRY_36, read=True, expected_data_transfer_length=expected))

    answer = talk.heard.pop()
    assert len(answer.data) == sent
    assert (answer.overflow, answer.underflow) == (expected < 36, expected > 36)
    assert answer.residual_count == abs(expected - 36)


def test_a_command_that_moves_nothing_may_expect_nothing():
    """READ CAPACITY with EDTL=0 and no R bit."""
    talk = full_feature()

    talk.initiator(command(1, READ_CAPACITY))

    talk.target(good(1, overflow=True, residual_count=8))


def test_long_parameter_data_is_cut_into_segments_too():
    """§13.12: REPORT SUPPORTED OPERATION CODES with timeouts has more than 512 bytes."""
    talk = full_feature(MaxRecvDataSegmentLength=512)

    talk.initiator(
        command(1, cdb("a30c800000000000ffff0000"), read=True, expected_data_transfer_length=65535)
    )

    assert len(talk.heard) > 1
    assert [each.final for each in talk.heard[:-1]] == [False] * (len(talk.heard) - 1)


def test_a_refused_read_says_that_nothing_was_moved():
    """§11.4.5.1: underflow of all that was expected."""
    talk = full_feature()

    talk.initiator(read(1, lba=9999))

    answer = talk.heard[0]
    talk.target(Sense(1, 0x05, 0x21, 0x00))
    assert (answer.status, answer.underflow, answer.residual_count) == (CHECK, True, 512)


def test_sense_is_announced_with_its_length():
    """§11.4.7: SenseLength, then the sense; 18 bytes in fixed format."""
    talk = full_feature()

    talk.initiator(read(1, lba=9999))

    data = talk.heard[0].data
    assert data[:2] == b"\0\x12"
    assert len(data) == 20


def test_status_of_one_command_does_not_wait_for_another():
    """§4.2.2.2: StatSN counts answers, in whatever order the commands end."""
    talk = full_feature(ImmediateData="No")
    talk.initiator(write(1), write(2))
    one, two = talk.tags
    talk.heard.clear()

    talk.initiator(data_out(2, 0, pattern(512), ttt=two), data_out(1, 0, pattern(512), ttt=one))

    assert [each.stat_sn for each in talk.target(good(2), good(1))] == [0, 1]


def test_stat_sn_wraps():
    """§4.2.2.2: serial arithmetic; Talk checks every number."""
    talk = full_feature(stat_sn=0xFFFFFFFD)

    for tag in range(6):
        talk.initiator(command(tag))

    assert [each.stat_sn for each in talk.heard][-3:] == [0, 1, 2]


def test_r2t_and_data_in_carry_no_stat_sn_of_their_own():
    """§11.8, §11.7: an R2T shows the next one; a Data-In without status shows none."""
    talk = full_feature(ImmediateData="No", MaxRecvDataSegmentLength=512, stat_sn=50)

    talk.initiator(write(1), read(2, blocks=2))

    assert [each.stat_sn for each in talk.heard] == [50, 0, 50]


@pytest.mark.parametrize(
    ("expected", "actual", "flag", "count"), [(5, 5, 0, 0), (5, 4, 2, 1), (4, 5, 4, 1), (0, 0, 0, 0)]
)
def test_residuals(expected, actual, flag, count):
    assert residual(expected, actual) == (flag, count)


def test_an_aborted_task_is_not_answered_by_whoever_comes_late():
    """§11.5.1: ``respond`` on a task that has ended says nothing, and opens the window no second time."""
    talk = full_feature()
    talk.initiator(write(1))
    talk.heard.clear()
    (task,) = talk.session.tasks.values()
    talk.nexus.abort(task, lambda: None)

    talk.do(lambda: talk.session.respond(task, 0))
    talk.do(lambda: talk.session.check_condition(task, CheckCondition(0x05, 0x24, 0x00)))

    talk.target()
    assert talk.session.window == 32


def test_every_operation_is_counted_once():
    """Fast or slow, good or bad."""
    talk = full_feature()

    talk.initiator(read(1), read(2, blocks=200), read(3, lba=9999), write(4, data=pattern(512)), command(5))

    counters = talk.session.counters
    assert counters.operations == 5
    assert counters.bytes_read == 201 * 512
    assert counters.bytes_written == 512
    assert "2100" in counters.last_error


def test_a_command_of_any_tag_and_unit_is_answered_to_that_tag():
    """§11.4: the tag is the initiator's own affair."""
    talk = full_feature()

    talk.initiator(ScsiCommand(initiator_task_tag=0xDEADBEEF, attribute=1))

    talk.target(good(0xDEADBEEF))
