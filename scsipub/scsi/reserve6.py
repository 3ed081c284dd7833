"""RESERVE(6) and RELEASE(6): the whole unit, for one nexus, until it lets go or goes away.

Source: SPC-2 §7.21, §7.16, §5.5.  Old ESXi and AIX use them.  Third-party and extent reservations, which
SPC-2 made obsolete, are refused by the usage map; persistent reservations exclude these and the other way
round."""

from scsipub.errors import CommandEnded
from scsipub.scsi import sense
from scsipub.scsi.command import Request
from scsipub.scsi.plan import Plan


def reserve(request: Request) -> Plan:
    unit = request.unit
    if unit.reservations.registrations:
        raise CommandEnded(sense.RESERVATION_CONFLICT, "RESERVE(6): there are persistent registrations")
    if unit.reserved_by not in (None, request.lane):
        raise CommandEnded(sense.RESERVATION_CONFLICT, "RESERVE(6): held by another nexus")
    unit.reserved_by = request.lane
    unit.refresh()
    return Plan()


def release(request: Request) -> Plan:
    """GOOD without effect for everybody but the holder."""
    unit = request.unit
    if unit.reservations.registrations:
        raise CommandEnded(sense.RESERVATION_CONFLICT, "RELEASE(6): there are persistent registrations")
    if unit.reserved_by is request.lane:
        unit.reserved_by = None
        unit.refresh()
    return Plan()
