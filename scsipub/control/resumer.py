"""The resumer: at the start it brings back what is rented, or says why not.

Each disk is looked at before anybody may log in: its files, their lengths and headers, and the image below.
What is not as it should be is OFFLINE with the reason; never is an empty disk made in its place.  What was
being made or removed when the daemon ended is removed: nobody was told of the one, nobody wants the other.

Knows the store and, through ``RentedDisks``, the files."""

import logging
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa
import trio

from scsipub.storage.layout import boot_id
from scsipub.store import accounts, certificates, journal, reservations, targets, tenants
from scsipub.store.accounts import SealedAccount
from scsipub.store.errors import StoreError, StoreUnavailable
from scsipub.store.records import StoredReservations, Target, TargetState, TenantCertificate, UnitState
from scsipub.tiers import Tier

if TYPE_CHECKING:
    from scsipub.control.rentals import Rentals

log = logging.getLogger("scsipub.resumer")

LOOK_AGAIN_SECONDS = 1.0
_UNFINISHED = (TargetState.CREATING, TargetState.DELETING)


@attrs.frozen
class Everything:
    """What the store has of rented targets."""

    targets: tuple[Target, ...]
    accounts: tuple[SealedAccount, ...]
    reservations: tuple[StoredReservations, ...]
    tiers: tuple[Tier, ...]
    certificates: tuple[TenantCertificate, ...]
    dropped: int  # units whose reservations a power loss has ended


def _read(connection: sa.Connection, boot: str, from_file: list[Tier]) -> Everything:
    tenants.settle_tiers(connection, from_file)
    dropped = reservations.drop_of_other_boots(connection, boot)
    found = targets.everything(connection)
    for target, unit in [(t, u) for t in found for u in t.units if u.id in dropped]:
        words = f"LUN {unit.lun}: a power loss has ended every registration"
        ids = {"tenant_id": target.tenant_id, "target_id": target.id}
        journal.note(connection, "reservation.lost", words, datetime.now(UTC), data={"lun": unit.lun}, **ids)
    return Everything(
        found,
        accounts.sealed(connection),
        reservations.everything(connection),
        tenants.tiers(connection),
        certificates.every(connection),
        len(dropped),
    )


async def resume_all(rentals: "Rentals") -> None:
    """Waits for the store if it must."""
    began = monotonic()
    found = await _patiently(rentals)
    if found.dropped:
        log.warning("a power loss has ended the reservations of %d units", found.dropped)
    rentals.tiers = {tier.name: tier for tier in found.tiers}
    rentals.kept = {kept.unit_id: kept for kept in found.reservations}
    rentals.control.identities.take(found.certificates)
    rentals.accounts = {}
    for account in found.accounts:
        rentals.accounts[account.target_id] = (*rentals.accounts.get(account.target_id, ()), account)
    wrong = await trio.to_thread.run_sync(_troubles, rentals, found.targets)
    offline = 0
    for target in found.targets:
        if target.state in _UNFINISHED:
            rentals.known[target.id] = target
            rentals.abandoned.add(target.id)
            continue
        judged = target
        if wrong[target.id] or not _well(target):  # a transaction for each of thousands takes seconds
            judged = await rentals.store.call(_judge, target, wrong[target.id])
        rentals.known[target.id] = judged
        rentals.changes.note_unfinished(judged)
        if judged.state is TargetState.OFFLINE:
            offline += 1
            log.error("target %s is offline: %s", target.id, judged.reason)
    for id in list(rentals.abandoned):
        try:
            await rentals.take_back(id)
        except (StoreError, OSError) as error:
            log.warning("target %s cannot be removed yet: %s", id, error)
    await rentals.changes.take_back_all()
    log.info(
        "%d rented targets, %d of them offline, in %.1f s", len(rentals.known), offline, monotonic() - began
    )


async def notice_failures(rentals: "Rentals") -> None:
    """A medium that failed takes its target offline: only an operator can say that it is well again."""
    failed = await trio.to_thread.run_sync(rentals.disks.failed)
    if not failed:
        return
    for target in [t for t in rentals.known.values() if t.state is TargetState.ACTIVE]:
        wrong = [f"LUN {unit.lun}: {failed[unit.id]}" for unit in target.units if unit.id in failed]
        if wrong:
            log.error("target %s is offline: %s", target.id, "; ".join(wrong))
            await rentals.leave(target.id, TargetState.OFFLINE, "; ".join(wrong)[:1024])


async def _patiently(rentals: "Rentals") -> Everything:
    from_file = list(rentals.control.config.tiers.values())
    while True:
        try:
            return await rentals.store.call(_read, boot_id().hex(), from_file)
        except StoreUnavailable as away:
            log.warning("waiting for the database: %s", away.why)
            await trio.sleep(LOOK_AGAIN_SECONDS)


def _troubles(rentals: "Rentals", found: tuple[Target, ...]) -> dict[str, dict[str, str]]:
    """For each target, what is wrong with which unit that cannot be mended.  Blocks."""
    return {t.id: rentals.disks.mend(t) for t in found if t.state not in _UNFINISHED}


def _well(target: Target) -> bool:
    """Nothing was wrong with it when somebody looked last."""
    units = all(unit.state is UnitState.ACTIVE for unit in target.served)
    return units and target.state is not TargetState.OFFLINE


def _judge(connection: sa.Connection, target: Target, wrong: dict[str, str]) -> Target:
    """Offline or back, for each unit and for the target.  Writes only where something changes.

    A target that is suspended or has expired stays that; it is looked at again when it is resumed."""
    for unit in target.served:
        reason = wrong.get(unit.id, "")
        state = UnitState.OFFLINE if reason else UnitState.ACTIVE
        if (unit.state, unit.reason) != (state, reason):
            targets.change_unit(connection, unit.id, state=state, reason=reason)
    reason = "; ".join(wrong.values())[:1024]
    if target.state is TargetState.ACTIVE and wrong:
        to, kind = TargetState.OFFLINE, "target.offline"
    elif target.state is TargetState.OFFLINE and not wrong:
        to, kind = TargetState.ACTIVE, "target.online"
    elif target.state is TargetState.OFFLINE and target.reason != reason:
        return targets.move(connection, target.id, TargetState.OFFLINE, reason)
    else:
        return targets.get(connection, target.id) if wrong else target
    done = targets.move(connection, target.id, to, reason)
    journal.note(
        connection,
        kind,
        f"target {target.id} is {to}" + (f": {reason}" if reason else ""),
        datetime.now(UTC),
        tenant_id=target.tenant_id,
        target_id=target.id,
    )
    return done
