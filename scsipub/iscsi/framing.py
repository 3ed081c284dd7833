"""Framing: where one PDU ends and the next begins.

Source: RFC 7143 §11.1 (PDU template), §13.1 (digests).  Sans-IO.  Knows lengths and header digests; does
not know what any PDU means.

    BHS 48 | AHS 0..1020 | header digest 0|4 | data 0..2**24-1, padded to 4 | data digest 0|4

Nothing is allocated for a length that a stranger merely claims: a length above what we declared ends the
connection as soon as the 48 header bytes are there."""

from scsipub.errors import FramingLost
from scsipub.iscsi.digest import RIGHT, crc32c

BHS = 48


def measure_untrusted(
    view: memoryview, at: int, end: int, *, header_digest: bool, data_digest: bool, max_data: int
) -> int:
    """Length in bytes of the PDU that starts at ``view[at]``; 0 while ``view[at:end]`` is too short to say.

    The answer may be larger than ``end - at``: then the PDU is not whole yet, and this is how much it needs.
    ``max_data`` is the MaxRecvDataSegmentLength that we declared.
    Raises FramingLost for a longer data segment and for a wrong header digest."""
    if end - at < BHS:
        return 0
    ahs = view[at + 4] * 4
    data = view[at + 5] << 16 | view[at + 6] << 8 | view[at + 7]
    if data > max_data:
        raise FramingLost(f"data segment of {data} bytes, {max_data} allowed", "oversized data segment")
    length = BHS + ahs
    if header_digest:
        # The lengths are only worth something once the digest says so, but the digest's place hangs on
        # one of them.  A wrong AHS length costs a wait of at most 1020 bytes.
        if end - at < length + 4:
            return 0
        if crc32c(view[at : at + length + 4]) != RIGHT:
            raise FramingLost("header digest does not match", "header digest")
        length += 4
    if data:
        length += (data + 3) & ~3
        if data_digest:
            length += 4
    return length


def split_untrusted(
    view: memoryview, *, max_data: int, header_digest: bool = False, data_digest: bool = False
) -> tuple[list[memoryview], int]:
    """All whole PDUs at the front of ``view``, and how many bytes they take.  For tests and tools."""
    at, end = 0, len(view)
    pdus: list[memoryview] = []
    while True:
        n = measure_untrusted(
            view, at, end, header_digest=header_digest, data_digest=data_digest, max_data=max_data
        )
        if n == 0 or at + n > end:
            return pdus, at
        pdus.append(view[at : at + n])
        at += n
