"""Changes: what becomes of rented targets while they are in use, without their sessions ending.

As in ``rentals``: the row first, then memory, then the files and the worker that has them open; what a death
in the middle leaves is finished, or taken back, by the next start.

Knows the store, the disks and the workers' channels; no SCSI."""

import logging
from typing import TYPE_CHECKING, Any

from scsipub.control.catalogue import rates_of
from scsipub.control.orders import check_tier
from scsipub.store import tenants
from scsipub.tiers import Tier
from supervisor.channel import CallError, ChannelClosed

if TYPE_CHECKING:
    from scsipub.control.rentals import Rentals

log = logging.getLogger("scsipub.rentals")


class Changes:
    """One per daemon, beside ``Rentals``."""

    def __init__(self, rentals: "Rentals") -> None:
        self.rentals = rentals

    async def _ask_owner(self, id: str, method: str, **params: Any) -> Any:
        """What the worker says that has the target open; None: nobody has, or it died just now."""
        control, name = self.rentals.control, self.rentals.name(id)
        place = control.placement.owners.get(name)
        worker = control.worker_at(place) if place is not None else None
        if worker is None:
            return None
        try:
            return await worker.channel.call(method, {"target": name, **params})
        except ChannelClosed:
            return None

    # -- tiers -------------------------------------------------------------------------------------------

    async def set_tier(self, tier: Tier) -> Tier:
        """Make or change a tier.  The sessions of its targets follow its rates at once.

        Raises Invalid for terms that make no sense, Conflict for a tier of the configuration file."""
        check_tier(tier)
        await self.rentals.store.call(tenants.put_tier, tier)
        before = self.rentals.tiers.get(tier.name)
        self.rentals.tiers[tier.name] = tier
        rates = rates_of(tier)
        if before is None or rates_of(before) == rates:
            return tier
        for target in [t for t in self.rentals.known.values() if t.tier == tier.name]:
            try:
                await self._ask_owner(target.id, "rates", rates=rates.to_json())
            except CallError as error:
                log.error("target %s does not follow its tier: %s", target.id, error)
        return tier
