"""What the unit can tell about the target it belongs to: REPORT LUNS, and what the unit knows to do.

Source: SPC-4 §6.33 (REPORT LUNS), SAM-5 §4.7 (LUN addressing)."""

import struct
from collections.abc import Iterable

from scsipub.scsi import attentions, cdb, sense
from scsipub.scsi.command import Request
from scsipub.scsi.plan import Plan, clip

REPORT_LUNS_WELL_KNOWN = 0xC101  # extended addressing, well-known logical unit 01h


def lun_bytes(lun: int) -> bytes:
    """Peripheral addressing below 256, flat above: some initiators take nothing but the first."""
    return struct.pack(">H6x", lun if lun < 256 else 0x4000 | lun)


def lun_inventory(luns: Iterable[int], it: bytes) -> Plan:
    """The answer to REPORT LUNS, whichever LUN it was sent to."""
    select = it[2]
    if select > 2:
        raise sense.invalid_field(2, 7, why=f"SELECT REPORT {select:#04x}")
    entries = [] if select == 1 else [lun_bytes(lun) for lun in sorted(set(luns))]
    if select:
        entries.append(struct.pack(">H6x", REPORT_LUNS_WELL_KNOWN))
    body = b"".join(entries)
    return clip(struct.pack(">I4x", len(body)) + body, cdb.number(it, 6, 4))


def report_luns(request: Request) -> Plan:
    """Tells the news that a LUNS_CHANGED attention is about, so that attention goes."""
    plan = lun_inventory(request.lane.luns(), request.cdb)
    request.lane.attentions.drop(attentions.LUNS_CHANGED)
    request.unit.refresh_lane(request.lane)
    return plan
