"""PERSISTENT RESERVE IN and OUT: the machine of ``scsi.reservations`` behind its two commands.

Source: SPC-4 §6.15 (IN), §6.16 (OUT).  REPLACE LOST RESERVATION and SPEC_I_PT are not supported, and REPORT
CAPABILITIES says so.

A change happens in two steps.  ``run`` decides and changes nothing; then the caller makes ``plan.commit()``
durable and aborts the tasks of ``plan.aborts()``, ``after`` makes it so and tells the others.  In between,
further changes are answered with BUSY."""

import struct

import attrs

from scsipub.errors import CommandEnded
from scsipub.scsi import cdb, sense
from scsipub.scsi import reservations as machine
from scsipub.scsi.command import Request
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan, clip
from scsipub.scsi.ports import InitiatorPort, transport_id_untrusted
from scsipub.scsi.reservations import Action, Change, Outcome, Reservations

_LIST_BYTES = 24
_LONGEST_LIST = 24 + 268  # one TransportID
_ALL_TYPES = 0xEA01
_FIRST_PORT = 1
_SPEC_I_PT, _ALL_TG_PT, _APTPL, _UNREG = 0x08, 0x04, 0x01, 0x02


def read_keys(request: Request) -> Plan:
    state = request.unit.reservations
    body = b"".join(struct.pack(">Q", entry.key) for entry in state.registrations)
    return _answer(request, state, body)


def read_reservation(request: Request) -> Plan:
    state = request.unit.reservations
    body = b""
    if state.kind is not None:
        body = struct.pack(">Q4xxB2x", state.key_of_holder or 0, state.kind)
    return _answer(request, state, body)


def report_capabilities(request: Request) -> Plan:
    keeps = request.unit.keeps_reservations
    active = keeps and request.unit.reservations.aptpl
    data = struct.pack(">HBBH2x", 8, 0x04 | keeps, 0x80 | active, _ALL_TYPES)
    return clip(data, cdb.number(request.cdb, 7, 2))


def read_full_status(request: Request) -> Plan:
    state = request.unit.reservations
    body = b""
    for entry in state.registrations:
        holds = state.holds(entry.port)
        # Who is the same at all our ports has one registration for them; others have one at each.
        everywhere = entry.port.target_port is None and (
            entry.all_target_ports or request.unit.config.target_ports > 1
        )
        flags = (0x02 if everywhere else 0) | (0x01 if holds else 0)
        kind = state.kind if holds and state.kind is not None else 0
        name = entry.port.transport_id
        target_port = entry.port.target_port or _FIRST_PORT
        body += struct.pack(">Q4xBB4xHI", entry.key, flags, kind, target_port, len(name)) + name
    return _answer(request, state, body)


def _answer(request: Request, state: Reservations, body: bytes) -> Plan:
    data = struct.pack(">II", state.generation, len(body)) + body
    return clip(data, cdb.number(request.cdb, 7, 2))


def reserve_out(request: Request) -> Plan:
    it, unit = request.cdb, request.unit
    action = Action(it[1] & 0x1F)
    length = cdb.number(it, 5, 4)
    longest = _LONGEST_LIST if action is Action.REGISTER_AND_MOVE else _LIST_BYTES
    # Before any data is asked for, so that nobody can make us hold a long list.
    if length < _LIST_BYTES or (length > longest and action is not Action.REGISTER):
        raise sense.parameter_list_length(f"{length} bytes for {action.name}")
    if length > _LONGEST_LIST:
        raise sense.parameter_list_length(f"{length} bytes for {action.name}")
    if unit.reserved_by is not None:
        raise CommandEnded(sense.RESERVATION_CONFLICT, "RESERVE(6) is in force")
    decided: list[tuple[machine.Request, Outcome]] = []

    def run(medium: Medium, data: Data) -> None:
        if unit.reserving:
            raise CommandEnded(sense.BUSY, "another change is being made durable")
        asked = parse_reserve_out_untrusted(
            it, bytes(data[:length]), request.lane.port, unit.config.target_ports, unit.keeps_reservations
        )
        decided.append((asked, machine.decide(unit.reservations, asked)))
        unit.reserving = True

    def commit() -> Change:
        asked, outcome = decided[0]
        return Change(outcome.state, asked.action, asked.port)

    def aborts() -> tuple[InitiatorPort, ...]:
        outcome = decided[0][1]
        return outcome.preempted if outcome.aborts else ()

    def undo() -> None:
        unit.reserving = False

    def after() -> None:
        unit.reserving = False
        outcome = decided[0][1]
        unit.reservations = outcome.state
        unit.refresh()
        for port, attention in outcome.news:
            for lane in unit.lanes:
                if lane.port == port:
                    unit.raise_attention_for(lane, attention)

    return Plan(data_out=length, run=run, commit=commit, aborts=aborts, undo=undo, after=after)


def parse_reserve_out_untrusted(
    it: bytes, data: bytes, port: InitiatorPort, target_ports: int, keeps: bool
) -> machine.Request:
    """The parameter list of any service action; MOVE has a form of its own."""
    if len(data) < _LIST_BYTES:
        raise sense.parameter_list_length("PERSISTENT RESERVE OUT")
    action = Action(it[1] & 0x1F)
    key, service_action_key = struct.unpack_from(">QQ", data)
    asked = machine.Request(
        action=action,
        port=port,
        key=key,
        service_action_key=service_action_key,
        scope=it[2] >> 4,
        kind=it[2] & 0x0F,
    )
    if action is Action.REGISTER_AND_MOVE:
        return _parse_move(data, asked, target_ports, keeps)
    flags = data[20]
    if flags & _SPEC_I_PT:
        raise sense.invalid_parameter(20, 3, "SPEC_I_PT is not supported")
    if len(data) != _LIST_BYTES:
        raise sense.parameter_list_length("24 bytes without SPEC_I_PT")
    if action not in (Action.REGISTER, Action.REGISTER_AND_IGNORE):
        return asked
    if flags & _APTPL and not keeps:
        raise sense.invalid_parameter(20, 0, "APTPL: nothing is kept over a power loss")
    return attrs.evolve(
        asked,
        aptpl=bool(flags & _APTPL),
        all_target_ports=bool(flags & _ALL_TG_PT),
        target_ports=target_ports,
    )


def _parse_move(data: bytes, asked: machine.Request, target_ports: int, keeps: bool) -> machine.Request:
    if data[17] & _APTPL and not keeps:
        raise sense.invalid_parameter(17, 0, "APTPL: nothing is kept over a power loss")
    target_port = cdb.number(data, 18, 2)
    if not 1 <= target_port <= target_ports:
        raise sense.invalid_parameter(18, 7, "no such relative target port")
    if cdb.number(data, 20, 4) != len(data) - _LIST_BYTES:
        raise sense.invalid_parameter(20, 7, "TransportID length")
    return attrs.evolve(
        asked,
        aptpl=bool(data[17] & _APTPL),
        unregister=bool(data[17] & _UNREG),
        move_to=transport_id_untrusted(data, _LIST_BYTES, asked.port, target_port),
    )
