"""What a row of the command table says, and what a handler is given.

Source: SPC-4 §6.36 (usage maps, timeouts), §5.13 (persistent reservations), SPC-2 §5.5 (RESERVE).  The rows
themselves are in ``scsi.commands``; this file exists so that handlers and table need not import each
other."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from scsipub.scsi import sense
from scsipub.scsi.plan import Plan

if TYPE_CHECKING:
    from scsipub.scsi.lane import Lane
    from scsipub.scsi.unit import LogicalUnit


class Reserved(enum.Enum):
    """What a stranger's command meets while someone else holds a reservation."""

    ALLOWED = "always allowed"
    PEEKS = "refused by RESERVE(6) only"
    READS = "refused by exclusive access and RESERVE(6)"
    WRITES = "refused by write exclusive, exclusive access and RESERVE(6)"


class Needs(enum.Flag):
    """What must hold before the command's own fields are looked at."""

    NOTHING = 0
    MEDIUM = enum.auto()  # NOT READY, medium not present, when ejected
    WRITABLE = enum.auto()  # DATA PROTECT when write protected, before any other field is checked


class During(enum.Flag):
    """Conditions that the command passes through instead of being ended by them."""

    NOTHING = 0
    ATTENTION = enum.auto()  # neither reports nor clears a unit attention
    SANITIZE = enum.auto()  # works while the unit is being sanitized


@attrs.frozen
class Request:
    """One command of one nexus, its row already found and its conditions already met."""

    unit: LogicalUnit
    lane: Lane
    cdb: bytes
    command: Command
    now: float


Handler = Callable[[Request], Plan]


def _allocation(usage: str) -> bytes:
    return bytes.fromhex(usage)


@attrs.frozen(kw_only=True)
class Command:
    """One operation code, or one service action of it."""

    opcode: int
    action: int | None = None
    name: str
    handler: Handler
    usage: bytes = attrs.field(
        converter=_allocation
    )  # one bit per CDB bit we look at; bytes 0, action filled in
    reserved: Reserved
    needs: Needs = Needs.NOTHING
    during: During = During.NOTHING
    thin_only: bool = False  # exists only on thin-provisioned units
    excused: Callable[[bytes], bool] | None = (
        None  # CDBs that no reservation refuses, whatever ``reserved`` says
    )
    nominal_seconds: int = 0  # 0: not indicated
    recommended_seconds: int = 30

    @property
    def size(self) -> int:
        return len(self.usage)

    @property
    def usage_data(self) -> bytes:
        """CDB USAGE DATA: the map, with operation code and service action as they are.  SPC-4 §6.36.3."""
        if self.action is None:
            return bytes([self.opcode]) + self.usage[1:]
        return bytes([self.opcode, self.usage[1] & 0xE0 | self.action]) + self.usage[2:]

    def check_fields(self, cdb: bytes) -> None:
        """Refuse any bit that the usage map does not claim, and point at it."""
        forbidden = int.from_bytes(cdb[: self.size], "big") & ~self._allowed
        if forbidden:
            from_end, bit = divmod(forbidden.bit_length() - 1, 8)
            raise sense.invalid_field(self.size - 1 - from_end, bit, why=f"{self.name}: bit not supported")

    _allowed: int = attrs.field(init=False, repr=False, eq=False)

    @_allowed.default
    def _all_that_may_be_set(self) -> int:
        mask = bytearray(self.usage)
        mask[0] = 0xFF
        if self.action is not None:
            mask[1] |= 0x1F
        return int.from_bytes(mask, "big")
