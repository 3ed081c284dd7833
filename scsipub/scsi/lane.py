"""A lane: one I_T nexus's view of one logical unit, and what the hot path may take for granted about it.

Source: SAM-5 §4.8 (I_T_L nexus), §5.14 (unit attentions are per nexus).  The unit keeps its lanes up to date;
nobody else writes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from scsipub.errors import CheckCondition
from scsipub.scsi import sense
from scsipub.scsi.attentions import Attentions
from scsipub.scsi.medium import Medium
from scsipub.scsi.ports import InitiatorPort

if TYPE_CHECKING:
    from scsipub.scsi.unit import LogicalUnit


def no_peers() -> Iterable[Peer]:
    return ()


def only_lun_0() -> Sequence[int]:
    return (0,)


@attrs.define(eq=False)
class Lane:
    """One I_T nexus's view of one unit.  ``may_read`` and ``may_write`` are always up to date."""

    unit: LogicalUnit
    nexus: str
    port: InitiatorPort
    luns: Callable[[], Sequence[int]] = only_lun_0
    peers: Callable[[], Iterable[Peer]] = no_peers
    # Plain READs and WRITEs may skip ``begin`` while these hold: nothing but the CDB's own fields is left to
    # check.
    may_read: bool = False
    may_write: bool = False
    prevents_removal: bool = False
    target_port: int = 1  # through which of our ports the initiator came
    fenced: bool = False  # about to lose its registration by PREEMPT AND ABORT: nothing of it may begin
    attentions: Attentions = attrs.field(factory=Attentions, repr=False)
    copies: dict[int, bytes] = attrs.field(factory=dict, repr=False)  # list identifier -> held copy status
    attached: bool = True

    def sense_for(self, check: CheckCondition) -> bytes:
        """Sense data in the format that the control mode page asks for."""
        return sense.pack(check, as_descriptors=self.unit.modes.d_sense)


@attrs.frozen
class Peer:
    """A unit of the same session, for EXTENDED COPY.  The session's own map is the only place to look."""

    unit: LogicalUnit
    lane: Lane
    medium: Medium
