"""The fencing timeline: what a change of persistent reservations was, in words and for the journal; and who
is registered and holds what now.

Source: SPC-4 §5.13.  Pure: compares what was kept with what is kept, and is told who asked for the change."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from scsipub.scsi.reservations import Action, Kind
from scsipub.store.records import StoredReservations, Unit

EVENTS_PER_TARGET = 256  # of this kind: a year of a healthy cluster, a day of a sick one
TRIMMED_EVERY = 32  # changes
MOST_NAMED = 8  # registrants in one event; the rest is counted

Port = Mapping[str, Any]
Registration = Mapping[str, Any]


@attrs.frozen
class Happened:
    """An event of the journal."""

    kind: str
    text: str
    data: Mapping[str, Any]


def who(port: Port) -> str:
    """As TransportIDs are written, and through which portal where that matters."""
    isid = f",i,0x{port['isid']}" if port["isid"] else ""
    portal = f" at portal {port['target_port']}" if port.get("target_port") else ""
    return f"{port['name']}{isid}{portal}"


def type_name(kind: int | None) -> str | None:
    """``write exclusive registrants only``; None: nothing is reserved."""
    return None if kind is None else Kind(kind).name.replace("_", " ").lower()


def told(
    lun: int, before: StoredReservations, after: StoredReservations, action: str, by: Port
) -> Happened | None:
    """What this change was; None when nobody's rights have changed."""
    removed, added = _missing(before, after), _missing(after, before)
    if not removed and not added and (before.kind, before.holder) == (after.kind, after.holder):
        return None
    kind, words = _WORDS[Action[action]](before, after, removed, added)
    data = {
        "lun": lun,
        "action": action,
        "by": dict(by),
        "removed": [dict(each) for each in removed[:MOST_NAMED]],
        "added": [dict(each) for each in added[:MOST_NAMED]],
        "type": type_name(after.kind),
        "holder": None if after.holder is None else dict(after.holder),
        "generation": after.generation,
    }
    return Happened(f"reservation.{kind}", f"LUN {lun}: {who(by)} {words}", data)


def _missing(here: StoredReservations, there: StoredReservations) -> list[Registration]:
    """Registrations, with their keys, that are ``here`` and not ``there``."""
    known = {(_identity(r["port"]), r["key"]) for r in there.registrations}
    return [r for r in here.registrations if (_identity(r["port"]), r["key"]) not in known]


def _identity(port: Port) -> tuple[Any, ...]:
    return port["name"], port["isid"], port["principal"], port.get("target_port")


def _names(them: list[Registration]) -> str:
    named = [f"{who(r['port'])} (key {_key(r)})" for r in them[:MOST_NAMED]]
    more = len(them) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _key(registration: Registration) -> str:
    return f"0x{int(registration['key'], 16):x}"


def _ended(before: StoredReservations, after: StoredReservations) -> str:
    gone = before.kind is not None and after.kind is None
    return f"; {type_name(before.kind)} has ended" if gone else ""


def _registered(
    before: StoredReservations,
    after: StoredReservations,
    removed: list[Registration],
    added: list[Registration],
) -> tuple[str, str]:
    if not added:
        return "unregistered", f"gave up {_names(removed)}{_ended(before, after)}"
    instead = f" instead of {_key(removed[0])}" if removed else ""
    everywhere = f" at {len(added)} portals" if len(added) > 1 else ""
    return "registered", f"registered key {_key(added[0])}{instead}{everywhere}"


def _reserved(
    before: StoredReservations,
    after: StoredReservations,
    removed: list[Registration],
    added: list[Registration],
) -> tuple[str, str]:
    return "reserved", f"reserved {type_name(after.kind)}"


def _released(
    before: StoredReservations,
    after: StoredReservations,
    removed: list[Registration],
    added: list[Registration],
) -> tuple[str, str]:
    return "released", f"released {type_name(before.kind)}"


def _cleared(
    before: StoredReservations,
    after: StoredReservations,
    removed: list[Registration],
    added: list[Registration],
) -> tuple[str, str]:
    return "cleared", f"cleared everything, of {_names(removed)}{_ended(before, after)}"


def _preempted(
    before: StoredReservations,
    after: StoredReservations,
    removed: list[Registration],
    added: list[Registration],
) -> tuple[str, str]:
    whom = f"preempted {_names(removed)}" if removed else "preempted nobody"
    took = (before.kind, before.holder) != (after.kind, after.holder) and after.kind is not None
    return "preempted", whom + (f"; holds {type_name(after.kind)}" if took else _ended(before, after))


def _preempted_and_aborted(
    before: StoredReservations,
    after: StoredReservations,
    removed: list[Registration],
    added: list[Registration],
) -> tuple[str, str]:
    kind, words = _preempted(before, after, removed, added)
    return kind, f"{words}; commands ended" if removed else words


def _moved(
    before: StoredReservations,
    after: StoredReservations,
    removed: list[Registration],
    added: list[Registration],
) -> tuple[str, str]:
    to = who(after.holder) if after.holder is not None else "nobody"
    return "moved", f"moved {type_name(after.kind)} to {to}"


_WORDS = {
    Action.REGISTER: _registered,
    Action.REGISTER_AND_IGNORE: _registered,
    Action.RESERVE: _reserved,
    Action.RELEASE: _released,
    Action.CLEAR: _cleared,
    Action.PREEMPT: _preempted,
    Action.PREEMPT_AND_ABORT: _preempted_and_aborted,
    Action.REGISTER_AND_MOVE: _moved,
}


def now_in_force(
    units: Iterable[Unit], kept: Mapping[str, StoredReservations], sessions: Iterable[tuple[str, str, int]]
) -> list[dict[str, Any]]:
    """For each unit who is registered and who holds it.

    ``sessions``: InitiatorName, ISID in hex and portal (from 0) of each; counted beside its registration."""
    there = list(sessions)
    nothing = StoredReservations(unit_id="", version=0)
    return [_unit(unit.lun, kept.get(unit.id, nothing), there) for unit in units]


def _unit(lun: int, state: StoredReservations, sessions: list[tuple[str, str, int]]) -> dict[str, Any]:
    all_hold = state.kind is not None and Kind(state.kind).all_hold
    return {
        "lun": lun,
        "generation": state.generation,
        "type": type_name(state.kind),
        "survives_power_loss": state.aptpl,
        "registrations": [
            {
                "initiator": r["port"]["name"],
                "isid": r["port"]["isid"],
                "portal": r["port"].get("target_port"),
                "user": r["port"]["principal"],
                "key": _key(r),
                "holds": all_hold or (state.kind is not None and r["port"] == state.holder),
                "sessions": sum(_is_of(r["port"], *session) for session in sessions),
            }
            for r in state.registrations
        ],
    }


def _is_of(port: Port, name: str, isid: str, portal: int) -> bool:
    return (
        port["name"] == name
        and port["isid"] in (None, isid)
        and port.get("target_port") in (None, portal + 1)
    )
