"""One logical unit: its conditions, the nexuses that look at it, and the door every command comes through.

Source: SAM-5 §5.14 (unit attentions), §6.3 (resets), SPC-4 §5.13, SBC-3 §4.11.  Pure: no medium is held here,
no clock, no thread; a command becomes a ``Plan`` that someone else carries out.

``begin`` checks in this order, and each step assumes the ones before it: unknown command, unit attention,
reservation, sanitize, medium, write protection, bits of the CDB that nobody looks at, then the command's own
fields.  Write protection comes before the fields because initiators probe it with commands that would also be
refused for something else."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn, Protocol

import attrs

from scsipub.errors import CheckCondition, CommandEnded
from scsipub.scsi import attentions, sense
from scsipub.scsi.attentions import Attention
from scsipub.scsi.command import Command, During, Needs, Request, Reserved
from scsipub.scsi.commands import ACTION_OPCODES, COMMANDS, Table
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.lane import Lane, Peer, no_peers, only_lun_0
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.modes import AS_AFTER_RESET, ModeState
from scsipub.scsi.plan import Plan
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.reservations import NOBODY, Reservations


class Progress(Protocol):
    """What the unit knows of a running SANITIZE: how far it is, in 65536ths."""

    @property
    def progress(self) -> int: ...


class Reset(enum.Enum):
    """What kind of reset, and the unit attention every nexus sees after it."""

    LOGICAL_UNIT = attentions.BUS_DEVICE_RESET
    TARGET_WARM = attentions.POWER_ON_OR_RESET
    TARGET_COLD = attentions.POWER_ON


@attrs.frozen
class UnitStatistics:
    lanes: int
    commands: int
    refused: int
    conflicts: int
    attentions: int


@attrs.define(eq=False)
class LogicalUnit:
    """``LogicalUnit(config, blocks=...)``; ``blocks`` changes only through ``capacity_changed``."""

    config: UnitConfig
    blocks: int = attrs.field(validator=attrs.validators.ge(1))
    table: Table = attrs.field(default=COMMANDS, repr=False)
    modes: ModeState = AS_AFTER_RESET
    loaded: bool = True
    ready: bool = True  # False: state is still being loaded, everything that needs it is NOT READY
    reserved_by: Lane | None = None  # RESERVE(6)
    reservations: Reservations = attrs.field(default=NOBODY, repr=False)
    reserving: bool = False  # a change of the reservations is being made durable
    fenced: frozenset[InitiatorPort] = frozenset()  # about to lose their registration by PREEMPT AND ABORT
    keeps_reservations: bool = False  # there is somebody who does so: APTPL may be asked for
    sanitizing: Progress | None = None
    sanitize_failed: bool = False
    sanitize_may_exit: bool = False
    lanes: tuple[Lane, ...] = attrs.field(default=(), repr=False)
    _commands: int = attrs.field(default=0, init=False)
    _refused: int = attrs.field(default=0, init=False)
    _conflicts: int = attrs.field(default=0, init=False)
    _attentions: int = attrs.field(default=0, init=False)

    # -- nexuses ---------------------------------------------------------------------------------------------

    def attach(
        self,
        nexus: str,
        *,
        port: InitiatorPort | None = None,
        luns: Callable[[], Sequence[int]] = only_lun_0,
        peers: Callable[[], Iterable[Peer]] = no_peers,
        attention: Attention | None = None,
        target_port: int = 1,
    ) -> Lane:
        """A session begins to see this unit.

        ``attention`` waits for its first command (POWER_ON, NEXUS_LOSS)."""
        lane = Lane(self, nexus, port or InitiatorPort(nexus), luns, peers, target_port=target_port)
        lane.fenced = lane.port in self.fenced  # a new session does not get out of it
        if attention is not None:
            lane.attentions.add(attention)
        self.lanes += (lane,)
        self.refresh()
        return lane

    def detach(self, lane: Lane) -> None:
        """Logout or loss of the nexus: what it held is let go.  SAM-5 §6.3.4; SPC-2 §7.21.1."""
        if not lane.attached:
            return
        lane.attached = False
        lane.prevents_removal = False
        lane.copies.clear()
        if self.reserved_by is lane:
            self.reserved_by = None
        self.lanes = tuple(other for other in self.lanes if other is not lane)
        lane.may_read = lane.may_write = False
        self.refresh()

    # -- commands --------------------------------------------------------------------------------------------

    def begin(self, lane: Lane, cdb: bytes, now: float) -> Plan:
        """Refuse the command or say how to carry it out.

        Reads what a stranger wrote; raises only CheckCondition and CommandEnded."""
        self._commands += 1
        try:
            return self._begin_untrusted(lane, cdb, now)
        except CheckCondition:
            self._refused += 1
            raise
        except CommandEnded:
            self._conflicts += 1
            raise

    def _begin_untrusted(self, lane: Lane, cdb: bytes, now: float) -> Plan:
        command = self._find(cdb)
        if lane.attentions and not (command and During.ATTENTION in command.during):
            raise self._report(lane)
        if command is None:
            raise self._unknown(cdb)
        self.check_reserved(lane, command, cdb)
        self.check_conditions(command)
        command.check_fields(cdb)
        plan = command.handler(Request(self, lane, cdb, command, now))
        plan.name = command.name
        if plan.writes:
            self._guard(plan, lane, command, cdb)
        return plan

    def _guard(self, plan: Plan, lane: Lane, command: Command, cdb: bytes) -> None:
        """Ask again right before each write: its data may come seconds after the command was let in.

        Without this a nexus that was preempted meanwhile would still write.  A unit attention does not end
        what has begun.  The caller holds the lock of the range, so the answer is good until the write is
        done."""
        piece, run = plan.piece, plan.run

        def recheck() -> None:
            self.check_reserved(lane, command, cdb)
            self.check_conditions(command)

        def guarded_piece(medium: Medium, offset: int, data: Data) -> None:
            recheck()
            if piece is not None:
                piece(medium, offset, data)

        def guarded_run(medium: Medium, data: Data) -> bytes | None:
            recheck()
            return None if run is None else run(medium, data)

        if piece is not None:
            plan.piece = guarded_piece
        if run is not None:
            plan.run = guarded_run

    def commands(self) -> Mapping[tuple[int, int | None], Command]:
        """The rows that this unit answers to."""
        return {key: row for key, row in self.table.items() if self.config.thin or not row.thin_only}

    def _find(self, cdb: bytes) -> Command | None:
        if len(cdb) < 6:
            return None
        opcode = cdb[0]
        action = cdb[1] & 0x1F if opcode in ACTION_OPCODES else None
        command = self.table.get((opcode, action))
        if command is None or (command.thin_only and not self.config.thin) or len(cdb) < command.size:
            return None
        return command

    def _unknown(self, cdb: bytes) -> CheckCondition:
        if len(cdb) >= 2 and cdb[0] in ACTION_OPCODES:
            return sense.invalid_field(1, 4, why=f"no service action {cdb[1] & 0x1F:#04x} of {cdb[0]:#04x}")
        return sense.invalid_opcode(f"operation code {cdb[:1].hex()}")

    def _report(self, lane: Lane) -> CheckCondition:
        attention = lane.attentions.take_nowait() or attentions.POWER_ON_OR_RESET
        self._attentions += 1
        self.refresh_lane(lane)
        return sense.unit_attention(*attention)

    def check_reserved(self, lane: Lane, command: Command, cdb: bytes) -> None:
        """RESERVATION CONFLICT, unless the command may pass a stranger's reservation."""
        if command.reserved is Reserved.ALLOWED:
            return
        if lane.fenced:
            self._conflict(f"{command.name}: fenced")
        if self.reserved_by is not None and self.reserved_by is not lane:
            self._conflict(f"{command.name}: reserved by {self.reserved_by.nexus}")
        if self.reservations.allows(lane.port, command.reserved):
            return
        if command.excused is None or not command.excused(cdb):
            self._conflict(f"{command.name}: persistent reservation")

    def _conflict(self, why: str) -> NoReturn:
        raise CommandEnded(sense.RESERVATION_CONFLICT, why)

    def check_conditions(self, command: Command) -> None:
        """What the unit as a whole is in the middle of."""
        if not self.ready and command.needs:
            raise sense.becoming_ready()
        if self.sanitizing is not None and During.SANITIZE not in command.during:
            raise sense.sanitize_in_progress(self.sanitizing.progress)
        if Needs.MEDIUM in command.needs:
            if not self.loaded:
                raise sense.no_medium()
            if self.sanitize_failed and command.opcode not in (0x00, 0x48):
                raise sense.sanitize_failed()
        if Needs.WRITABLE in command.needs:
            if self.config.read_only:
                raise sense.write_protected(software=False)
            if self.modes.swp:
                raise sense.write_protected(software=True)

    @property
    def write_protected(self) -> bool:
        return self.config.read_only or self.modes.swp

    # -- what the hot path may rely on -----------------------------------------------------------------------

    def refresh(self) -> None:
        """Something that a lane's ``may_read`` and ``may_write`` depend on has changed."""
        for lane in self.lanes:
            self.refresh_lane(lane)

    def refresh_lane(self, lane: Lane) -> None:
        lane.may_read = (
            lane.attached
            and self.ready
            and self.loaded
            and self.sanitizing is None
            and not self.sanitize_failed
            and not lane.attentions
            and not lane.fenced
            and (self.reserved_by is None or self.reserved_by is lane)
        )
        writes = self.reservations.allows(lane.port, Reserved.WRITES)
        lane.may_write = lane.may_read and writes and not self.write_protected
        lane.may_read = lane.may_read and self.reservations.allows(lane.port, Reserved.READS)

    # -- events ----------------------------------------------------------------------------------------------

    def raise_attention(self, attention: Attention, *, but: Lane | None = None) -> None:
        """For every nexus except the one that caused it."""
        for lane in self.lanes:
            if lane is not but:
                lane.attentions.add(attention)
                self.refresh_lane(lane)

    def raise_attention_for(self, lane: Lane, attention: Attention) -> None:
        lane.attentions.add(attention)
        self.refresh_lane(lane)

    def fence(self, ports: Iterable[InitiatorPort]) -> None:
        """Nothing of these may begin any more, nor of sessions that they begin; of all others it may."""
        self.fenced = frozenset(ports)
        for lane in self.lanes:
            lane.fenced = lane.port in self.fenced
        self.refresh()

    def commands_cleared(self, lanes: Iterable[Lane]) -> None:
        """Another nexus aborted their tasks (CLEAR TASK SET, PREEMPT AND ABORT with TAS=0).  SAM-5 §5.6."""
        for lane in lanes:
            self.raise_attention_for(lane, attentions.COMMANDS_CLEARED_BY_ANOTHER)

    def luns_changed(self) -> None:
        self.raise_attention(attentions.LUNS_CHANGED)

    def capacity_changed(self, blocks: int) -> None:
        self.blocks = blocks
        self.raise_attention(attentions.CAPACITY_CHANGED)

    def thin_threshold_reached(self) -> None:
        self.raise_attention(attentions.THIN_SOFT_THRESHOLD)

    def reset(self, kind: Reset, *, attention: Attention | None = None) -> None:
        """Tasks are aborted by whoever runs them; here fall the conditions.  SAM-5 §6.3.3.

        SANITIZE goes on, an ejected medium stays out, persistent reservations are untouched."""
        self.reserved_by = None
        self.modes = AS_AFTER_RESET
        for lane in self.lanes:
            lane.prevents_removal = False
            lane.copies.clear()
        self.raise_attention(attention or kind.value)
        self.refresh()

    def statistics(self) -> UnitStatistics:
        return UnitStatistics(
            len(self.lanes), self._commands, self._refused, self._conflicts, self._attentions
        )
