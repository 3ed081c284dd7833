"""LUNs where no disk is: the numbers nobody has, and the well-known unit that only lists the others.

Source: SPC-4 §6.6.2 (peripheral qualifier 011b), SAM-5 §4.7.5 and §5.11 (incorrect logical unit selection),
SPC-4 §8.2 (REPORT LUNS well-known logical unit).  Every initiator asks LUN 0 for the list, so it answers even
when the session has no LUN 0."""

import struct
from collections.abc import Iterable

import attrs

from scsipub.errors import CheckCondition
from scsipub.scsi import cdb, sense
from scsipub.scsi.inquiry import VERSION
from scsipub.scsi.plan import Plan, clip
from scsipub.scsi.reports import REPORT_LUNS_WELL_KNOWN, lun_inventory


def sense_for(check: CheckCondition) -> bytes:
    """There is no control mode page here: always fixed format."""
    return sense.fixed(check)


def begin(cdb_: bytes, luns: Iterable[int]) -> Plan:
    """A command to a LUN that the session does not have."""
    _check_length(cdb_)
    match cdb_[0]:
        case 0x12:
            return _inquiry(cdb_, 0x7F)
        case 0xA0:
            return lun_inventory(luns, cdb_)
        case 0x03:
            check = sense.logical_unit_not_supported()
            return clip(sense.pack(check, as_descriptors=bool(cdb_[1] & 1)), cdb_[4], "REQUEST SENSE")
    raise sense.logical_unit_not_supported()


def begin_well_known(cdb_: bytes, luns: Iterable[int]) -> Plan:
    """A command to the REPORT LUNS well-known logical unit, C101h."""
    _check_length(cdb_)
    match cdb_[0]:
        case 0x00:
            return Plan(name="TEST UNIT READY")
        case 0x12:
            return _inquiry(cdb_, 0x1E)
        case 0xA0:
            return lun_inventory(luns, cdb_)
        case 0x03:
            check = sense.NOTHING_TO_REPORT
            return clip(sense.pack(check, as_descriptors=bool(cdb_[1] & 1)), cdb_[4], "REQUEST SENSE")
    raise sense.invalid_opcode("not a command of the well-known unit")


@attrs.frozen
class Lun:
    """What the eight bytes of an iSCSI LUN field mean."""

    number: int | None  # None: not a form that any unit of ours has
    well_known: bool = False


def lun_untrusted(field: int) -> Lun:
    """Peripheral (bus 0) and flat addressing name the same units; one well-known unit; nothing else.

    SAM-5 §4.7.  The lower six bytes must be zero: no unit has units beneath it."""
    top = field >> 48
    if field & ((1 << 48) - 1):
        return Lun(None)
    if top < 0x100:
        return Lun(top)
    if top >> 14 == 0b01:
        return Lun(top & 0x3FFF)
    return Lun(None, well_known=top == REPORT_LUNS_WELL_KNOWN)


def _check_length(cdb_: bytes) -> None:
    if len(cdb_) < 12 and (len(cdb_) < 6 or cdb_[0] >> 5 not in (0,)):
        raise sense.invalid_opcode("CDB too short")


def _inquiry(it: bytes, qualifier_and_type: int) -> Plan:
    allocation = cdb.number(it, 3, 2)
    if it[1] & 0x01:
        if it[2]:
            raise sense.invalid_field(2, 7, why="no unit, no page")
        return clip(struct.pack(">BBHB", qualifier_and_type, 0x00, 1, 0x00), allocation, "INQUIRY")
    if it[2]:
        raise sense.invalid_field(2, 7, why="page code without EVPD")
    data = struct.pack(
        ">BBBBBBBB8s16s4s", qualifier_and_type, 0, VERSION, 0x12, 31, 0, 0, 0x02,
        b"SCSIPUB ", b"NO UNIT".ljust(16), b"0001",
    )  # fmt: skip
    return clip(data, allocation, "INQUIRY")
