"""One PDU as it came, text keys, and how a SCSI command ended: the records of the tests' initiator.

Source: RFC 7143 §11.  Plain ``struct`` and slices; imports nothing of ``scsipub``."""

from collections.abc import Iterable
from typing import Self

import attrs
from crc32c import crc32c

NO_TAG = 0xFFFFFFFF
NOP_OUT, COMMAND, TASK, LOGIN, TEXT, DATA_OUT, LOGOUT = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
NOP_IN, RESPONSE, TASK_DONE, LOGIN_DONE, TEXT_DONE, DATA_IN, LOGOUT_DONE = range(0x20, 0x27)
R2T, ASYNC, REJECT = 0x31, 0x32, 0x3F


@attrs.frozen
class Pdu:
    """One PDU as it came: header, additional header segments, data without padding."""

    bhs: bytes
    data: bytes = b""
    ahs: bytes = b""

    opcode = property(lambda self: self.bhs[0] & 0x3F)
    flags = property(lambda self: self.bhs[1])
    final = property(lambda self: bool(self.bhs[1] & 0x80))
    tag = property(lambda self: self.word(16))
    stat_sn = property(lambda self: self.word(24))
    exp_cmd_sn = property(lambda self: self.word(28))
    max_cmd_sn = property(lambda self: self.word(32))

    def word(self, offset: int) -> int:
        """The 32-bit number at ``offset`` of the header."""
        return int.from_bytes(self.bhs[offset : offset + 4], "big")

    @property
    def login_status(self) -> int:
        return int.from_bytes(self.bhs[36:38], "big")

    def keys(self) -> dict[str, str]:
        """The data segment read as text keys."""
        return parse_keys(self.data)


@attrs.define
class Result:
    """How a SCSI command ended, and what it brought."""

    status: int = -1
    response: int = 0  # iSCSI service response: 0 = command completed at target
    data: bytearray = attrs.Factory(bytearray)
    sense: bytes = b""
    residual: int = 0
    flags: int = 0  # 0x02 underflow, 0x04 overflow
    pdus: list[Pdu] = attrs.Factory(list)

    def asc(self) -> tuple[int, int, int]:
        """Sense key, ASC, ASCQ of fixed or descriptor sense data; zeros when there is none."""
        sense = self.sense
        if not sense:
            return 0, 0, 0
        if sense[0] & 0x7F in (0x72, 0x73):
            return sense[1] & 0x0F, sense[2], sense[3]
        return sense[2] & 0x0F, sense[12], sense[13]

    def good(self) -> Self:
        """Itself, when the status is GOOD; an error that names the sense otherwise."""
        if self.status or self.response:
            key, asc, ascq = self.asc()
            raise AssertionError(
                f"status {self.status:02X}h response {self.response:02X}h sense {key:X}/{asc:02X}/{ascq:02X}"
            )
        return self


def digest(data: bytes) -> bytes:
    """CRC32C as it goes over the wire: little-endian.  §13.1."""
    return crc32c(data).to_bytes(4, "little")


def format_keys(pairs: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs)


def parse_keys(data: bytes) -> dict[str, str]:
    lines = [line.decode("utf-8", "replace").partition("=") for line in data.split(b"\0") if line]
    return {key: value for key, _, value in lines}
