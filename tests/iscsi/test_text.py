"""Text segments: cut into pairs or refused, and back."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import PduRejected
from scsipub.iscsi.text import format_text, parse_text_untrusted, printable
from scsipub.limits import DEFAULT

KEYS = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-+@_#", min_size=1, max_size=63
)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


def parse(data: bytes) -> list[tuple[str, str]]:
    return parse_text_untrusted(data, DEFAULT)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=64))
def test_what_is_formatted_is_what_is_parsed(pairs: list[tuple[str, str]]) -> None:
    """RFC 7143 §6.1: key, '=', value, NUL; order and repeats kept."""
    assert parse(format_text(pairs)) == pairs


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_noise_is_pairs_or_a_refusal(data: bytes) -> None:
    """No UnicodeDecodeError, no IndexError."""
    try:
        for key, value in parse(data):
            assert (0 < len(key) <= 63 and len(value.encode()) <= 255) or key.startswith("CHAP_")
    except PduRejected as refused:
        assert refused.why.isascii() and refused.why.isprintable() and len(refused.why) < 300


def test_a_missing_last_nul_and_a_few_too_many_do_no_harm() -> None:
    """RFC 7143 §6.1 wants exactly one after each value; older initiators count differently."""
    assert parse(b"A=1\0B=2") == parse(b"A=1\0\0B=2\0\0\0") == [("A", "1"), ("B", "2")]
    assert parse(b"") == parse(b"\0") == []


def test_a_value_may_be_empty_and_hold_equals_signs() -> None:
    """RFC 7143 §6.1: the first '=' separates."""
    assert parse(b"A=\0B=c=d\0") == [("A", ""), ("B", "c=d")]


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 8192,
        b"A=1\0B\0",
        b"=x\0",
        b"=\0",
        b"A b=1\0",
        b"A\x1b=1\0",
        b"\xc3\xa9=1\0",
        b"A=\xff\0",
        b"a=b\0" * 2048,
        b"\0" * 8192,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_text_is_refused(data: bytes) -> None:
    """RFC 7143 §6.1: no '=', no key, a key of other characters, a value that is not UTF-8, far too much."""
    with pytest.raises(PduRejected):
        parse(data)


@pytest.mark.parametrize(
    ("length", "allowed"), [(1, True), (63, True), (64, False), (200, False), (8000, False)]
)
def test_a_key_has_at_most_63_bytes(length: int, allowed: bool) -> None:
    """RFC 7143 §6.1."""
    data = b"k" * length + b"=1\0"
    if allowed:
        assert parse(data) == [("k" * length, "1")]
    else:
        with pytest.raises(PduRejected):
            parse(data)


@pytest.mark.parametrize(
    ("key", "length", "allowed"),
    [
        ("InitiatorAlias", 255, True),
        ("InitiatorAlias", 256, False),
        ("X-a", 8191, False),
        ("CHAP_C", 2050, True),
        ("CHAP_C", 2051, False),
    ],
)
def test_a_value_has_at_most_255_bytes_unless_it_is_a_large_binary(
    key: str, length: int, allowed: bool
) -> None:
    """RFC 7143 §6.1; a large binary has 1024 bytes, two digits each."""
    data = format_text([(key, "0" * length)])
    if allowed:
        assert len(parse(data)[0][1]) == length
    else:
        with pytest.raises(PduRejected):
            parse(data)


def test_the_number_of_keys_is_bounded_from_both_sides() -> None:
    """One limit for every text: 64."""
    limits = attrs.evolve(DEFAULT, login_keys=3)

    assert len(parse_text_untrusted(b"A=1\0" * 3, limits)) == 3
    with pytest.raises(PduRejected):
        parse_text_untrusted(b"A=1\0" * 4, limits)


@given(st.one_of(st.text(max_size=400), st.binary(max_size=400)), st.integers(10, 223))
def test_what_reaches_the_log_is_one_short_line_of_ascii(text: str | bytes, limit: int) -> None:
    """Control characters and escape sequences come out escaped."""
    shown = printable(text, limit)

    assert shown.isascii() and (shown.isprintable() or not shown) and len(shown) <= limit


def test_plain_text_reaches_the_log_as_it_is() -> None:
    """Both sides of the cut."""
    assert printable("a" * 223) == "a" * 223
    assert printable("a" * 224) == "a" * 220 + "..."
    assert printable("a\x1b[2J\n") == "a\\x1b[2J\\n"
