"""Troubling: faults for one session or for the disk of one unit, because somebody tests an initiator.

Knows trio, the rules, sessions and units; control has looked at the rules before they come here."""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import trio

from scsipub.faults.disk import DiskRule, FaultyDisk
from scsipub.faults.rules import Injector, Rule
from scsipub.limits import Limits
from scsipub.target.backing import Backing
from scsipub.target.faulty import Faulty, Later
from scsipub.worker.blocking import APART, beside_sessions
from scsipub.worker.live import Live

NOTHING = {"seed": 0, "rules": [], "commands": 0, "struck": 0, "events": []}
NOTHING_OF_A_DISK = {"seed": 0, "rules": [], "accesses": 0, "struck": 0, "events": []}


def trouble(live: Live, rules: list[Any] | None, seed: int, later: Later) -> dict[str, Any]:
    """Give a session these rules, and tell how it goes.  [] ends it, None only tells."""
    nexus = live.connection.nexus
    if rules:
        injector = Injector([Rule.from_json(rule) for rule in rules], seed, monotonic())
        nexus.faults = Faulty(injector, later)
    elif rules is not None:
        nexus.faults = None
    return nexus.faults.injector.to_json() if nexus.faults is not None else NOTHING


class DiskTrouble:
    """A faulty disk around the real one of a unit, and threads for those who wait for it.

    An access that was on its way when the trouble came has a thread that others need: it does not wait."""

    def __init__(self, backing: Backing, rules: Iterable[Any], seed: int) -> None:
        read = [DiskRule.from_json(rule) for rule in rules]
        self.disk = FaultyDisk(backing.real, read, seed, may_wait=APART.get)
        self.threads = trio.CapacityLimiter(backing.threads)

    def calm(self) -> None:
        self.disk.calm()


def trouble_disk(
    living: Iterable[Live], limits: Limits, live: Live, lun: int, rules: list[Any] | None, seed: int
) -> dict[str, Any] | None:
    """Give the disk of this unit these rules, and tell how it goes.  [] ends it, None only tells.

    The answer is None when the session is over, {"luns": which it has} when this one is not there, {"most":
    how many} when so many disks are faulty already; ``living`` are all sessions of the worker."""
    if live.connection.closed:
        return None
    backings = {} if live.opened is None else live.opened.backings
    if lun not in backings:
        return {"luns": sorted(backings)}
    backing = backings[lun]
    if rules:
        if backing.trouble is None and _troubled(living) >= limits.faulty_disks:
            return {"most": limits.faulty_disks}
        backing.meet(DiskTrouble(backing, rules, seed))
    elif rules is not None:
        backing.meet(None)
    return backing.trouble.disk.to_json() if backing.trouble is not None else NOTHING_OF_A_DISK


def _troubled(living: Iterable[Live]) -> int:
    """How many disks are faulty now; sessions may share one."""
    opened = {live.opened for live in living if live.opened is not None}
    return sum(backing.trouble is not None for each in opened for backing in each.backings.values())


async def call_later(seconds: float, deed: Callable[[float], None]) -> None:
    """Beside the sessions: whatever it raises is not theirs."""
    await trio.sleep(seconds)
    beside_sessions(deed, monotonic())
