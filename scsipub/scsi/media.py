"""The medium comes and goes: START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, and its list of defects.

Source: SBC-3 §5.24 (START STOP UNIT), SPC-3 §6.13 and SBC-3 §5.10 (PREVENT ALLOW), SBC-3 §5.17, §5.18 (READ
DEFECT DATA).  Power conditions are accepted and mean nothing: a file does not spin."""

import struct

from scsipub.scsi import attentions, cdb, sense
from scsipub.scsi.command import Request
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan, clip

_START, _LOEJ, _NO_FLUSH = 0x01, 0x02, 0x04


def start_stop_unit(request: Request) -> Plan:
    """A stopped unit still answers: without a motor there is nothing to wait for."""
    unit, flags = request.unit, request.cdb[4]
    if flags & 0xF0:
        return Plan()
    if flags & _LOEJ and not unit.config.removable:
        raise sense.invalid_field(4, 1, why="LOEJ on a fixed disk")
    if flags & _LOEJ and any(lane.prevents_removal for lane in unit.lanes):
        raise sense.medium_removal_prevented()

    def move() -> None:
        loaded = bool(flags & _START)
        if unit.loaded == loaded:
            return
        unit.loaded = loaded
        if loaded:
            unit.raise_attention(attentions.MEDIUM_MAY_HAVE_CHANGED, but=request.lane)
        unit.refresh()

    def run(medium: Medium, data: Data) -> None:
        medium.flush()

    plan = Plan(after=move if flags & _LOEJ else None)
    if not flags & (_START | _NO_FLUSH) and unit.loaded:
        plan.run, plan.blocking = run, True
    return plan


def prevent_allow(request: Request) -> Plan:
    """Per nexus: the medium stays while anyone prevents its removal."""
    request.lane.prevents_removal = bool(request.cdb[4] & 0x01)
    return Plan()


def read_defect_data_10(request: Request) -> Plan:
    it = request.cdb
    return clip(struct.pack(">BBH", 0, it[2] & 0x1F, 0), cdb.number(it, 7, 2))


def read_defect_data_12(request: Request) -> Plan:
    it = request.cdb
    return clip(struct.pack(">BBHI", 0, it[1] & 0x1F, 0, 0), cdb.number(it, 6, 4))
