"""Making a target: the two transactions around the making of its files.

``order`` before them, ``activate`` after: a row that is CREATING speaks of files that may be there, one that
is ACTIVE of files that are on the medium.

Each function takes a connection in a transaction; ``Store.call`` gives it one."""

from collections.abc import Mapping
from datetime import datetime

import attrs
import sqlalchemy as sa

from scsipub.control.orders import Wish, plan
from scsipub.iscsi.chap import generate_secret
from scsipub.storage.images import Image
from scsipub.store import accounts, journal, targets, tenants
from scsipub.store.accounts import SealedAccount
from scsipub.store.ids import Random
from scsipub.store.records import Account, Target, Tenant
from scsipub.store.vault import Vault
from scsipub.tiers import Tier


@attrs.frozen
class Ordered:
    """What is to be made, and on whose terms."""

    tenant: Tenant
    tier: Tier
    target: Target
    account: Account


def order(
    connection: sa.Connection,
    vault: Vault,
    wish: Wish,
    id: str,
    images: Mapping[str, Image],
    at: datetime,
    random: Random,
) -> Ordered:
    """Look at the terms, plan, and remember the target as CREATING: one transaction."""
    tenant = tenants.tenant(connection, wish.tenant)
    tier = tenants.tier(connection, wish.tier or tenant.tier)
    target = plan(wish, tenant, tier, images, at, random, id)
    account = Account(
        user=tenant.name,
        secret=generate_secret(random),
        mutual_user="scsipub" if wish.mutual else None,
        mutual_secret=generate_secret(random) if wish.mutual else None,
    )
    targets.create(connection, target, most=tier.targets)
    accounts.put(connection, vault, id, account)
    return Ordered(tenant, tier, target, account)


def activate(connection: sa.Connection, id: str, at: datetime) -> tuple[Target, tuple[SealedAccount, ...]]:
    """The disks are there: as it is from now on, with its accounts."""
    done = targets.activate(connection, id)
    words = f"target {id} was made"
    journal.note(connection, "target.created", words, at, tenant_id=done.tenant_id, target_id=id)
    return done, accounts.sealed(connection, id)
