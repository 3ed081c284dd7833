"""Rented targets and their units: rows only; whoever calls makes and removes the disks in between.

The order is the point.  A target is CREATING before its files exist and ACTIVE after they are on the medium;
it is DELETING before they go, and its row goes last.  So a file never exists without a row that knows it.

Each function takes a connection in a transaction; ``Store.call`` gives it one."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from scsipub.store import schema
from scsipub.store.errors import Conflict, Exhausted
from scsipub.store.records import MOVES, Page, StoredImage, Target, TargetState, Unit, UnitState
from scsipub.store.rows import changed, many, one, page

_LIVING = sorted(set(TargetState) - {TargetState.DELETING})


def create(connection: sa.Connection, target: Target, *, most: int | None = None) -> None:
    """Remember a target and its units as CREATING.  Raises Exhausted when its tenant has ``most`` already."""
    if most is not None and _has(connection, target.tenant_id, most):
        raise Exhausted(f"the tier allows {most} targets")
    values = attrs.asdict(target, recurse=False) | {
        "state": TargetState.CREATING,
        "initiators": list(target.initiators),
    }
    del values["units"]
    connection.execute(schema.targets.insert().values(**values))
    for unit in target.units:
        add_unit(connection, unit)


def add_unit(connection: sa.Connection, unit: Unit) -> None:
    """Remember a unit as CREATING.  Raises Conflict when its number is taken."""
    values = attrs.asdict(unit) | {"state": UnitState.CREATING}
    connection.execute(schema.units.insert().values(**values))


def count(connection: sa.Connection, tenant_id: str) -> int:
    """How many targets a tenant has; those that are going do not count."""
    c = schema.targets.c
    return connection.execute(
        sa.select(sa.func.count()).where(c.tenant_id == tenant_id, c.state.in_(_LIVING))
    ).scalar_one()


def _has(connection: sa.Connection, tenant_id: str, most: int) -> bool:
    """So many or more?  Only who is close has its rows looked at; an index alone counts all the others'."""
    rows = sa.select(sa.func.count()).where(schema.targets.c.tenant_id == tenant_id)
    return connection.execute(rows).scalar_one() >= most and count(connection, tenant_id) >= most


# -- reading -------------------------------------------------------------------------------------------------


def get(connection: sa.Connection, id: str, tenant_id: str | None = None) -> Target:
    """One target with its units.  ``tenant_id``: only if it is that tenant's."""
    query = sa.select(schema.targets).where(schema.targets.c.id == id)
    if tenant_id is not None:
        query = query.where(schema.targets.c.tenant_id == tenant_id)
    return _with_units(connection, [one(connection, query, _target, "target", id)])[0]


def listed(
    connection: sa.Connection,
    tenant_id: str | None = None,
    *,
    states: Iterable[TargetState] | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Page:
    """A tenant's targets, or everybody's, from the oldest on."""
    c = schema.targets.c
    query = sa.select(schema.targets)
    if tenant_id is not None:
        query = query.where(c.tenant_id == tenant_id)
    if states is not None:
        query = query.where(c.state.in_([str(s) for s in states]))
    found = page(connection, query, _target, (c.created, c.id), after=after, limit=limit)
    return attrs.evolve(found, items=tuple(_with_units(connection, list(found.items))))


def listed_ids(
    connection: sa.Connection, tenant_id: str | None = None, *, after: str | None = None, limit: int = 50
) -> Page:
    """The same, for who has the targets in memory: ids only."""
    c = schema.targets.c
    query = sa.select(c.created, c.id)
    if tenant_id is not None:
        query = query.where(c.tenant_id == tenant_id)
    return page(connection, query, _id, (c.created, c.id), after=after, limit=limit)


def everything(connection: sa.Connection) -> tuple[Target, ...]:
    """All targets, for the start: two queries, however many there are."""
    found = many(connection, sa.select(schema.targets).order_by(schema.targets.c.created), _target)
    by_target: dict[str, list[Unit]] = {}
    for unit in many(connection, sa.select(schema.units).order_by(schema.units.c.lun), _unit):
        by_target.setdefault(unit.target_id, []).append(unit)
    return tuple(attrs.evolve(t, units=tuple(by_target.get(t.id, ()))) for t in found)


def overlays(connection: sa.Connection) -> frozenset[str]:
    """What the files of every unit are called, in whatever state: the janitor keeps those."""
    return frozenset(unit.overlay for unit in many(connection, sa.select(schema.units), _unit))


def due(connection: sa.Connection, now: datetime, limit: int = 100) -> tuple[Target, ...]:
    """Whose time is over, and who has not been told yet."""
    c = schema.targets.c
    states = [s for s in TargetState if TargetState.EXPIRED in MOVES[s]]
    query = sa.select(schema.targets).where(c.state.in_(states), c.expires <= now).order_by(c.expires)
    return many(connection, query.limit(limit), _target)


def expired(connection: sa.Connection, before: datetime, limit: int = 100) -> tuple[Target, ...]:
    """Those EXPIRED whose time was over ``before``."""
    c = schema.targets.c
    query = sa.select(schema.targets).where(c.state == TargetState.EXPIRED, c.expires <= before)
    return many(connection, query.order_by(c.expires).limit(limit), _target)


# -- changing ------------------------------------------------------------------------------------------------


def move(connection: sa.Connection, id: str, to: TargetState, reason: str = "") -> Target:
    """Another state; Conflict if there is no way from the one it is in.  Where it is already, nothing."""
    found = get(connection, id)
    if found.state == to and found.reason == reason:
        return found
    if found.state != to and to not in MOVES[found.state]:
        raise Conflict(f"target {id} is {found.state}, and cannot become {to}")
    return _update(connection, found, state=to, reason=reason)


def change(connection: sa.Connection, id: str, /, **values: Any) -> Target:
    """``alias``, ``expires``, ``warned``, ``initiators``, ``tier``, ``tls_required``, ``algorithm_floor``."""
    known = {"alias", "expires", "warned", "initiators", "tier", "tls_required", "algorithm_floor"}
    unknown = set(values) - known
    if unknown:
        raise TypeError(f"a target's {unknown} cannot be changed")
    if "initiators" in values:
        values["initiators"] = list(values["initiators"])
    return _update(connection, get(connection, id), **values)


def _update(connection: sa.Connection, found: Target, **values: Any) -> Target:
    """The version says whether somebody was faster."""
    c = schema.targets.c
    result = connection.execute(
        schema.targets.update()
        .where(c.id == found.id, c.version == found.version)
        .values(version=found.version + 1, **values)
    )
    if result.rowcount != 1:
        raise Conflict(f"target {found.id} was changed by somebody else")
    if "initiators" in values:
        values["initiators"] = tuple(values["initiators"])
    return attrs.evolve(found, version=found.version + 1, **values)


def change_unit(connection: sa.Connection, id: str, /, **values: Any) -> Unit:
    """``state``, ``reason``, ``size``, ``budget``.  A unit never shrinks: its end may be in use."""
    unknown = set(values) - {"state", "reason", "size", "budget"}
    if unknown:
        raise TypeError(f"a unit's {unknown} cannot be changed")
    row = schema.units.c.id == id
    before = one(connection, sa.select(schema.units).where(row), _unit, "unit", id)
    if values.get("size", before.size) < before.size:
        raise Conflict(f"unit {id} has {before.size} bytes, and cannot become smaller")
    connection.execute(schema.units.update().where(row).values(**values))
    return one(connection, sa.select(schema.units).where(row), _unit, "unit", id)


def not_grown(connection: sa.Connection, id: str, size: int) -> None:
    """The disk could not be made longer: the row says again what it is."""
    connection.execute(schema.units.update().where(schema.units.c.id == id).values(size=size))


def activate(connection: sa.Connection, id: str) -> Target:
    """The disks are on the medium: the target and all its units are ACTIVE."""
    connection.execute(
        schema.units.update().where(schema.units.c.target_id == id).values(state=UnitState.ACTIVE, reason="")
    )
    return move(connection, id, TargetState.ACTIVE)


def remove_unit(connection: sa.Connection, id: str) -> None:
    """Forget a unit, whose files are gone."""
    row = (schema.units.c.id == id) & (schema.units.c.state == UnitState.DELETING)
    changed(connection.execute(schema.units.delete().where(row)), "unit that is DELETING:", id)


def remove(connection: sa.Connection, id: str) -> None:
    """Forget a target, whose disks are gone, and all that belongs to it."""
    row = (schema.targets.c.id == id) & (schema.targets.c.state == TargetState.DELETING)
    changed(connection.execute(schema.targets.delete().where(row)), "target that is DELETING:", id)


# -- images --------------------------------------------------------------------------------------------------


def put_image(connection: sa.Connection, image: StoredImage) -> None:
    """Remember an image; one of the same name is replaced unless a unit stands on it."""
    c = schema.images.c
    before = connection.execute(sa.select(c.sha256).where(c.name == image.name)).scalar_one_or_none()
    if before is not None:
        if before != image.sha256:
            _not_in_use(connection, image.name)
        connection.execute(schema.images.delete().where(c.name == image.name))
    connection.execute(schema.images.insert().values(**attrs.asdict(image)))


def images(connection: sa.Connection, tenant_id: str | None = None) -> tuple[StoredImage, ...]:
    """Everybody's images, and with a tenant its own too; None: all there are."""
    c = schema.images.c
    query = sa.select(schema.images).order_by(c.name)
    if tenant_id is not None:
        query = query.where((c.tenant_id == tenant_id) | c.tenant_id.is_(None))
    return many(connection, query, StoredImage)


def remove_image(connection: sa.Connection, name: str) -> None:
    """Raises Conflict while a unit stands on it."""
    _not_in_use(connection, name)
    changed(connection.execute(schema.images.delete().where(schema.images.c.name == name)), "image", name)


def _not_in_use(connection: sa.Connection, name: str) -> None:
    unit = connection.execute(
        sa.select(schema.units.c.target_id).where(schema.units.c.image == name).limit(1)
    ).scalar()
    if unit is not None:
        raise Conflict(f"image {name} is what a unit of target {unit} stands on")


def image_in_use(connection: sa.Connection, name: str) -> bool:
    try:
        _not_in_use(connection, name)
    except Conflict:
        return True
    return False


# -- rows ----------------------------------------------------------------------------------------------------


def _with_units(connection: sa.Connection, found: list[Target]) -> list[Target]:
    if not found:
        return []
    c = schema.units.c
    query = sa.select(schema.units).where(c.target_id.in_([t.id for t in found])).order_by(c.lun)
    by_target: dict[str, list[Unit]] = {}
    for unit in many(connection, query, _unit):
        by_target.setdefault(unit.target_id, []).append(unit)
    return [attrs.evolve(t, units=tuple(by_target.get(t.id, ()))) for t in found]


def _id(*, id: str, created: datetime) -> str:
    return id


def _target(*, state: str, initiators: list[str], **rest: Any) -> Target:
    return Target(state=TargetState(state), initiators=tuple(initiators), **rest)


def _unit(*, state: str, **rest: Any) -> Unit:
    return Unit(state=UnitState(state), **rest)


def unit(connection: sa.Connection, id: str) -> Unit:
    return one(connection, sa.select(schema.units).where(schema.units.c.id == id), _unit, "unit", id)
