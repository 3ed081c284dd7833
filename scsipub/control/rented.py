"""Rented targets in the words of the others: for the catalogue an entry, for a worker a description, for SCSI
its reservations, for people a JSON object.

Pure.  Secrets stay sealed until an initiator proves that it knows them."""

import logging
from collections.abc import Mapping
from typing import Any

import attrs

from scsipub.control.catalogue import Entry
from scsipub.iscsi.chap import Account
from scsipub.iscsi.constants import LoginStatus
from scsipub.storage.base import SECTOR, BaseIdentity
from scsipub.store.accounts import SealedAccount
from scsipub.store.errors import SecretUnreadable
from scsipub.store.records import StoredReservations, Target, TargetState, Unit
from scsipub.store.vault import Vault
from scsipub.target.descriptor import LunDescriptor

log = logging.getLogger("scsipub.rentals")

# A state that is not here: the target serves, or is not there at all.
CLOSED: Mapping[TargetState, tuple[int, str]] = {
    TargetState.SUSPENDED: (LoginStatus.AUTHORIZATION_FAILURE, "the target is suspended"),
    TargetState.EXPIRED: (LoginStatus.AUTHORIZATION_FAILURE, "the target's time is over"),
    TargetState.OFFLINE: (LoginStatus.SERVICE_UNAVAILABLE, "the target is offline"),
}
# For a moment; initiators try again by themselves.
GROWING: tuple[int, str] = (LoginStatus.SERVICE_UNAVAILABLE, "a disk of the target is being made longer")


@attrs.frozen(kw_only=True)
class RentedEntry(Entry):
    """A rented target as the catalogue knows targets."""

    accounts: tuple[SealedAccount, ...]
    vault: Vault

    @property
    def authenticated(self) -> bool:
        return True  # with no account left, nobody comes in

    @property
    def mutual(self) -> bool:
        return any(each.mutual is not None for each in self.accounts)

    def account(self, user: str) -> Account | None:
        asked_for = next((each for each in self.accounts if each.user == user), None)
        # Of a user who is not there, somebody else's is opened and thrown away: it takes as long.
        sealed = asked_for or next(iter(self.accounts), None)
        if sealed is None:
            return None
        try:
            known = sealed.open(self.vault)
        except SecretUnreadable as error:
            log.error("%s: %s", self.name, error)
            return None
        if asked_for is None:
            return None
        return Account(
            principal=user,
            secret=known.secret.encode(),
            mutual_name=known.mutual_user,
            mutual_secret=known.mutual_secret.encode() if known.mutual_secret else None,
        )


def closed(target: Target) -> tuple[int, str] | None:
    """Why nobody may log in, and the status that says so."""
    found = CLOSED.get(target.state)
    if found is None:
        return None
    status, why = found
    return status, f"{why}: {target.reason}" if target.reason else why


def descriptor(unit: Unit, image_path: str | None, kept: StoredReservations | None) -> LunDescriptor:
    """What a worker needs to serve the unit."""
    return LunDescriptor(
        lun=unit.lun,
        uuid=unit.id,
        overlay=unit.overlay,
        size=unit.size,
        budget=unit.budget,
        image=image_path,
        image_sha256=unit.image_sha256,
        read_only=unit.read_only,
        block_size=unit.block_size,
        reservations=state_of(kept) if kept is not None and kept.version else None,
        persistent=True,
    )


def base_of(unit: Unit) -> BaseIdentity:
    """What the unit's overlay must stand on."""
    if unit.image is None:
        return BaseIdentity(bytes(32), unit.size // SECTOR * SECTOR)
    return BaseIdentity(bytes.fromhex(unit.image_sha256), unit.base_bytes)


# -- reservations: what ``target.keeping`` writes, and what the store keeps ----------------------------------


def state_of(kept: StoredReservations) -> dict[str, Any]:
    return {
        "generation": kept.generation,
        "kind": kept.kind,
        "holder": None if kept.holder is None else dict(kept.holder),
        "aptpl": kept.aptpl,
        "registrations": [dict(each) for each in kept.registrations],
    }


def stored(unit: str, version: int, boot: str, state: Mapping[str, Any]) -> StoredReservations:
    return StoredReservations(
        unit_id=unit,
        version=version,
        generation=state["generation"],
        kind=state["kind"],
        holder=state["holder"],
        registrations=tuple(state["registrations"]),
        aptpl=state["aptpl"],
        boot=boot,
    )


# -- for people ----------------------------------------------------------------------------------------------


def to_json(target: Target, name: str, tenant: str = "") -> dict[str, Any]:
    """Everything but secrets."""
    return {
        "id": target.id,
        "name": name,
        "tenant": tenant or target.tenant_id,
        "tier": target.tier,
        "alias": target.alias,
        "state": str(target.state),
        "reason": target.reason,
        "nexus": target.nexus,
        "initiators": list(target.initiators),
        "tls_required": target.tls_required,
        "certificate_required": target.certificate_required,
        "created": target.created.isoformat(timespec="seconds"),
        "expires": target.expires.isoformat(timespec="seconds") if target.expires is not None else None,
        "expiring": target.expiring,
        "luns": [
            {
                "lun": unit.lun,
                "size": unit.size,
                "block_size": unit.block_size,
                "image": unit.image,
                "uuid": unit.id,
                "state": str(unit.state),
                "reason": unit.reason,
            }
            for unit in target.units
        ],
    }
