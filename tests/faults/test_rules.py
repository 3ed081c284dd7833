"""scsipub/faults/rules.py: which command meets which fault, and the same again for the same seed."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import OperatorError
from scsipub.faults.rules import MOST_EVENTS, Fault, Injector, Rule, blocks_of
from scsipub.faults.written import MOST_RULES
from scsipub.scsi.commands import COMMANDS


def read_10(first, count=1):
    return struct.pack(">BxIxHx", 0x28, first, count)


def write_16(first, count=1):
    return struct.pack(">BxQIxx", 0x8A, first, count)


def strikes(rule, cdbs, seed=1, lun=0, now=0.0):
    injector = Injector([Rule.parse(rule)], seed, 0.0)
    return [injector.strike(now, lun, cdb) is not None for cdb in cdbs]


# -- writing them --------------------------------------------------------------------------------------------


def test_words_and_json_say_the_same():
    words = Rule.parse("medium-error opcode=READ(10),2Ah lba=100-199 p=0.5 skip=3 times=2 lun=1")

    json = {"fault": "medium-error", "opcode": ["READ_10", 0x2A], "lba": [100, 199], "p": 0.5}
    assert words == Rule.from_json(json | {"skip": 3, "times": 2, "lun": 1})
    assert Rule.from_json(words.to_json()) == words


@pytest.mark.parametrize("name", ["READ(10)", "read(10)", "READ_10", "read10", "28h", "0x28", "40"])
def test_a_command_may_be_written_in_each_usual_way(name):
    assert Rule.parse(f"busy opcode={name}").opcode == {0x28}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is no fault"),
        ("explode", "'explode' is no fault.  Faults are delay"),
        ("busy when=now", "no 'when'"),
        ("busy often", "'often' is no NAME=VALUE"),
        ("busy opcode=READ(11)", "no operation code"),
        ("busy opcode=256", "no operation code"),
        ("busy lba=9-3", "no range"),
        ("busy lba=-3", "no range"),
        ("busy p=1.1", "between 0 and 1"),
        ("busy p=nan", "between 0 and 1"),
        ("busy p=often", "cannot be read"),
        ("delay seconds=3601", "between 0 and 3600"),
        ("delay seconds=-1", "between 0 and 3600"),
        ("busy times=1.5", "cannot be read"),
        ("busy lun=-1", "no count"),
    ],
)
def test_what_is_no_rule_is_refused_in_words(text, says):
    with pytest.raises(OperatorError) as refused:
        Rule.parse(text)
    assert says in str(refused.value)


FIELDS = st.sampled_from(["fault", "opcode", "lba", "p", "skip", "seconds"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner),
)


@given(JSON)
def test_any_json_is_a_rule_or_is_refused_in_words(data):
    with contextlib.suppress(OperatorError):
        Rule.from_json(data | {"fault": "busy"} if isinstance(data, dict) else data)


def test_so_many_rules_are_taken_and_no_more():
    rule = Rule.parse("busy")
    Injector([rule] * MOST_RULES, 1, 0.0)

    with pytest.raises(OperatorError, match="too many"):
        Injector([rule] * (MOST_RULES + 1), 1, 0.0)


# -- what fits -----------------------------------------------------------------------------------------------


def test_a_rule_without_conditions_strikes_every_command():
    assert strikes("busy", [bytes(6), read_10(5), write_16(7)]) == [True, True, True]


def test_operation_codes_choose():
    assert strikes("busy opcode=READ(10)", [read_10(5), write_16(5)]) == [True, False]


def test_blocks_choose_by_any_block_the_command_touches():
    """Both ends belong to the range."""
    cdbs = [read_10(9), read_10(10), read_10(19), read_10(20), read_10(8, 2), read_10(8, 3), bytes(6)]

    assert strikes("busy lba=10-19", cdbs) == [False, True, True, False, False, True, False]


def test_a_command_for_no_blocks_touches_none():
    """SBC-4: a transfer length of zero is no error and no transfer."""
    assert strikes("busy lba=0-", [read_10(5, 0)]) == [False]


def test_the_unit_chooses():
    assert strikes("busy lun=1", [bytes(6)], lun=1) == [True]
    assert strikes("busy lun=1", [bytes(6)], lun=0) == [False]


@pytest.mark.parametrize(("now", "struck"), [(0.9, False), (1.0, True), (1.99, True), (2.0, False)])
def test_time_chooses(now, struck):
    assert strikes("busy after=1 until=2", [bytes(6)], now=now) == [struck]


def test_skip_leaves_the_first_alone_and_times_ends_it():
    assert strikes("busy skip=2 times=3", [bytes(6)] * 7) == [False, False, True, True, True, False, False]


def test_the_first_rule_that_strikes_wins():
    injector = Injector([Rule.parse("busy times=1"), Rule.parse("cut")], 1, 0.0)

    assert [injector.strike(0.0, 0, bytes(6)).fault for _ in range(2)] == [Fault.BUSY, Fault.CUT]


@pytest.mark.parametrize(
    "row", [row for row in COMMANDS.values() if row.action is None], ids=lambda r: r.name
)
def test_blocks_are_where_the_command_has_them(row):
    """Against the usage maps of the command table: a field of addresses is one the command looks at."""
    touched = blocks_of(bytes([row.opcode]) + bytes([0xFF]) * (row.size - 1))

    if touched is not None:
        place = slice(1, 4) if row.size == 6 else slice(2, 10) if row.size == 16 else slice(2, 6)
        assert all(row.usage[place][1 if row.size == 6 else 0 :])


# -- chance --------------------------------------------------------------------------------------------------


def test_the_same_seed_strikes_the_same_commands():
    assert strikes("busy p=0.3", [bytes(6)] * 200, seed=7) == strikes("busy p=0.3", [bytes(6)] * 200, seed=7)


def test_another_seed_strikes_others():
    assert strikes("busy p=0.3", [bytes(6)] * 200, seed=7) != strikes("busy p=0.3", [bytes(6)] * 200, seed=8)


def test_chance_is_about_what_was_asked_for():
    assert 250 < sum(strikes("busy p=0.3", [bytes(6)] * 1000)) < 350


def test_another_rule_does_not_move_the_dice_of_this_one():
    alone = strikes("busy p=0.3 opcode=READ(10)", [read_10(n) for n in range(100)])
    injector = Injector([Rule.parse("busy p=0.3 opcode=READ(10)"), Rule.parse("delay p=0.5")], 1, 0.0)
    both = [injector.strike(0.0, 0, read_10(n)) for n in range(100)]

    assert [rule is not None and rule.fault is Fault.BUSY for rule in both] == alone


# -- what is told --------------------------------------------------------------------------------------------


def test_every_fault_is_an_event_that_says_when_and_what():
    injector = Injector([Rule.parse("cut opcode=READ(10)")], 5, 100.0)
    injector.strike(101.0, 0, bytes(6))
    injector.strike(102.5, 3, read_10(77))

    said = injector.to_json()

    assert (said["seed"], said["commands"], said["struck"]) == (5, 2, 1)
    assert said["events"] == [
        {"at": 2.5, "command": 1, "fault": "cut", "rule": 0, "opcode": 0x28, "lun": 3, "lba": 77}
    ]


def test_events_are_bounded_and_the_count_is_not():
    injector = Injector([Rule.parse("busy")], 1, 0.0)
    for _ in range(MOST_EVENTS + 5):
        injector.strike(0.0, 0, bytes(6))

    assert (len(injector.events), injector.struck) == (MOST_EVENTS, MOST_EVENTS + 5)
