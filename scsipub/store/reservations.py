"""Persistent reservations at rest: one row for each unit, replaced only by who has read it.

Source: SPC-4 §5.13.5 (preserving reservations).  Knows no SCSI: registrations and holder are readable
records that it keeps as they are."""

from typing import Any

import attrs
import sqlalchemy as sa

from scsipub.store import schema
from scsipub.store.errors import Conflict
from scsipub.store.records import StoredReservations

_C = schema.reservations.c


def get(connection: sa.Connection, unit_id: str) -> StoredReservations:
    """What is stored; version 0 if nothing ever was."""
    row = connection.execute(sa.select(schema.reservations).where(_C.unit_id == unit_id)).mappings().first()
    return StoredReservations(unit_id=unit_id, version=0) if row is None else _record(**row)


def everything(connection: sa.Connection) -> tuple[StoredReservations, ...]:
    """Of all units, for the start."""
    return tuple(_record(**row) for row in connection.execute(sa.select(schema.reservations)).mappings())


def replace(connection: sa.Connection, after: StoredReservations) -> None:
    """Store ``after`` in place of the version before it.

    Raises Conflict when another version is there: then somebody else has written, and nothing is changed."""
    values = attrs.asdict(after) | {"registrations": [dict(r) for r in after.registrations]}
    if after.version == 1:
        if get(connection, after.unit_id).version:
            raise Conflict(f"unit {after.unit_id} has reservations already")
        connection.execute(schema.reservations.insert().values(**values))
        return
    result = connection.execute(
        schema.reservations.update()
        .where(_C.unit_id == after.unit_id, _C.version == after.version - 1)
        .values(**values)
    )
    if result.rowcount != 1:
        raise Conflict(f"the reservations of unit {after.unit_id} are not of version {after.version - 1}")


def drop_of_other_boots(connection: sa.Connection, boot: str) -> frozenset[str]:
    """A power loss ends what did not ask to survive it (APTPL=0); at which units that was.

    PRgeneration goes back to zero with it, as after any power on."""
    found = connection.execute(
        sa.select(_C.unit_id, _C.registrations).where(_C.boot != boot, _C.aptpl == sa.false())
    ).all()
    dropped = [unit_id for unit_id, registrations in found if registrations]
    if dropped:
        connection.execute(
            schema.reservations.update()
            .where(_C.unit_id.in_(dropped))
            .values(version=_C.version + 1, generation=0, kind=None, holder=None, registrations=[], boot=boot)
        )
    return frozenset(dropped)


def _record(*, registrations: list[dict[str, Any]], **rest: Any) -> StoredReservations:
    return StoredReservations(registrations=tuple(registrations), **rest)
