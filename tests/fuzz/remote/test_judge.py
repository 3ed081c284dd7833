"""The judge holds answers against what was said: the last thing right, and the first thing wrong."""

import struct
from collections import Counter

import pytest

from fuzz.find import Find
from fuzz.hearing import HEADER, Facts
from fuzz.remote.ground import CANARY, fresh
from fuzz.remote.link import Answer
from fuzz.remote.verdicts import FarJudge
from fuzz.steps import fill

FACTS = Facts(
    header_digest=False, data_digest=False, max_send=8192, max_receive=4096, first_burst=4096, max_burst=4096,
    initial_r2t=False, immediate_data=True, cid=0, cmd_sn=1, stat_sn=10,
)  # fmt: skip
READ, WRITE = 0x28, 0x2A


def cdb(opcode, first, count):
    return struct.pack(">BBIxHx6x", opcode, 0, first, count)


@pytest.fixture
def disk():
    return fresh(bytes(512 * 64), 512, 64)


@pytest.fixture
def judge(disk):
    return FarJudge(FACTS, {0: disk}, Counter(), Counter())


def command(judge, tag, it, *, read=0, write=b"", clean=True):
    flags = 0x81 | (0x40 if read else 0) | (0x20 if write else 0)
    head = HEADER.pack(
        1, flags, 0, 0, len(write), 0, tag, read or len(write), judge.exp_cmd_sn, 0, 0, 0, 0, 0
    )
    judge.said(head[:32] + it + write, clean=clean)


def answer(judge, opcode, tag, *, flags=0x80, b2=0, b3=0, data=b"", exp=None, words=(0, 0, 0), stat=None):
    stat = judge.stat_sn if stat is None else stat
    exp = judge.exp_cmd_sn if exp is None else exp
    head = HEADER.pack(opcode, flags, b2, b3, len(data), 0, tag, 0xFFFFFFFF, stat, exp, exp + 31, *words)
    judge.heard(Answer(head, data), 0.0)


def data_in(judge, tag, data, *, flags=0x81, offset=0, number=0, residual=0, stat=None):
    stat = stat if stat is not None or flags & 1 else 0
    answer(judge, 0x25, tag, flags=flags, data=data, words=(number, offset, residual), stat=stat)


def test_a_read_of_what_lies_there_is_right(judge):
    command(judge, 1, cdb(READ, 0, 2), read=1024)
    data_in(judge, 1, bytes(1024))

    assert judge.waits() is None


def test_a_command_without_an_answer_is_owed_one(judge):
    command(judge, 1, cdb(READ, 0, 2), read=1024)

    assert judge.waits() == ("READ(10)", 1)


def test_what_was_written_must_be_read(judge):
    command(judge, 1, cdb(WRITE, 3, 2), write=fill(1, 1024))
    answer(judge, 0x21, 1)
    command(judge, 2, cdb(READ, 3, 2), read=1024)
    data_in(judge, 2, fill(1, 1024))
    command(judge, 3, cdb(READ, 3, 2), read=1024)

    with pytest.raises(Find, match="wrong data: written, but not here"):
        data_in(judge, 3, fill(2, 1024))


def test_a_read_that_overlapped_a_write_proves_nothing(judge):
    command(judge, 1, cdb(WRITE, 3, 2), write=fill(1, 1024))
    command(judge, 2, cdb(READ, 4, 1), read=512)
    data_in(judge, 2, bytes(512))
    answer(judge, 0x21, 1)


def test_a_write_refused_may_be_there_or_not(judge):
    command(judge, 1, cdb(WRITE, 3, 1), write=fill(1, 512))
    answer(judge, 0x21, 1, b3=8)
    command(judge, 2, cdb(READ, 3, 1), read=512)
    data_in(judge, 2, fill(1, 512))


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("DataSN", {"number": 1}),
        ("out of order", {"offset": 512}),
        ("residual", {"flags": 0x83, "residual": 512}),
        ("StatSN", {"stat": 11}),
    ],
)
def test_numbers_that_are_not_what_they_must_be(judge, kind, how):
    command(judge, 1, cdb(READ, 0, 2), read=1024)

    with pytest.raises(Find, match=kind):
        data_in(judge, 1, bytes(1024), **how)


def test_more_data_than_was_expected(judge):
    command(judge, 1, cdb(READ, 0, 2), read=512)

    with pytest.raises(Find, match="more data than expected"):
        data_in(judge, 1, bytes(1024))


def test_more_data_than_a_segment_may_hold(judge):
    command(judge, 1, cdb(READ, 0, 16), read=8192)

    with pytest.raises(Find, match="Data-In too long"):
        data_in(judge, 1, bytes(4100), flags=0)


def test_an_answer_to_nothing_and_one_after_the_end(judge):
    command(judge, 1, bytes(16))
    answer(judge, 0x21, 1)

    with pytest.raises(Find, match="SCSI Response after the end"):
        answer(judge, 0x21, 1)
    with pytest.raises(Find, match="SCSI Response to nothing"):
        answer(judge, 0x21, 2)


def test_a_known_kind_is_counted_and_not_raised(judge):
    judge.muted["SCSI Response to nothing"] = 0

    answer(judge, 0x21, 2)

    assert judge.muted["SCSI Response to nothing"] == 1


def test_beyond_the_end_must_not_end_well(judge):
    command(judge, 1, cdb(READ, 63, 2), read=1024)

    with pytest.raises(Find, match=r"out of range: READ\(10\)"):
        data_in(judge, 1, bytes(1024))


def test_an_operation_code_that_nobody_has_is_refused(judge):
    command(judge, 1, b"\x61" + bytes(15))

    with pytest.raises(Find, match="unknown operation code"):
        answer(judge, 0x21, 1)


def test_check_condition_brings_sense(judge):
    command(judge, 1, bytes(16))

    with pytest.raises(Find, match="sense is missing"):
        answer(judge, 0x21, 1, b3=2)


@pytest.mark.parametrize(("data", "kind"), [(CANARY * 2, "another session"), (fill(7, 36), "write data")])
def test_bytes_that_have_no_business_there(judge, data, kind):
    command(judge, 1, b"\x12\0\0\0\x24\0" + bytes(10), read=36)

    with pytest.raises(Find, match=f"leak: {kind}"):
        data_in(judge, 1, data.ljust(36, b"\0"))


def test_a_ping_comes_back_as_it_was(judge):
    head = HEADER.pack(0x40, 0x80, 0, 0, 4, 0, 9, 0xFFFFFFFF, 1, 0, 0, 0, 0, 0)
    judge.said(head + b"ping", clean=True)

    with pytest.raises(Find, match="NOP-In with other data"):
        answer(judge, 0x20, 9, data=b"pong")


def test_after_a_broken_pdu_nothing_is_owed_any_more(judge):
    command(judge, 1, cdb(READ, 0, 2), read=1024, clean=False)

    assert judge.tainted
    assert judge.waits() is None


def test_half_a_pdu_makes_the_rest_uncertain(judge, disk):
    judge.said(bytes(47), clean=False)

    assert judge.lost
    assert disk.unsure


def test_task_management_leaves_what_it_may_have_aborted_unasked(judge):
    command(judge, 1, cdb(WRITE, 3, 1), write=fill(1, 512))
    judge.said(HEADER.pack(0x42, 0x82, 0, 0, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0), clean=True)
    assert judge.waits() == ("Task Management Response", 5)

    answer(judge, 0x22, 5)
    answer(judge, 0x21, 1)  # it had been too late

    assert judge.waits() is None


def test_a_reject_quotes_what_was_sent(judge):
    with pytest.raises(Find, match="never sent"):
        answer(judge, 0x3F, 0xFFFFFFFF, b2=4, data=bytes(48))


def test_a_tag_of_a_command_that_was_given_up_may_get_the_answers_of_either(judge):
    """An abort may have come too late, and another command have been given the same tag."""
    command(judge, 1, cdb(READ, 0, 2), read=1024)
    judge.said(HEADER.pack(0x42, 0x81, 0, 0, 0, 0, 5, 1, 1, 0, 0, 0, 0, 0), clean=True)
    command(judge, 1, cdb(READ, 0, 1), read=512)

    data_in(judge, 1, bytes(1024))

    assert judge.tainted
