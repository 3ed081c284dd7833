"""SANITIZE: all blocks at once, past recovery as far as a file system can promise that.

Source: SBC-3 §5.22 (SANITIZE), §4.11 (sanitize operations).  The work goes on through aborts, resets and the
loss of the session that asked; until it ends almost every command meets NOT READY with its progress.

Only the disk's own layer is touched, never the image beneath.  One pass is made however many are asked for:
on a file, passes over the same bytes reach the same place, so only the last one is worth writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from scsipub.errors import CheckCondition
from scsipub.scsi import cdb, sense
from scsipub.scsi.command import Request
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan

if TYPE_CHECKING:
    from scsipub.scsi.unit import LogicalUnit

OVERWRITE, BLOCK_ERASE, CRYPTOGRAPHIC_ERASE, EXIT_FAILURE_MODE = 0x01, 0x02, 0x03, 0x1F

_IMMED, _AUSE = 0x80, 0x20
_OVERWRITE_BYTES = 4 << 20  # per step
_ERASE_BYTES = 1 << 30
_LONGEST_WAIT = 1.0  # between steps, so that the progress indication moves


@attrs.define(eq=False)
class Sanitize:
    """The background work; see ``plan.Background`` for who calls what."""

    unit: LogicalUnit
    waits: bool
    may_exit: bool  # AUSE: EXIT FAILURE MODE may end what a failure leaves behind
    block: bytes | None = None  # what to overwrite with; None: erase
    _done: int = 0
    _started: float = 0.0
    _elapsed: float = 0.0

    @property
    def progress(self) -> int:
        """65536ths, of the work or of the time it is stretched to, whichever is less."""
        part = self._done / self.unit.blocks
        if self.unit.config.sanitize_seconds > 0:
            part = min(part, self._elapsed / self.unit.config.sanitize_seconds)
        return min(int(part * 65536), 65535)

    def start(self, now: float) -> None:
        self._started = now
        self.unit.sanitizing = self
        self.unit.sanitize_failed = False
        self.unit.refresh()

    def step(self, medium: Medium, now: float) -> float | None:
        self._elapsed = now - self._started
        left = self.unit.blocks - self._done
        if left:
            at_once = (
                _ERASE_BYTES if self.block is None else _OVERWRITE_BYTES
            ) // self.unit.config.block_size
            count = min(left, at_once)
            if self.block is None:
                medium.unmap(self._done, count)
            else:
                medium.write_same(self._done, count, self.block)
            self._done += count
            if self._done == self.unit.blocks:
                medium.flush()
        due = self.unit.config.sanitize_seconds * self._done / self.unit.blocks
        wait = due - self._elapsed
        if wait > 0:
            return min(wait, _LONGEST_WAIT)
        return 0.0 if self._done < self.unit.blocks else None

    def finish(self, error: CheckCondition | None = None) -> None:
        self.unit.sanitizing = None
        if error is not None:
            self.unit.sanitize_failed = True
            self.unit.sanitize_may_exit = self.may_exit
        self.unit.refresh()


def _work(request: Request) -> Sanitize:
    flags = request.cdb[1]
    return Sanitize(request.unit, waits=not flags & _IMMED, may_exit=bool(flags & _AUSE))


def overwrite(request: Request) -> Plan:
    unit = request.unit
    length = cdb.number(request.cdb, 7, 2)
    size = unit.config.block_size
    if not 4 < length <= size + 4:
        raise sense.invalid_field(7, 7, why=f"parameter list of {length} bytes")
    work = _work(request)

    def run(medium: Medium, data: Data) -> None:
        work.block = parse_overwrite_untrusted(bytes(data[:length]), size)

    return Plan(data_out=length, run=run, background=work, count=unit.blocks, writes=True)


def parse_overwrite_untrusted(data: bytes, size: int) -> bytes:
    """The block that the last overwriting pass leaves everywhere."""
    if len(data) < 4:
        raise sense.parameter_list_length("SANITIZE OVERWRITE header")
    passes, length = data[0] & 0x1F, cdb.number(data, 2, 2)
    if data[0] & 0x60:
        raise sense.invalid_parameter(0, 6, "TEST is vendor specific")
    if passes == 0:
        raise sense.invalid_parameter(0, 4, "no overwriting passes")
    if data[1]:
        raise sense.invalid_parameter(1, 7, "reserved")
    if not 0 < length <= size:
        raise sense.invalid_parameter(2, 7, f"pattern of {length} bytes")
    pattern = data[4 : 4 + length]
    if len(pattern) < length:
        raise sense.parameter_list_length("initialization pattern")
    if data[0] & 0x80 and passes % 2 == 0:  # INVERT: every pass is the complement of the one before
        pattern = bytes(byte ^ 0xFF for byte in pattern)
    return (pattern * (size // length + 1))[:size]


def erase(request: Request) -> Plan:
    """Block and cryptographic erase: the blocks are given back, and read as zeros."""
    if cdb.number(request.cdb, 7, 2):
        raise sense.invalid_field(7, 7, why="an erase has no parameter list")
    return Plan(background=_work(request), count=request.unit.blocks, writes=True)


def exit_failure_mode(request: Request) -> Plan:
    unit = request.unit
    if cdb.number(request.cdb, 7, 2):
        raise sense.invalid_field(7, 7, why="EXIT FAILURE MODE has no parameter list")
    if unit.sanitize_failed:
        if not unit.sanitize_may_exit:
            raise sense.sanitize_failed()
        unit.sanitize_failed = False
        unit.refresh()
    return Plan()
