"""Placement: which session is where, which disk waits for whom, which worker owns which shared target.

Pure bookkeeping; time is an argument.  One instance, in control, touched by nobody else.

A disposable disk belongs to one session.  When that ends, by logout, loss or the death of its worker, the
disk is *parked* for the grace: the same InitiatorName from the same address, asking for the same target,
gets it back.  A firmware initiator hands over to its operating system that way.  Two sessions that are alive
at once never share one."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs

from scsipub.limits import Limits
from scsipub.target.descriptor import TargetDescriptor

MINUTE = 60.0

Place = tuple[int, int]  # a worker's index and incarnation
Key = tuple[str, str, str]  # InitiatorName, source address, target


@attrs.define(eq=False, kw_only=True)
class Record:
    """One session from its first Login PDU to its end."""

    session: str
    connection: str
    place: Place
    key: Key
    isid: str
    portal: int = 0
    tsih: int = 0
    principal: str = ""  # who has authenticated; empty: nobody had to
    target: TargetDescriptor = attrs.field(factory=lambda: TargetDescriptor(name="", session=""))
    open: bool = False  # logged in
    returning: bool = False  # has a disk that an earlier session wrote

    @property
    def initiator(self) -> str:
        return self.key[0]


@attrs.frozen(kw_only=True)
class Parked:
    """A disposable disk without a session.  ``until`` is monotonic seconds."""

    target: TargetDescriptor
    isid: str
    until: float
    written: bool


class Placement:
    """See the module.  ``grace`` is in seconds."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.records: dict[str, Record] = {}  # by session
        self.by_connection: dict[str, Record] = {}
        self.by_key: dict[Key, tuple[str, ...]] = {}  # sessions, oldest first; nearly always one
        self.parked: dict[Key, list[Parked]] = {}
        self.owners: dict[str, Place] = {}  # shared targets
        self.opened_by: set[tuple[str, Place]] = set()  # and where somebody has been let in to them
        self.reservations: dict[tuple[str, int], dict[str, Any]] = {}  # (shared target, LUN) -> as kept
        self.reinstated: dict[Key, deque[float]] = {}  # when, lately; bounded by live sessions' keys

    # -- sessions ----------------------------------------------------------------------------------------

    def claim(self, record: Record) -> None:
        """A login has begun; the record's disks are its own from now on."""
        self.records[record.session] = record
        if record.target.shared:
            self.opened_by.add((record.target.name, record.place))
        self.by_connection[record.connection] = record
        self.by_key[record.key] = (*self.by_key.get(record.key, ()), record.session)

    def rivals(self, key: Key) -> list[Record]:
        """Sessions of the same initiator at the same target, youngest first: alive, or not yet known to be
        dead."""
        return [self.records[s] for s in reversed(self.by_key.get(key, ()))]

    def count(self, target: str) -> int:
        """Sessions that a target has."""
        return sum(record.target.name == target for record in self.records.values())

    def may_reinstate(self, key: Key, now: float, limits: Limits) -> bool:
        """Two hosts with one name and ISID would throw each other out for ever: not more often than this."""
        times = self.reinstated.setdefault(key, deque())
        while times and now - times[0] >= MINUTE:
            times.popleft()
        if len(times) >= limits.reinstatements_per_minute:
            return False
        times.append(now)
        for other in [k for k, t in self.reinstated.items() if now - t[-1] >= MINUTE]:
            del self.reinstated[other]
        return True

    def take_parked(self, key: Key, isid: str) -> Parked | None:
        """The disk that waits for this initiator: the one with its ISID, else the one parked last."""
        waiting = self.parked.get(key)
        if not waiting:
            return None
        same = [p for p in waiting if p.isid == isid]
        chosen = (same or waiting)[-1]
        waiting.remove(chosen)
        if not waiting:
            del self.parked[key]
        return chosen

    def release(self, session: str, now: float, *, written: bool) -> None:
        """The session is over: park its disk, if it had one of its own."""
        record = self.records.pop(session, None)
        if record is None:
            return
        self.by_connection.pop(record.connection, None)
        sessions = tuple(other for other in self.by_key[record.key] if other != session)
        if sessions:
            self.by_key[record.key] = sessions
        else:
            del self.by_key[record.key]
        if record.target.shared:
            return
        parked = Parked(
            target=record.target,
            isid=record.isid,
            until=now + self.grace,
            written=written or record.returning,
        )
        self.parked.setdefault(record.key, []).append(parked)

    def worker_died(self, place: Place, now: float) -> list[Record]:
        """Its sessions are over; what they had written nobody can say, so all of it is kept for the grace."""
        lost = [r for r in self.records.values() if r.place == place]
        for record in lost:
            self.release(record.session, now, written=True)
        self.owners = {name: owner for name, owner in self.owners.items() if owner != place}
        self.opened_by = {(name, owner) for name, owner in self.opened_by if owner != place}
        return lost

    # -- disks -------------------------------------------------------------------------------------------

    def expired(self, now: float) -> list[Parked]:
        """Take out what nobody came back for."""
        gone: list[Parked] = []
        for key in list(self.parked):
            waiting = self.parked[key]
            late = [p for p in waiting if p.until <= now]
            if late:
                gone += late
                left = [p for p in waiting if p.until > now]
                if left:
                    self.parked[key] = left
                else:
                    del self.parked[key]
        return gone

    def overlays_in_use(self) -> Iterator[str]:
        """Every overlay that somebody has or may come back for."""
        for record in self.records.values():
            yield from (lun.overlay for lun in record.target.luns)
        for waiting in self.parked.values():
            for parked in waiting:
                yield from (lun.overlay for lun in parked.target.luns)

    @property
    def parked_count(self) -> int:
        """Parked disks that hold something."""
        return sum(p.written for waiting in self.parked.values() for p in waiting)

    # -- shared targets ----------------------------------------------------------------------------------

    def own(self, target: str, asking: Place) -> Place:
        """Who owns the shared target: its owner, or from now on whoever asks."""
        return self.owners.setdefault(target, asking)
