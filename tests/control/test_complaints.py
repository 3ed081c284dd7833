"""What peers did wrong: counted always, logged seldom."""

import attrs
import pytest

from scsipub.control.complaints import Complaints, printable
from scsipub.limits import DEFAULT

HERE, THERE = "192.0.2.1", "192.0.2.2"


def complaints(**limits):
    lines = []
    made = Complaints(attrs.evolve(DEFAULT, **limits), lambda event, **fields: lines.append((event, fields)))
    return made, lines


def test_the_same_mistake_of_one_source_is_one_line_in_five_minutes():
    heard, lines = complaints()

    for now in (0.0, 1.0, 299.9):
        heard.complain("malformed", HERE, now, why="noise")

    assert lines == [("malformed", {"source": HERE, "why": "noise"})]
    assert heard.counts["malformed"] == 3


def test_the_next_line_says_how_many_it_stands_for():
    heard, lines = complaints()
    for now in (0.0, 1.0, 2.0, 300.0):
        heard.complain("malformed", HERE, now)

    assert lines[1] == ("malformed", {"source": HERE, "suppressed": 2})


def test_a_stale_initiator_that_retries_for_a_day_is_288_lines():
    """A deleted target, asked for every 3 seconds."""
    heard, lines = complaints()

    for n in range(86400 // 3):
        heard.complain("login refused 0x0203", HERE, n * 3.0, about="no target x")

    assert len(lines) == 288
    assert heard.counts["login refused 0x0203"] == 28800
    assert sum(1 + fields.get("suppressed", 0) for _, fields in lines) >= 28800 - 100


def test_other_sources_other_kinds_and_other_targets_have_windows_of_their_own():
    heard, lines = complaints()
    heard.complain("malformed", HERE, 0.0)
    heard.complain("malformed", THERE, 0.0)
    heard.complain("header digest", HERE, 0.0)
    heard.complain("malformed", HERE, 0.0, about="no target x")

    assert len(lines) == 4


def test_addresses_of_one_ipv6_network_share_a_window():
    """A host has as many addresses as it likes."""
    heard, lines = complaints()
    for n in range(100):
        heard.complain("malformed", f"2001:db8::{n:x}", 0.0)

    assert len(lines) == 1
    assert lines[0][1]["source"] == "2001:db8::0"


def test_windows_are_bounded_and_the_oldest_is_forgotten():
    heard, lines = complaints(unknown_target_entries=10, log_lines_per_second=1000)
    for n in range(1000):
        heard.complain("malformed", f"10.0.{n // 256}.{n % 256}", 0.0)

    assert len(heard.windows) == 10
    heard.complain("malformed", "10.0.0.0", 1.0)
    assert len(lines) == 1001


def test_all_sources_together_log_so_many_lines_a_second():
    heard, lines = complaints(log_lines_per_second=50)
    for n in range(200):
        heard.complain("malformed", f"10.0.0.{n}", 0.0)

    assert len(lines) == 50
    assert heard.dropped == 150
    heard.complain("malformed", "10.0.1.1", 1.0)
    assert len(lines) == 51


def test_many_at_once_count_as_many():
    heard, _ = complaints()
    heard.complain("reject 0x05", HERE, 0.0, count=7)

    assert heard.counts["reject 0x05"] == 7


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("a\nb", "a\\x0ab"),
        ("\x1b[2J", "\\x1b[2J"),
        ("na\u00efve", "na\\xefve"),
        ("\x7f\0", "\\x7f\\x00"),
        ("\u2028", "\\u2028"),
    ],
)
def test_a_strangers_text_is_one_line_of_printable_ascii(text, line):
    assert printable(text) == line


def test_a_strangers_text_is_cut():
    assert printable("x" * 224) == "x" * 223
    assert len(printable("\n" * 223)) == 223


def test_numbers_are_left_alone():
    assert printable(7) == 7


def test_empty_fields_are_left_out():
    heard, lines = complaints()
    heard.complain("malformed", HERE, 0.0, why="", initiator=None, pdu="")

    assert lines == [("malformed", {"source": HERE})]
