"""Serial numbers: CmdSN, StatSN and DataSN count modulo 2**32.

Source: RFC 7143 §4.2.2.1 and RFC 1982 (serial number arithmetic with 32 bits).  Pure."""

MASK = 0xFFFFFFFF
HALF = 0x80000000


def serial_add(number: int, step: int) -> int:
    """``number + step`` modulo 2**32; ``step`` may be negative."""
    return (number + step) & MASK


def serial_distance(from_: int, to: int) -> int:
    """How far ``to`` is ahead of ``from_``: -2**31 .. 2**31 - 1, negative when it is behind."""
    d = (to - from_) & MASK
    return d - (1 << 32) if d >= HALF else d
