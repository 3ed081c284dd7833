"""TEST UNIT READY and REQUEST SENSE: how the unit is, asked and told without touching a block.

Source: SPC-4 §6.47 and §6.39.  Everything TEST UNIT READY has to say was said by the checks before it."""

from scsipub.errors import CheckCondition
from scsipub.scsi import sense
from scsipub.scsi.command import Request
from scsipub.scsi.plan import Plan, clip


def test_unit_ready(request: Request) -> Plan:
    if request.unit.sanitize_failed:
        raise sense.sanitize_failed()
    return Plan()


def request_sense(request: Request) -> Plan:
    """Returns, with GOOD, what another command would have been ended with; a unit attention is cleared by
    it."""
    return clip(
        sense.pack(_what_there_is(request), as_descriptors=bool(request.cdb[1] & 0x01)), request.cdb[4]
    )


def _what_there_is(request: Request) -> CheckCondition:
    unit, lane = request.unit, request.lane
    attention = lane.attentions.take_nowait()
    if attention is not None:
        unit.refresh_lane(lane)
        return sense.unit_attention(*attention)
    if unit.sanitizing is not None:
        return sense.sanitize_in_progress(unit.sanitizing.progress)
    if not unit.ready:
        return sense.becoming_ready()
    if not unit.loaded:
        return sense.no_medium()
    if unit.sanitize_failed:
        return sense.sanitize_failed()
    return sense.NOTHING_TO_REPORT
