"""What the unit can tell beyond its blocks: LUNs, commands, task management functions, port groups.

Source: SPC-4 §6.33 (REPORT LUNS), §6.36 (REPORT SUPPORTED OPERATION CODES), §6.37 (REPORT SUPPORTED TASK
MANAGEMENT FUNCTIONS), §6.35 (REPORT TARGET PORT GROUPS), SAM-5 §4.7 (LUN addressing)."""

import struct
from collections.abc import Iterable

from scsipub.scsi import attentions, cdb, sense
from scsipub.scsi.command import Command, Request
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


# -- REPORT SUPPORTED OPERATION CODES ------------------------------------------------------------------------

_ALL, _ONE_OPCODE, _ONE_ACTION, _EITHER = range(4)
_NOT_SUPPORTED, _AS_THE_STANDARD_SAYS = 0x01, 0x03


def _timeouts(command: Command) -> bytes:
    """Command timeouts descriptor: nominal and recommended, in seconds."""
    return struct.pack(">HBxII", 10, 0, command.nominal_seconds, command.recommended_seconds)


def supported_operation_codes(request: Request) -> Plan:
    it = request.cdb
    with_timeouts, option = bool(it[2] & 0x80), it[2] & 0x07
    opcode, action = it[3], cdb.number(it, 4, 2)
    allocation = cdb.number(it, 6, 4)
    commands = request.unit.commands()
    if option == _ALL:
        body = b"".join(_entry(commands[key], with_timeouts) for key in sorted(commands, key=_by_number))
        return clip(struct.pack(">I", len(body)) + body, allocation)
    if option > _EITHER:
        raise sense.invalid_field(2, 2, why=f"REPORTING OPTIONS {option}")
    has_actions = any(number == opcode and sub is not None for number, sub in commands)
    has_none = (opcode, None) in commands
    if (option == _ONE_OPCODE and has_actions) or (option == _ONE_ACTION and has_none):
        raise sense.invalid_field(2, 2, why="service action given or missing")
    command = commands.get((opcode, action if has_actions else None))
    if option == _EITHER and has_none and action:
        command = None
    if command is None:
        return clip(struct.pack(">BBH", 0, _NOT_SUPPORTED, 0), allocation)
    flags = _AS_THE_STANDARD_SAYS | (0x80 if with_timeouts else 0)
    data = struct.pack(">BBH", 0, flags, command.size) + command.usage_data
    return clip(data + (_timeouts(command) if with_timeouts else b""), allocation)


def _by_number(key: tuple[int, int | None]) -> tuple[int, int]:
    return key[0], key[1] or 0


def _entry(command: Command, with_timeouts: bool) -> bytes:
    flags = (0x02 if with_timeouts else 0) | (0x01 if command.action is not None else 0)
    head = struct.pack(">BxHxBH", command.opcode, command.action or 0, flags, command.size)
    return head + (_timeouts(command) if with_timeouts else b"")


# -- and the rest of MAINTENANCE IN --------------------------------------------------------------------------

# ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET.  No ACA, no QUERY functions.
TASK_FUNCTIONS = 0x80 | 0x40 | 0x10 | 0x08 | 0x02


def supported_task_functions(request: Request) -> Plan:
    extended = bool(request.cdb[2] & 0x80)  # REPD: with timeouts, of which none is indicated
    data = bytes([TASK_FUNCTIONS, 0, 0, 12]) + bytes(12) if extended else bytes([TASK_FUNCTIONS, 0, 0, 0])
    return clip(data, cdb.number(request.cdb, 6, 4))


def target_port_groups(request: Request) -> Plan:
    """A group for each port, all of them active and optimized: every portal leads to the one owner."""
    form = request.cdb[1] >> 5
    if form > 1:
        raise sense.invalid_field(1, 7, why=f"PARAMETER DATA FORMAT {form}")
    body = bytes([0x10, 0, 0, 0]) if form else b""
    for port in range(1, request.unit.config.target_ports + 1):
        body += struct.pack(">BBHxBBBHH", 0x00, 0x01, port, 0, 0, 1, 0, port)
    return clip(struct.pack(">I", len(body)) + body, cdb.number(request.cdb, 6, 4))
