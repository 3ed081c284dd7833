"""Rented targets for tests, as records."""

from datetime import datetime
from typing import Any

from scsipub.store.ids import Random, new_id, new_uuid
from scsipub.store.records import Target, Unit

MiB = 1 << 20


def rented(tenant: str, now: datetime, random: Random, *, luns: int = 2, **values: Any) -> Target:
    """A target that nobody has stored yet."""
    id = new_id(random)
    units = tuple(
        Unit(id=new_uuid(random), target_id=id, lun=n, size=16 * MiB, created=now, budget=8 * MiB)
        for n in range(luns)
    )
    return Target(**{"id": id, "tenant_id": tenant, "tier": "small", "created": now, "units": units} | values)
