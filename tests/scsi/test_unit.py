"""The door that every command comes through."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import CheckCondition, CommandEnded
from scsipub.scsi import sense
from scsipub.scsi.cdb import length
from scsipub.scsi.command import Needs, Reserved
from scsipub.scsi.commands import ACTION_OPCODES, COMMANDS
from scsipub.scsi.sense import Key
from scsipub.scsi.unit import Reset
from tests.support.scsi import bench, cdb

TUR = "00 00 00 00 00 00"
READ_10 = "28 00 00 00 00 00 00 00 01 00"
WRITE_10 = "2a 00 00 00 00 00 00 00 01 00"
EJECT = "1b 00 00 00 02 00"


def test_an_operation_code_that_is_not_in_the_table_does_not_exist():
    """SPC-4: INVALID COMMAND OPERATION CODE, 05h/20h/00h."""
    assert bench()("d0").key == (Key.ILLEGAL_REQUEST, 0x20, 0x00)


def test_a_service_action_that_is_not_in_the_table_is_an_invalid_field():
    """SPC-4 §4.3: the field pointer leads to the service action."""
    ended = bench()("9e 1f")

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (1, 4)


def test_a_bit_that_nobody_looks_at_is_refused_where_it_is():
    ended = bench()("28 20 00 00 00 00 00 00 01 00")  # RDPROTECT 001b

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (1, 5)


@pytest.mark.parametrize("control", [0x01, 0x04, 0x80])
def test_naca_and_link_in_the_control_byte_are_refused(control):
    """SAM-5 §5.2: NORMACA is 0, so NACA=1 is an invalid field."""
    ended = bench()(bytes([0, 0, 0, 0, 0, control]))

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (5, control.bit_length() - 1)


@pytest.mark.parametrize("row", COMMANDS.values(), ids=lambda row: row.name)
def test_every_row_has_a_map_as_long_as_its_cdb_and_claims_nothing_of_control(row):
    assert row.size == length(row.opcode)
    assert row.usage[0] == row.opcode
    assert row.usage[-1] == 0
    assert (row.opcode in ACTION_OPCODES) == (row.action is not None)


@pytest.mark.parametrize("row", COMMANDS.values(), ids=lambda row: row.name)
def test_every_unclaimed_bit_of_every_command_is_refused(row):
    """The smallest violation of each usage map: one bit."""
    disk = bench(removable=True)
    for byte, bit in itertools.product(range(1, row.size), range(8)):
        allowed = row.usage[byte] | (0x1F if byte == 1 and row.action is not None else 0)
        if allowed >> bit & 1:
            continue
        raw = bytearray(16)
        raw[0] = row.opcode
        raw[1] = row.action or 0
        raw[byte] |= 1 << bit
        ended = disk(bytes(raw))
        assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
        assert ended.check.field == (byte, bit)


@given(st.binary(min_size=6, max_size=32))
@settings(max_examples=200)
def test_any_cdb_makes_a_plan_or_a_peer_error_and_nothing_else(raw):
    disk = bench(blocks=200)
    try:
        plan = disk.unit.begin(disk.lane, raw, 0.0)
    except (CheckCondition, CommandEnded):
        return
    assert plan.first + plan.count <= 200
    assert plan.data_out <= max(65535, 2 * disk.unit.config.max_transfer_bytes)


@given(
    st.sampled_from(sorted(COMMANDS, key=str)), st.binary(min_size=16, max_size=16), st.binary(max_size=1100)
)
@settings(max_examples=200)
def test_any_command_with_any_data_ends_in_an_answer(key, noise, data):
    """The usage map applied to noise reaches the handlers' own checks."""
    disk = bench(blocks=200, removable=True)
    row = COMMANDS[key]
    raw = bytes(a & b for a, b in zip(noise, row.usage.ljust(16, b"\0"), strict=True))
    raw = bytes([row.opcode, (raw[1] & 0xE0 | row.action) if row.action is not None else raw[1]]) + raw[2:]

    ended = disk(raw, data)
    assert ended.status in (sense.GOOD, sense.CHECK_CONDITION)
    disk.lane.sense_for(ended.check or sense.NOTHING_TO_REPORT)


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x28" + bytes(8), b"\x88" + bytes(14)])
def test_a_cdb_shorter_than_its_command_does_not_exist(raw):
    disk = bench()
    with pytest.raises(CheckCondition):
        disk.unit.begin(disk.lane, raw, 0.0)


def test_the_lane_says_when_reads_and_writes_need_no_questions():
    disk = bench()
    assert (disk.lane.may_read, disk.lane.may_write) == (True, True)

    read_only = bench(read_only=True)
    assert (read_only.lane.may_read, read_only.lane.may_write) == (True, False)


OPERATIONS = {
    "eject": lambda d, lane: d(EJECT, lane=lane),
    "load": lambda d, lane: d("1b 00 00 00 03 00", lane=lane),
    "prevent": lambda d, lane: d("1e 00 00 00 01 00", lane=lane),
    "allow": lambda d, lane: d("1e 00 00 00 00 00", lane=lane),
    "reserve": lambda d, lane: d("16 00 00 00 00 00", lane=lane),
    "release": lambda d, lane: d("17 00 00 00 00 00", lane=lane),
    "look": lambda d, lane: d(TUR, lane=lane),
    "sense": lambda d, lane: d("03 00 00 00 12 00", lane=lane),
    "protect": lambda d, lane: d(
        "15 10 00 00 10 00", bytes(4) + bytes([0x0A, 10, 0, 0x10, 8]) + bytes(7), lane=lane
    ),
    "unprotect": lambda d, lane: d(
        "15 10 00 00 10 00", bytes(4) + bytes([0x0A, 10, 0, 0x10]) + bytes(8), lane=lane
    ),
    "reset": lambda d, lane: d.unit.reset(Reset.LOGICAL_UNIT),
    "resize": lambda d, lane: d.unit.capacity_changed(1000),
    "sanitize begins": lambda d, lane: d.unit.begin(
        lane, bytes.fromhex("48820000000000000000"), 0
    ).background.start(0),
    "sanitize ends": lambda d, lane: d.unit.sanitizing and d.unit.sanitizing.finish(),
    "sanitize fails": lambda d, lane: d.unit.sanitizing and d.unit.sanitizing.finish(sense.sanitize_failed()),
}


@given(
    st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 2)), max_size=25), st.booleans()
)
@settings(max_examples=150, deadline=None)
def test_the_hot_path_flags_agree_with_begin_whatever_happened(story, read_only):
    """``may_read`` is true exactly when a READ would pass every check of ``begin``; likewise for writes."""
    disk = bench(removable=True, read_only=read_only)
    lanes = [disk.lane, disk.another("two"), disk.another("three")]
    for name, who in story:
        try:
            OPERATIONS[name](disk, lanes[who])
        except (CheckCondition, CommandEnded):
            continue
        for lane in lanes:
            row_r, row_w = COMMANDS[(0x28, None)], COMMANDS[(0x2A, None)]
            for row, flag in ((row_r, lane.may_read), (row_w, lane.may_write)):
                try:
                    disk.unit.check_reserved(lane, row, bytes(16))
                    disk.unit.check_conditions(row)
                    passes = not lane.attentions
                except (CheckCondition, CommandEnded):
                    passes = False
                assert flag == passes


def test_a_detached_nexus_may_do_nothing_and_leaves_nothing_behind():
    disk = bench(removable=True)
    disk("1e 00 00 00 01 00")
    disk("16 00 00 00 00 00")
    other = disk.another()
    assert disk(TUR, lane=other).status == sense.RESERVATION_CONFLICT

    disk.unit.detach(disk.lane)
    disk.unit.detach(disk.lane)
    assert (disk.lane.may_read, disk.lane.may_write) == (False, False)
    assert (other.may_read, other.may_write) == (True, True)
    assert disk(EJECT, lane=other).key is None


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Reset.LOGICAL_UNIT, (0x29, 3)), (Reset.TARGET_WARM, (0x29, 0)), (Reset.TARGET_COLD, (0x29, 1))],
)
def test_a_reset_lets_go_of_what_was_held_and_tells_everybody(kind, code):
    """SAM-5 §6.3.3; SPC-2 §5.5: prevention and RESERVE(6) end, the one who asked is told as well."""
    disk = bench(removable=True)
    other = disk.another()
    disk("1e 00 00 00 01 00")
    disk("16 00 00 00 00 00")
    disk.unit.reset(kind)

    for lane in (disk.lane, other):
        assert disk(TUR, lane=lane).key == (Key.UNIT_ATTENTION, *code)
        assert disk(TUR, lane=lane).key is None
    assert disk(EJECT, lane=other).key is None


def test_a_reset_brings_the_default_mode_pages_back():
    """SPC-4 §5.10: current values return to the defaults, as nothing is saved."""
    disk = bench()
    OPERATIONS["protect"](disk, disk.lane)
    assert disk(WRITE_10, bytes(512)).key == (Key.DATA_PROTECT, 0x27, 0x02)

    disk.unit.reset(Reset.LOGICAL_UNIT)
    disk(TUR)
    assert disk(WRITE_10, bytes(512)).key is None


def test_write_protection_comes_before_the_fields_of_the_command():
    """Initiators probe it with commands that would be refused for something else, too."""
    disk = bench(read_only=True)
    for row in COMMANDS.values():
        if Needs.WRITABLE in row.needs:
            raw = bytes([row.opcode, 0xE0 | (row.action or 0)]) + b"\xff" * 14
            assert disk(raw).key == (Key.DATA_PROTECT, 0x27, 0x00), row.name


CHANGES = {
    "preempted": (
        lambda d, other: (
            d("5f 06 00 00 00 00 00 00 18 00", bytes(15) + b"\x01" + bytes(8)),
            d("5f 06 00 00 00 00 00 00 18 00", bytes(15) + b"\x02" + bytes(8), lane=other),
            d("5f 01 03 00 00 00 00 00 18 00", bytes(7) + b"\x02" + bytes(16), lane=other),
        ),
        sense.RESERVATION_CONFLICT,
        None,
    ),
    "write protected": (
        lambda d, other: OPERATIONS["protect"](d, other),
        sense.CHECK_CONDITION,
        (Key.DATA_PROTECT, 0x27, 0x02),
    ),
    "sanitizing": (
        lambda d, other: OPERATIONS["sanitize begins"](d, other),
        sense.CHECK_CONDITION,
        (Key.NOT_READY, 0x04, 0x1B),
    ),
    "ejected": (
        lambda d, other: d(EJECT, lane=other),
        sense.CHECK_CONDITION,
        (Key.NOT_READY, 0x3A, 0x00),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("raw", [WRITE_10, "93 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00"])
def test_data_that_comes_after_the_command_lost_its_right_is_not_written(change, raw):
    """SPC-4 §5.13.1: a nexus that was fenced off must not write, however early its command was let in."""
    disk = bench(removable=True)
    other = disk.another()
    happens, status, key = CHANGES[change]
    plan = disk.unit.begin(disk.lane, bytes.fromhex(raw).ljust(16, b"\0"), 0.0)
    happens(disk, other)
    with pytest.raises((CheckCondition, CommandEnded)) as refused:
        (plan.piece or (lambda medium, _, data: plan.run(medium, data)))(disk.medium, 0, b"x" * 512)

    error = refused.value
    assert disk.medium.read(0, 1) == bytes(512)
    if key is None:
        assert error.status == status
    else:
        assert (error.key, error.asc, error.ascq) == key


def test_a_unit_attention_does_not_end_a_write_that_has_begun():
    disk = bench()
    plan = disk.unit.begin(disk.lane, bytes.fromhex(WRITE_10).ljust(16, b"\0"), 0.0)
    disk.unit.capacity_changed(2048)
    plan.piece(disk.medium, 0, b"x" * 512)
    assert disk.medium.read(0, 1) == b"x" * 512


def test_a_missing_medium_comes_before_write_protection():
    disk = bench(read_only=True, removable=True)
    disk(EJECT)
    for row in COMMANDS.values():
        raw = bytes([row.opcode, row.action or 0]) + b"\xff" * 14
        if Needs.MEDIUM in row.needs:
            assert disk(raw).key == (Key.NOT_READY, 0x3A, 0x00), row.name
        else:
            assert disk(raw).key != (Key.NOT_READY, 0x3A, 0x00), row.name


def test_a_unit_that_is_not_ready_says_that_it_becomes_so():
    """Until the state of a unit is loaded: 02h/04h/01h."""
    disk = bench()
    disk.unit.ready = False
    disk.unit.refresh()

    assert not disk.lane.may_read
    assert disk(TUR).key == (Key.NOT_READY, 0x04, 0x01)
    assert disk("12 00 00 00 24 00").key is None


def test_statistics_count_what_happened():
    disk = bench()
    other = disk.another()
    disk("16 00 00 00 00 00")
    disk("ff")
    disk(TUR, lane=other)
    disk.unit.luns_changed()
    disk(TUR)

    counted = disk.unit.statistics()
    assert (counted.lanes, counted.commands, counted.refused, counted.conflicts, counted.attentions) == (
        2,
        4,
        2,
        1,
        1,
    )


def test_a_unit_has_at_least_one_block():
    with pytest.raises(ValueError, match="blocks"):
        bench(blocks=0)


def test_who_may_pass_a_reservation_is_a_column_of_the_table():
    assert COMMANDS[(0x28, None)].reserved is Reserved.READS
    assert COMMANDS[(0x2A, None)].reserved is Reserved.WRITES
    assert all(row.reserved is Reserved.WRITES for row in COMMANDS.values() if Needs.WRITABLE in row.needs), (
        "whatever writes is refused by write exclusive"
    )


def test_a_read_of_a_plain_block_needs_no_unit():
    """The smallest whole story: write a block, read it back."""
    disk = bench()
    payload = bytes(range(256)) * 2

    assert disk(cdb("2a 00 L:4 00 N:2 00", L=7, N=1), payload).key is None
    assert disk(cdb("28 00 L:4 00 N:2 00", L=7, N=1)).data == payload
