"""Text segments: keys and values with an equals sign between and a NUL after each.

Source: RFC 7143 §6.1 (format, sizes).  Knows the form only; what keys
mean is in ``keys``.  Tolerant of a missing last NUL and of additional ones, strict about sizes."""

from collections.abc import Iterable

from scsipub.errors import PduRejected
from scsipub.iscsi.constants import (
    MAX_KEY_BYTES,
    MAX_LARGE_BINARY_BYTES,
    MAX_NAME_BYTES,
    MAX_VALUE_BYTES,
    RejectReason,
)
from scsipub.limits import Limits

# Keys whose value may be a large binary, written as "0x" and two digits a byte (§6.1).  CHAP_N is here so
# that a user name of 256 bytes is told apart from a malformed text: it fails authentication instead.
LARGE_VALUES = frozenset({"CHAP_C", "CHAP_R", "CHAP_N"})
MAX_LARGE_VALUE_BYTES = 2 + 2 * MAX_LARGE_BINARY_BYTES

KEY_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-+@_#")

Pair = tuple[str, str]


def parse_text_untrusted(data: bytes, limits: Limits) -> list[Pair]:
    """Keys and values in the order they came, repeats kept."""
    # Counted before anything is cut, so that a segment of nothing but NULs costs one scan.
    if data.count(0) > limits.login_keys + len(data) // 16:
        raise _refused("more NULs than keys could need")
    pairs: list[Pair] = []
    for item in data.split(b"\0"):
        if item:
            if len(pairs) == limits.login_keys:
                raise _refused(f"more than {limits.login_keys} keys")
            pairs.append(_parse_pair(item))
    return pairs


def _parse_pair(item: bytes) -> Pair:
    name, equals, value = item.partition(b"=")
    if not equals:
        raise _refused(f"no '=' in {printable(item[:40])}")
    if not name or len(name) > MAX_KEY_BYTES or not KEY_BYTES.issuperset(name):
        raise _refused(f"a key that is none: {printable(name[:40])}")
    key = name.decode("ascii")
    if len(value) > (MAX_LARGE_VALUE_BYTES if key in LARGE_VALUES else MAX_VALUE_BYTES):
        raise _refused(f"{key} with a value of {len(value)} bytes")
    try:
        return key, value.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused(f"{key} with a value that is not UTF-8") from None


def _refused(why: str) -> PduRejected:
    return PduRejected(RejectReason.PROTOCOL_ERROR, why)


def format_text(pairs: Iterable[Pair]) -> bytes:
    """The data segment that says these keys and values."""
    return b"".join(f"{key}={value}\0".encode() for key, value in pairs)


def printable(text: str | bytes, limit: int = MAX_NAME_BYTES) -> str:
    """What a stranger wrote, fit for one line of our log: printable ASCII, escaped, cut."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    # Cut before escaping, so that a megabyte of control characters is not first made four.
    text = text[: limit + 1]
    shown = "".join(c if " " <= c <= "~" and c != "\\" else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
