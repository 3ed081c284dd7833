"""Sense data: why a command failed, in the two formats an initiator may ask for.

Source: SPC-4 §4.5 (sense data), §4.5.3 (fixed), §4.5.2 (descriptor), §4.5.2.4 (sense key specific).  Knows
the record ``CheckCondition``; does not know which command was refused, nor whether D_SENSE is set.

Every INVALID FIELD says where the field is: initiators (and the conformance suites) use the pointer to tell
"this bit is not supported" from "this command is not"."""

import enum
import errno
import struct

from scsipub.errors import CheckCondition


class Key(enum.IntEnum):
    """Sense keys.  SPC-4 table 43."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE


GOOD = 0x00
CHECK_CONDITION = 0x02
CONDITION_MET = 0x04
BUSY = 0x08
RESERVATION_CONFLICT = 0x18
TASK_SET_FULL = 0x28
TASK_ABORTED = 0x40

_WRITE_ERROR = (0x0C, 0x00)
_UNRECOVERED_READ_ERROR = (0x11, 0x00)


def invalid_opcode(why: str = "") -> CheckCondition:
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x20, 0x00, field=(0, 7), why=why or "unknown operation code")


def invalid_field(byte: int, bit: int | None = None, why: str = "") -> CheckCondition:
    """INVALID FIELD IN CDB; ``bit`` is the most significant bit of the field within its first byte."""
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x24, 0x00, field=(byte, bit), why=why)


def invalid_parameter(byte: int, bit: int | None = None, why: str = "") -> CheckCondition:
    """INVALID FIELD IN PARAMETER LIST."""
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x26, 0x00, field=(byte, bit), in_cdb=False, why=why)


def parameter_list_length(why: str = "") -> CheckCondition:
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x1A, 0x00, why=why)


def lba_out_of_range(lba: int, count: int, blocks: int) -> CheckCondition:
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x21, 0x00, why=f"{count} blocks at {lba}, {blocks} in all")


def wrong_data_length(expected: int, given: int) -> CheckCondition:
    """The transport delivered another amount of data than the CDB asks for."""
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x0E, 0x03, why=f"{given} bytes of data instead of {expected}")


def logical_unit_not_supported() -> CheckCondition:
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x25, 0x00, why="no such logical unit")


def saving_not_supported() -> CheckCondition:
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x39, 0x00, why="saved mode pages")


def write_protected(software: bool) -> CheckCondition:
    """07/27/02 says that SWP did it and can undo it; 07/27/00 says that nobody can."""
    return CheckCondition(Key.DATA_PROTECT, 0x27, 0x02 if software else 0x00, why="write protected")


def no_medium() -> CheckCondition:
    return CheckCondition(Key.NOT_READY, 0x3A, 0x00, why="ejected")


def sanitize_in_progress(progress: int) -> CheckCondition:
    return CheckCondition(Key.NOT_READY, 0x04, 0x1B, progress=progress, why="sanitize in progress")


def sanitize_failed() -> CheckCondition:
    return CheckCondition(Key.MEDIUM_ERROR, 0x31, 0x03, why="the last SANITIZE failed")


def becoming_ready() -> CheckCondition:
    return CheckCondition(Key.NOT_READY, 0x04, 0x01, why="becoming ready")


def miscompare(offset: int | None = None) -> CheckCondition:
    return CheckCondition(Key.MISCOMPARE, 0x1D, 0x00, information=offset, why="data differ")


def unit_attention(asc: int, ascq: int) -> CheckCondition:
    return CheckCondition(Key.UNIT_ATTENTION, asc, ascq, why="unit attention")


def medium_removal_prevented() -> CheckCondition:
    return CheckCondition(Key.ILLEGAL_REQUEST, 0x53, 0x02, why="medium removal prevented")


def sense_for_oserror(error: OSError, *, writing: bool) -> CheckCondition:
    """The one place where the file system's words become SCSI's.

    Linux turns 07/27/07 into ENOSPC for the application; any other DATA PROTECT would be a plain EIO."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return CheckCondition(Key.DATA_PROTECT, 0x27, 0x07, why=str(error))
    if error.errno == errno.EIO:
        asc, ascq = _WRITE_ERROR if writing else _UNRECOVERED_READ_ERROR
        return CheckCondition(Key.MEDIUM_ERROR, asc, ascq, why=str(error))
    return CheckCondition(Key.HARDWARE_ERROR, 0x44, 0x00, why=str(error))


def _key_specific(check: CheckCondition) -> bytes:
    """Three bytes: a field pointer or a progress indication, all zero when there is neither."""
    if check.field is not None:
        byte, bit = check.field
        first = 0x80 | (0x40 if check.in_cdb else 0) | (0 if bit is None else 0x08 | bit)
        return struct.pack(">BH", first, min(byte, 0xFFFF))
    if check.progress is not None:
        return struct.pack(">BH", 0x80, min(check.progress, 0xFFFF))
    return bytes(3)


def fixed(check: CheckCondition) -> bytes:
    """Response code 70h, 18 bytes.  INFORMATION has 32 bits here; what does not fit is not VALID."""
    fits = check.information is not None and check.information < 1 << 32
    return struct.pack(
        ">BxBIB4xBBB3s",
        0xF0 if fits else 0x70,
        check.key,
        check.information if fits else 0,
        10,
        check.asc,
        check.ascq,
        0,
        _key_specific(check),
    )


def descriptor(check: CheckCondition) -> bytes:
    """Response code 72h: a header of 8 bytes, then INFORMATION (12) and SENSE KEY SPECIFIC (8) where
    given."""
    body = b""
    if check.information is not None:
        body += struct.pack(">BBBxQ", 0x00, 0x0A, 0x80, check.information)
    specific = _key_specific(check)
    if specific[0]:
        body += struct.pack(">BB2x3sx", 0x02, 0x06, specific)
    return struct.pack(">BBBB3xB", 0x72, check.key, check.asc, check.ascq, len(body)) + body


def pack(check: CheckCondition, *, as_descriptors: bool) -> bytes:
    return descriptor(check) if as_descriptors else fixed(check)


NOTHING_TO_REPORT = CheckCondition(Key.NO_SENSE, 0x00, 0x00)
