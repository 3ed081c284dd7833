"""Keeping: reservations as JSON, for whoever keeps them beyond the life of a worker.

Source: SPC-4 §5.13.5 (preserving reservations): what has to survive is who is registered with which key,
who holds, and PRGENERATION.  Pure."""

from typing import Any

from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.reservations import Change, Kind, Registration, Reservations


def reservations_to_json(state: Reservations) -> dict[str, Any]:
    """Everything, with keys as 16 hex digits: JSON numbers end at 2**53."""
    return {
        "generation": state.generation,
        "kind": None if state.kind is None else int(state.kind),
        "holder": None if state.holder is None else _port_to_json(state.holder),
        "aptpl": state.aptpl,
        "registrations": [
            {"port": _port_to_json(r.port), "key": f"{r.key:016x}", "all_target_ports": r.all_target_ports}
            for r in state.registrations
        ],
    }


def change_to_json(change: Change) -> dict[str, Any]:
    """The new state, and beside it who brought it about, for the journal."""
    cause = {"action": change.action.name, "by": _port_to_json(change.by)}
    return reservations_to_json(change.state) | cause


def reservations_from_json(data: Any) -> Reservations:
    """The reverse.  Raises KeyError or ValueError for what ``reservations_to_json`` did not write."""
    return Reservations(
        generation=int(data["generation"]),
        kind=None if data["kind"] is None else Kind(data["kind"]),
        holder=None if data["holder"] is None else _port_from_json(data["holder"]),
        aptpl=bool(data["aptpl"]),
        registrations=tuple(
            Registration(_port_from_json(r["port"]), int(r["key"], 16), bool(r["all_target_ports"]))
            for r in data["registrations"]
        ),
    )


def _port_to_json(port: InitiatorPort) -> dict[str, Any]:
    return {
        "name": port.name,
        "isid": None if port.isid is None else port.isid.hex(),
        "principal": port.principal,
        "target_port": port.target_port,
    }


def _port_from_json(data: Any) -> InitiatorPort:
    isid = data["isid"]
    return InitiatorPort(
        data["name"],
        None if isid is None else bytes.fromhex(isid),
        data["principal"],
        data.get("target_port"),  # older rows do not have it
    )
