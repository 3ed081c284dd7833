"""Rentals: the targets that tenants rent, from their order to their removal.

Control is the only writer of the store, so what is in force is kept in memory as well: a login needs no
database, and goes on working while that is away.

The order of every change: the row first, then memory, then the files; at the end of a life the files before
the row.  What is begun and not finished, whatever the reason, is taken back by ``tick`` or by the next start.

Knows the store, the overlays' files and the workers; no SCSI."""

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import trio

from scsipub.control.catalogue import Entry, rates_of
from scsipub.control.changes import Changes
from scsipub.control.making import activate, order
from scsipub.control.orders import Rented, Wish
from scsipub.control.rented import GROWING, RentedEntry, closed, descriptor, stored
from scsipub.control.rented_disks import RentedDisks
from scsipub.control.resumer import notice_failures, resume_all
from scsipub.control.timeline import EVENTS_PER_TARGET, TRIMMED_EVERY, Happened, told
from scsipub.iscsi.chap import generate_secret
from scsipub.storage.layout import boot_id
from scsipub.store import accounts, journal, reservations, targets
from scsipub.store.accounts import SealedAccount
from scsipub.store.errors import Conflict, Exhausted, Invalid, NotFound, StoreError, StoreUnavailable
from scsipub.store.ids import Random, new_id
from scsipub.store.records import Account, StoredReservations, Target, TargetState, Unit
from scsipub.store.store import Store, rotate_keys
from scsipub.store.vault import Vault
from scsipub.target.descriptor import LunDescriptor, Rates
from scsipub.tiers import Tier
from supervisor.channel import CallError, ChannelClosed

if TYPE_CHECKING:
    from scsipub.control.app import Control

log = logging.getLogger("scsipub.rentals")

TICK_SECONDS = 5.0
PRUNE_TICKS = 120
# How long initiators that are asked to log out may take.
LOGOUT_SECONDS = 3
# How long the sessions of a target that is being closed may take to end.
CLOSE_SECONDS = 10.0
# How long to look for the outcome of a commit that the database did not tell.
OUTCOME_SECONDS = 20.0


class Rentals:
    """One per daemon."""

    def __init__(self, control: "Control", store: Store | None) -> None:
        self.control = control
        self._store = store
        self.disks = RentedDisks(str(control.config.overlays_dir), control.catalogue)
        self.known: dict[str, Target] = {}
        self.accounts: dict[str, tuple[SealedAccount, ...]] = {}  # by target
        self.accounts_in_doubt = False  # whether a change of them was committed
        self.kept: dict[str, StoredReservations] = {}  # by unit
        self.tiers: dict[str, Tier] = {}
        self.abandoned: set[str] = set()  # begun and not finished, or on the way out: to be removed
        self.creating: set[str] = set()
        self.growing: set[str] = set()  # closed for a moment
        self.locks: dict[str, trio.Lock] = {}  # one change of one target at a time
        self.changes = Changes(self)
        self.random = os.urandom
        self.ticks = 0
        control.catalogue.rented = self.entry

    @property
    def store(self) -> Store:
        if self._store is None:
            raise StoreUnavailable("there is none")
        return self._store

    def tenant_of(self, name: str) -> str | None:
        """Who rents the target of this iSCSI name; None for what nobody rents."""
        target = self.known.get(name.removeprefix(self.name("")))
        return target.tenant_id if target is not None else None

    def name(self, id: str) -> str:
        """The iSCSI name."""
        return f"{self.control.config.iqn_prefix}:{id}"

    # -- what logins ask ---------------------------------------------------------------------------------

    def entry(self, id: str) -> Entry | None:
        """For the catalogue.  What is being made or removed is not there."""
        target = self.known.get(id)
        if target is None or target.state in (TargetState.CREATING, TargetState.DELETING):
            return None
        tier = self.tiers.get(target.tier)
        return RentedEntry(
            name=self.name(id),
            luns=(),
            units=tuple(self.describe(u) for u in target.served),
            budget=0,
            public=False,
            shared=True,
            alias=target.alias,
            algorithm_floor=target.algorithm_floor,
            initiators=target.initiators,
            nexus=target.nexus,
            closed=GROWING if id in self.growing else closed(target),
            tls_required=target.tls_required,
            certificate_required=target.certificate_required,
            certificates=self.control.identities.of(target.tenant_id),
            most_sessions=tier.sessions if tier is not None else None,
            rates=rates_of(tier) if tier is not None else Rates(),
            accounts=self.accounts.get(id, ()),
            vault=self.store.vault,
        )

    def describe(self, unit: Unit) -> LunDescriptor:
        """For a worker."""
        image = self.control.catalogue.store.path(unit.image) if unit.image is not None else None
        return descriptor(unit, image, self.kept.get(unit.id))

    async def overlays(self) -> frozenset[str]:
        """What the janitor keeps: asked of the store itself.  Raises StoreUnavailable."""
        if self._store is None:
            return frozenset()
        known = frozenset(unit.overlay for target in self.known.values() for unit in target.units)
        return known | await self.store.call(targets.overlays)

    def image_in_use(self, name: str) -> bool:
        return any(unit.image == name for target in self.known.values() for unit in target.units)

    # -- renting -----------------------------------------------------------------------------------------

    async def create(self, wish: Wish) -> Rented:
        """Make a target.  Raises StoreError and OSError; then nothing was made, or it will be taken back."""
        # Until it is done nobody has heard of it, and any way out of here leaves it to be taken back.
        id = new_id(self.random)
        self.abandoned.add(id)
        self.creating.add(id)
        try:
            try:
                ordered = await self.store.call(
                    order, self.store.vault, wish, id, self.control.catalogue.images, now(), self.random
                )
            except (NotFound, Conflict, Exhausted, Invalid):
                self.abandoned.discard(id)  # there is nothing of it
                raise
            target, tenant, account = ordered.target, ordered.tenant, ordered.account
            self.tiers[ordered.tier.name] = ordered.tier
            self.known[id] = target
            await trio.to_thread.run_sync(self.disks.make, target)
            done, sealed = await self.store.call(activate, id, now())
            self.accounts[id] = sealed
            self.known[id] = done
            self.abandoned.discard(id)
        finally:
            self.creating.discard(id)
        log.info("target %s of %s was made", id, tenant.name)
        return Rented(target=done, account=account)

    async def new_secret(self, id: str) -> Rented:
        """Another CHAP secret in place of the last.  Sessions go on; the next login needs the new one."""
        async with self.lock(id):
            try:
                target, sealed, account = await self.store.call(
                    _new_secret, self.store.vault, id, self.random, now()
                )
            except StoreUnavailable as away:
                self.accounts_in_doubt |= away.unknown
                raise
            self.accounts[id] = sealed
        return Rented(target=target, account=account)

    async def rotate_keys(self) -> int:
        """Seal every secret with a new key; how many."""
        return await rotate_keys(self.store, self._reload_accounts)

    async def _reload_accounts(self) -> None:
        fresh: dict[str, tuple[SealedAccount, ...]] = {}
        for account in await self.store.call(accounts.sealed):
            fresh[account.target_id] = (*fresh.get(account.target_id, ()), account)
        self.accounts = fresh
        self.accounts_in_doubt = False

    # -- changing ----------------------------------------------------------------------------------------

    def find(self, id: str, tenant_id: str | None = None) -> Target:
        """By id or name.  Raises NotFound also for what is another tenant's."""
        target = self.known.get(id.removeprefix(self.name("")))
        if target is None or (tenant_id is not None and target.tenant_id != tenant_id):
            raise NotFound("target", id)
        return target

    async def leave(self, id: str, state: TargetState, reason: str = "") -> Target:
        """SUSPENDED, EXPIRED or OFFLINE: nobody may log in any more, and who is there is sent away."""
        async with self.lock(id):
            target = self.known[id] = await self.store.call(_move, id, state, reason, now())
            await self.close(target)
        return target

    async def resume(self, id: str, looked: bool = False) -> Target:
        """ACTIVE again, if its disks are what they should be.  Raises Conflict if not.

        ``looked``: an operator has seen to a medium that failed, and what is there may be served."""
        target = self.find(id)
        if target.expires is not None and target.expires <= now():
            raise Conflict(f"the time of target {id} is over")
        if looked:
            await trio.to_thread.run_sync(self.disks.forget_failures, target)
        wrong = await trio.to_thread.run_sync(self.disks.mend, target)
        if wrong:
            raise Conflict(f"target {id} cannot be served: {'; '.join(wrong.values())}")
        async with self.lock(id):
            done = self.known[id] = await self.store.call(_move, id, TargetState.ACTIVE, "", now())
        return done

    async def destroy(self, id: str) -> None:
        """For ever.  Whatever fails on the way, ``tick`` goes on with it."""
        self.abandoned.add(id)
        await self.take_back(id)

    async def take_back(self, id: str) -> None:
        """Remove it, however far it has come or gone."""
        async with self.lock(id):
            try:
                target = await self.store.call(_move, id, TargetState.DELETING, "", now())
            except NotFound:
                self._forget(id)
                return
            self.known[id] = target
            await self.close(target)
            await trio.to_thread.run_sync(self.disks.remove, target)
            await self.store.call(targets.remove, id)
            self._forget(id)

    def lock(self, id: str) -> trio.Lock:
        return self.locks.setdefault(id, trio.Lock())

    def _forget(self, id: str) -> None:
        self.locks.pop(id, None)
        self.control.desk.journal.attempts.forget(self.name(id))
        target = self.known.pop(id, None)
        self.accounts.pop(id, None)
        self.abandoned.discard(id)
        for unit in target.units if target is not None else ():
            self.kept.pop(unit.id, None)

    async def close(self, target: Target) -> None:
        """End its sessions; then its worker lets go of the disks."""
        control, name = self.control, self.name(target.id)
        await self._dismiss(name)
        with trio.move_on_after(CLOSE_SECONDS):
            while control.placement.count(name):
                for record in [r for r in control.placement.records.values() if r.target.name == name]:
                    await control.desk.ask(record, "kick")
                with trio.move_on_after(0.2):
                    await control.session_news.park()
        owner = control.placement.owners.get(name)
        worker = control.worker_at(owner) if owner is not None else None
        if worker is not None:
            try:
                for wrong in await worker.channel.call("release", {"target": name}):
                    log.error("%s: not on the medium: %s", name, wrong)
            except (CallError, ChannelClosed) as error:
                log.warning("%s: its worker did not let go of it: %s", name, error)
        if control.placement.owners.get(name) == owner:
            control.placement.owners.pop(name, None)

    async def _dismiss(self, name: str) -> None:
        """Ask who is there to log out, as far as they understand it (RFC 7143 §11.9.1), and wait a little."""
        placement = self.control.placement
        records = [r for r in placement.records.values() if r.target.name == name]
        asked = [r for r in records if await self.control.desk.ask(r, "dismiss", seconds=LOGOUT_SECONDS)]
        with trio.move_on_after(LOGOUT_SECONDS):
            while any(record.session in placement.records for record in asked):
                await self.control.session_news.park()

    # -- reservations ------------------------------------------------------------------------------------

    async def keep_reservations(self, name: str, lun: int, state: dict[str, Any]) -> bool:
        """Make them durable; False: not of a rented target.  Raises CallError when they are not kept."""
        target = self.known.get(name.removeprefix(self.name("")))
        unit = next((u for u in target.units if u.lun == lun), None) if target is not None else None
        if target is None or unit is None:
            return False
        before = self.kept.get(unit.id, StoredReservations(unit_id=unit.id, version=0))
        after = stored(unit.id, before.version + 1, boot_id().hex(), state)
        happened = told(lun, before, after, state["action"], state["by"])
        try:
            await self.store.call(_keep, target, after, happened, now())
        except (StoreUnavailable, Conflict) as error:
            unknown = isinstance(error, Conflict) or error.unknown
            if not unknown or await self._outcome(unit.id) != after:
                raise CallError("not_kept", str(error)) from None
        self.kept[unit.id] = after
        return True

    async def _outcome(self, unit: str) -> StoredReservations | None:
        """What is stored after all; None if that cannot be learnt either."""
        with trio.move_on_after(OUTCOME_SECONDS):
            while True:
                try:
                    self.kept[unit] = await self.store.call(reservations.get, unit)
                    return self.kept[unit]
                except StoreUnavailable:
                    await trio.sleep(0.2)
        return None

    # -- time --------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """What time brings: the end of lifetimes, and the rest of what was begun.  Raises nothing."""
        at = now()
        self.ticks += 1
        try:
            if self.accounts_in_doubt:
                await self._reload_accounts()
            await self.changes.warn(at)
            for target in [t for t in self.known.values() if _due(t, at)]:
                await self.leave(target.id, TargetState.EXPIRED)
                log.info("target %s has expired", target.id)
            await notice_failures(self)
            self.abandoned |= {t.id for t in self.known.values() if self._over(t, at)}
            for id in self.abandoned - self.creating:
                await self.take_back(id)
            await self.changes.take_back_all()
            if self._store is not None and self.ticks % PRUNE_TICKS == 1:
                await self.store.call(journal.prune, at)
        except (StoreError, OSError) as error:
            log.warning("will try again: %s", error)

    def _over(self, target: Target, at: datetime) -> bool:
        tier = self.tiers.get(target.tier)
        if target.state is not TargetState.EXPIRED or target.expires is None or tier is None:
            return False
        return at >= target.expires + timedelta(seconds=tier.expiry_grace_seconds)

    async def run(self, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Bring back what is rented, then look after it."""
        if self._store is not None:
            await resume_all(self)
        task_status.started()
        while True:
            await trio.sleep(TICK_SECONDS)
            await self.tick()


def now() -> datetime:
    return datetime.now(UTC)


def _due(target: Target, at: datetime) -> bool:
    living = target.state in (TargetState.ACTIVE, TargetState.SUSPENDED, TargetState.OFFLINE)
    return living and target.expires is not None and target.expires <= at


# -- transactions --------------------------------------------------------------------------------------------


def _new_secret(
    connection: sa.Connection, vault: Vault, id: str, random: Random, at: datetime
) -> tuple[Target, tuple[SealedAccount, ...], Account]:
    """Each account of it gets another secret; a target has one account."""
    target = targets.get(connection, id)
    made = [
        Account(
            user=before.user,
            secret=generate_secret(random),
            mutual_user=before.mutual_user,
            mutual_secret=generate_secret(random) if before.mutual_user is not None else None,
        )
        for before in accounts.sealed(connection, id)
    ]
    if not made:
        raise Conflict(f"target {id} has no account")
    for account in made:
        accounts.put(connection, vault, id, account)
    _note(connection, target, "target.secret", f"target {id} has another CHAP secret", at)
    return target, accounts.sealed(connection, id), made[0]


def _move(connection: sa.Connection, id: str, state: TargetState, reason: str, at: datetime) -> Target:
    before = targets.get(connection, id)
    done = targets.move(connection, id, state, reason)
    if done.state is not before.state:
        words = f"target {id} is {state}" + (f": {reason}" if reason else "")
        _note(connection, done, f"target.{state.lower()}", words, at)
    return done


def _keep(
    connection: sa.Connection,
    target: Target,
    after: StoredReservations,
    happened: Happened | None,
    at: datetime,
) -> None:
    """What holds from now on, and how it came about, in one commit."""
    reservations.replace(connection, after)
    if happened is not None:
        _note(connection, target, happened.kind, happened.text, at, happened.data)
    if after.version % TRIMMED_EVERY == 0:
        journal.trim(connection, target.id, "reservation.", EVENTS_PER_TARGET)


def _note(
    connection: sa.Connection,
    target: Target,
    kind: str,
    text: str,
    at: datetime,
    data: Mapping[str, Any] | None = None,
) -> None:
    journal.note(connection, kind, text, at, tenant_id=target.tenant_id, target_id=target.id, data=data)
