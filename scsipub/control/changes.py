"""Changes: what becomes of rented targets while they are in use, without their sessions ending.

As in ``rentals``: the row first, then memory, then the files and the worker that has them open; what a death
in the middle leaves is finished, or taken back, by the next start.

Knows the store, the disks and the workers' channels; no SCSI."""

import logging
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import trio

from scsipub.control.catalogue import rates_of
from scsipub.control.orders import CENTURY, LunWish, check_tier, plan_unit
from scsipub.store import journal, targets, tenants
from scsipub.store.errors import Conflict, Invalid, NotFound, StoreError
from scsipub.store.records import Target, TargetState, Unit, UnitState
from scsipub.tiers import Tier
from supervisor.channel import CallError, ChannelClosed

if TYPE_CHECKING:
    from scsipub.control.rentals import Rentals

log = logging.getLogger("scsipub.rentals")

LIVING = (TargetState.ACTIVE, TargetState.SUSPENDED, TargetState.OFFLINE)


class Changes:
    """One per daemon, beside ``Rentals``."""

    def __init__(self, rentals: "Rentals") -> None:
        self.rentals = rentals
        self.unfinished: dict[str, Unit] = {}  # begun and not finished, or on the way out: to be removed

    async def _ask_owner(self, id: str, method: str, **params: Any) -> Any:
        """What the worker says that has the target open; None: nobody has, or it died just now.

        Raises CallError when it cannot do it."""
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

    def _tier(self, target: Target) -> Tier:
        tier = self.rentals.tiers.get(target.tier)
        if tier is None:
            raise NotFound("tier", target.tier)
        return tier

    # -- logical units -----------------------------------------------------------------------------------

    async def add_lun(self, id: str, wish: LunWish) -> Target:
        """One more unit, with the lowest number that is free.  Sessions see it at once (3F/0E on the others).

        Raises StoreError and OSError; then there is none, or it will be taken back."""
        rentals = self.rentals
        async with rentals.lock(id):
            target, at = rentals.find(id), _now()
            tier = self._tier(target)
            _must_be_open(target)
            if len(target.units) >= tier.luns:
                raise Conflict(f"a target of tier {tier.name} has at most {tier.luns} units")
            number = min(set(range(tier.luns)) - {unit.lun for unit in target.units})
            unit = plan_unit(id, number, wish, tier, rentals.control.catalogue.images, at, rentals.random)
            self.unfinished[unit.id] = unit
            await rentals.store.call(targets.add_unit, unit)
            await trio.to_thread.run_sync(rentals.disks.make_one, unit)
            done: Target = await rentals.store.call(_unit_is_there, unit, at)
            del self.unfinished[unit.id]
            rentals.known[id] = done
            try:
                there = next(each for each in done.units if each.id == unit.id)
                await self._ask_owner(id, "add_unit", lun=rentals.describe(there).to_json())
            except CallError as error:  # who logs in after the last has left will have it
                log.error("target %s: its sessions do not see LUN %d: %s", id, number, error)
        return done

    async def remove_lun(self, id: str, lun: int) -> Target:
        """Remove a unit and everything on it, for ever.  What is under way there ends with 05/25/00.

        Raises NotFound, Conflict for the last one.  Whatever fails afterwards, ``tick`` goes on with it."""
        async with self.rentals.lock(id):
            target = self.rentals.find(id)
            unit = _unit(target, lun)
            if len(target.served) == 1:
                raise Conflict(f"LUN {lun} is the only unit of target {id}: destroy the target instead")
            target = await self.rentals.store.call(_unit_leaves, unit, _now())
            self.rentals.known[id] = target
            self.unfinished[unit.id] = unit
            try:
                await self._take_back(unit)
            except (StoreError, OSError, CallError) as error:
                log.warning("LUN %d of target %s is not removed yet: %s", lun, id, error)
        return self.rentals.find(id)

    def note_unfinished(self, target: Target) -> None:
        """At the start: what the last daemon was making or removing."""
        for unit in set(target.units) - set(target.served):
            self.unfinished[unit.id] = unit

    async def take_back_all(self) -> None:
        """Remove the units that were begun and not finished.  Raises nothing."""
        for unit in list(self.unfinished.values()):
            lock = self.rentals.lock(unit.target_id)
            if lock.locked():
                continue  # it is being made
            try:
                async with lock:
                    await self._take_back(unit)
            except (StoreError, OSError, CallError) as error:
                log.warning("LUN %d of target %s is not removed yet: %s", unit.lun, unit.target_id, error)

    async def _take_back(self, unit: Unit) -> None:
        rentals, id = self.rentals, unit.target_id
        known = rentals.known.get(id)
        if known is not None:
            try:
                await rentals.store.call(targets.change_unit, unit.id, state=UnitState.DELETING)
            except NotFound:
                del self.unfinished[unit.id]
                return
            await self._ask_owner(id, "remove_unit", lun=unit.lun)
            await trio.to_thread.run_sync(rentals.disks.remove_one, unit)
            await rentals.store.call(targets.remove_unit, unit.id)
            rentals.known[id] = await rentals.store.call(targets.get, id)
        rentals.kept.pop(unit.id, None)
        self.unfinished.pop(unit.id, None)

    # -- size --------------------------------------------------------------------------------------------

    async def resize(self, id: str, lun: int, size: int) -> Target:
        """A longer unit.  Sessions go on, and see the new size at once (2A/09).

        Raises Invalid and Conflict when nothing was changed.  The row comes first: a daemon that dies in the
        middle finishes it at its next start."""
        async with self.rentals.lock(id):
            target = self.rentals.find(id)
            unit = _unit(target, lun)
            _must_be_open(target)
            self._may_grow(target, unit, size)
            longer: Target = await self.rentals.store.call(_resize, unit, size, _now())
            try:
                described = self.rentals.describe(_unit(longer, lun)).to_json()
                live = await self._ask_owner(id, "grow_unit", lun=described)
            except CallError as error:
                await self.rentals.store.call(_not_grown, unit, error.message, _now())
                raise Conflict(f"LUN {lun} cannot be made longer: {error.message}") from None
            self.rentals.known[id] = longer
            return longer if live else await self._grow_closed(longer, lun)

    async def _grow_closed(self, target: Target, lun: int) -> Target:
        """Nobody has it open, or whoever had died in the middle.  For a moment nobody may log in."""
        rentals, id = self.rentals, target.id
        rentals.growing.add(id)
        try:
            await rentals.close(target)
            await trio.to_thread.run_sync(rentals.disks.grow, target)
        except OSError as error:
            reason = f"LUN {lun} cannot be made longer: {error.strerror or error}"
            target = rentals.known[id] = await rentals.store.call(_offline, id, reason, _now())
        finally:
            rentals.growing.discard(id)
        return target

    def _may_grow(self, target: Target, unit: Unit, size: int) -> None:
        if size < unit.size:
            raise Invalid(
                f"the unit has {unit.size} bytes: a unit never shrinks, its end may be in use", "size"
            )
        if unit.read_only or size == unit.size or size % unit.block_size:
            raise Invalid(f"the unit has {unit.size} bytes, and may have more, in whole blocks", "size")
        if size > self._tier(target).disk_bytes:
            raise Invalid(f"tier {target.tier} has no unit of {size} bytes", "size")

    # -- lifetime ----------------------------------------------------------------------------------------

    async def extend(self, id: str, seconds: float) -> Target:
        """So much longer, but not beyond what the tier allows from now on.  What has expired serves again.

        Raises Invalid, and Conflict for a target that lasts for ever."""
        if not (math.isfinite(seconds) and 0 < seconds <= CENTURY):
            raise Invalid("a lifetime is a number of seconds above zero, up to a century", "seconds")
        async with self.rentals.lock(id):
            target, at = self.rentals.find(id), _now()
            if target.expires is None:
                raise Conflict(f"target {id} lasts until it is destroyed")
            until = max(target.expires, at) + timedelta(seconds=seconds)
            most = self._tier(target).lifetime_seconds
            if most is not None:
                until = max(target.expires, min(until, at + timedelta(seconds=most)))
            target = self.rentals.known[id] = await self.rentals.store.call(_extend, id, until, at)
        if target.state is TargetState.EXPIRED and until > at:
            target = await self.rentals.resume(id)
        return target

    async def warn(self, at: datetime) -> None:
        """Tell the tenants whose targets expire soon, once.  Raises StoreError."""
        for target in list(self.rentals.known.values()):
            tier = self.rentals.tiers.get(target.tier)
            if target.expires is None or target.expiring or target.state not in LIVING or tier is None:
                continue
            # Who rents for an hour is not told at once that it ends within a day.
            before = min(timedelta(seconds=tier.warn_seconds), (target.expires - target.created) / 2)
            if target.expires - before <= at < target.expires:
                self.rentals.known[target.id] = await self.rentals.store.call(_warn, target, at)
                log.info("target %s expires at %s", target.id, target.expires)


def _now() -> datetime:
    return datetime.now(UTC)


def _unit(target: Target, lun: int) -> Unit:
    for unit in target.served:
        if unit.lun == lun:
            return unit
    raise NotFound("unit", f"{lun} of target {target.id}")


def _must_be_open(target: Target) -> None:
    if target.state not in (TargetState.ACTIVE, TargetState.SUSPENDED):
        raise Conflict(f"target {target.id} is {target.state}")


# -- transactions --------------------------------------------------------------------------------------------


def _note(connection: sa.Connection, target: Target, kind: str, text: str, at: datetime, **data: Any) -> None:
    journal.note(connection, kind, text, at, tenant_id=target.tenant_id, target_id=target.id, data=data)


def _unit_is_there(connection: sa.Connection, unit: Unit, at: datetime) -> Target:
    targets.change_unit(connection, unit.id, state=UnitState.ACTIVE)
    done = targets.get(connection, unit.target_id)
    _note(connection, done, "lun.added", f"LUN {unit.lun} of {unit.size} bytes was added", at, lun=unit.lun)
    return done


def _unit_leaves(connection: sa.Connection, unit: Unit, at: datetime) -> Target:
    targets.change_unit(connection, unit.id, state=UnitState.DELETING)
    done = targets.get(connection, unit.target_id)
    _note(connection, done, "lun.removed", f"LUN {unit.lun} was removed", at, lun=unit.lun)
    return done


def _resize(connection: sa.Connection, unit: Unit, size: int, at: datetime) -> Target:
    """The row first: the next start sees what was wanted, and finishes it."""
    targets.change_unit(connection, unit.id, size=size)
    done = targets.get(connection, unit.target_id)
    _note(connection, done, "target.resized", f"LUN {unit.lun} has {size} bytes, it had {unit.size}", at)
    return done


def _not_grown(connection: sa.Connection, unit: Unit, why: str, at: datetime) -> None:
    targets.not_grown(connection, unit.id, unit.size)
    done = targets.get(connection, unit.target_id)
    _note(connection, done, "target.resized", f"LUN {unit.lun} has {unit.size} bytes after all: {why}", at)


def _offline(connection: sa.Connection, id: str, reason: str, at: datetime) -> Target:
    done = targets.move(connection, id, TargetState.OFFLINE, reason)
    _note(connection, done, "target.offline", f"target {id} is OFFLINE: {reason}", at)
    return done


def _extend(connection: sa.Connection, id: str, until: datetime, at: datetime) -> Target:
    done = targets.change(connection, id, expires=until)
    _note(connection, done, "target.extended", f"target {id} expires at {until:%Y-%m-%d %H:%M} UTC", at)
    return done


def _warn(connection: sa.Connection, target: Target, at: datetime) -> Target:
    done = targets.change(connection, target.id, warned=target.expires)
    words = f"target {target.id} expires at {target.expires:%Y-%m-%d %H:%M} UTC"
    _note(connection, done, "target.expiring", words, at, expires=f"{target.expires:%Y-%m-%dT%H:%M:%SZ}")
    return done
