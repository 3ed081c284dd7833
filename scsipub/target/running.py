"""What a nexus knows of a path to a unit, and remembers of a command that is under way there.

Source: SAM-5 §4.7.2 (I_T_L nexus).  Records only; ``nexus`` is their owner."""

from collections import deque

import attrs

from scsipub.scsi.lane import Lane, Peer
from scsipub.scsi.plan import Plan
from scsipub.target.backing import Backing, Job

FLAT = 0x4000 << 48  # a LUN field in flat space addressing


@attrs.define(eq=False)
class Path:
    """One I_T_L nexus: the lane into the unit, and its disk.  ``shift``: log2 of sectors per block."""

    lane: Lane
    backing: Backing
    blocks: int
    shift: int

    @property
    def block_size(self) -> int:
        return 512 << self.shift


class Paths(dict[int, Path]):
    """The units of one session, by the eight bytes of a LUN field.

    SAM-5 §4.7.7: each is found by peripheral addressing and by flat space addressing."""

    __slots__ = ()

    def add(self, lun: int, path: Path) -> None:
        self[lun << 48] = path
        self[lun << 48 | FLAT] = path

    def take(self, lun: int) -> Path:
        """Forget a unit, under both of its addresses."""
        del self[lun << 48 | FLAT]
        return self.pop(lun << 48)

    def any_lane(self) -> Lane | None:
        """All of them are of one initiator, through one port; None: there is none."""
        return next((path.lane for path in self.values()), None)

    def luns(self) -> list[int]:
        return sorted(field >> 48 for field in self if not field & FLAT)

    def peers(self) -> list[Peer]:
        """All of them, for EXTENDED COPY."""
        paths = (self[lun << 48] for lun in self.luns())
        return [Peer(path.lane.unit, path.lane, path.backing.medium) for path in paths]


@attrs.define(eq=False)
class Running:
    """What the nexus remembers of a command that is not finished."""

    path: Path
    plan: Plan
    collected: bytearray | None = None  # parameter data, or the part of a block that has arrived
    done: int = 0  # offset of the next piece to be written
    queue: deque[tuple[int, bytes]] = attrs.field(factory=deque)  # pieces that wait for a thread
    job: Job | None = None
    in_job: int = 0  # bytes of write data that the job holds
    burst_waits: bool = False
