"""The janitor's rules: which overlays may go.

Pure: is given what lies in the directory and what is known of it, and gives a plan; ``broom`` looks and
sweeps.  A wrong answer here destroys what a tenant wrote, so every doubt keeps the file:

* a name that does not parse is somebody else's;
* what is known stays, until whoever knows it says that it has expired;
* what nobody knows stays while it is young: its row may be on the way;
* ``known`` must come from a query made after the directory was read, and None, a query that failed, sweeps
  nothing at all;
* tenants' overlays are not removed but put aside for a day, and none of them is when the store knows none
  at all, or when more than a fifth would go: then it is the store that is wrong."""

from collections.abc import Collection, Iterable

import attrs

from scsipub.storage.layout import OverlayId

HOUR = 3600.0
DAY = 24 * HOUR


@attrs.frozen
class Found:
    """One overlay in the directory."""

    id: OverlayId
    age: float  # seconds since the youngest of its files was last written


@attrs.frozen
class Known:
    """What is known of overlays, in the words of their ids: ``d-<owner>-<lun>``."""

    kept: Collection[str]  # belongs to a session, a parked disk, or a row in whatever state
    expired: Collection[str] = ()  # nobody will come back for it: goes at once


@attrs.frozen(kw_only=True)
class Rules:
    """How careful to be."""

    orphan_age: float = HOUR  # at least twice the longest creation
    trash_age: float = DAY
    tenants_share: float = 0.2


@attrs.frozen(kw_only=True)
class Plan:
    """What may go.  Each still needs its lock when it comes to it."""

    remove: list[OverlayId] = attrs.field(factory=list)
    put_aside: list[OverlayId] = attrs.field(factory=list)
    kept: int = 0
    doubts: list[str] = attrs.field(factory=list)  # for the operator: what was left alone, and why


def plan(found: Iterable[Found], known: Known | None, rules: Rules) -> Plan:
    """Decide."""
    overlays = list(found)
    if known is None:
        return Plan(
            kept=len(overlays), doubts=["it is not known which overlays are in use: nothing is swept"]
        )
    gone = [one.id for one in overlays if _may_go(one, known, rules)]
    remove = [id for id in gone if id.kind == "d"]
    aside = [id for id in gone if id.kind == "t"]
    tenants = sum(one.id.kind == "t" for one in overlays)
    doubts = []
    if aside and not any(id.startswith("t-") for id in (*known.kept, *known.expired)):
        doubts.append(f"the store knows of no rented disk, and {tenants} are there: none is swept")
        aside = []
    elif len(aside) > rules.tenants_share * tenants:
        doubts.append(f"{len(aside)} of {tenants} rented disks would go, which is too many: none is swept")
        aside = []
    return Plan(remove=remove, put_aside=aside, kept=len(overlays) - len(remove) - len(aside), doubts=doubts)


def _may_go(one: Found, known: Known, rules: Rules) -> bool:
    name = str(one.id)
    if name in known.kept:
        return False
    return name in known.expired or one.age >= rules.orphan_age
