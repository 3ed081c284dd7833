"""Tiers, tenants, and the tokens by which a tenant is known.

Each function takes a connection in a transaction; ``Store.call`` gives it one."""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import attrs
import cattrs
import sqlalchemy as sa

from scsipub.store import schema
from scsipub.store.errors import Conflict, NotFound
from scsipub.store.ids import Random, join_token, new_id, new_token, split_token_untrusted
from scsipub.store.records import SCOPES, Page, Tenant, Token
from scsipub.store.rows import changed, many, one, page
from scsipub.tiers import Tier

# How exactly it is known when a token was last used: a write for each request would be a price.
LAST_USED = timedelta(minutes=1)


# -- tiers ---------------------------------------------------------------------------------------------------


def put_tier(connection: sa.Connection, tier: Tier, *, from_file: bool = False) -> None:
    """Make or change a tier.  One that the configuration file describes is changed there only."""
    terms = cattrs.unstructure(tier)
    found = connection.execute(
        sa.select(schema.tiers.c.from_file).where(schema.tiers.c.name == tier.name)
    ).scalar_one_or_none()
    if found is None:
        connection.execute(schema.tiers.insert().values(name=tier.name, terms=terms, from_file=from_file))
    elif found and not from_file:
        raise Conflict(f"tier {tier.name} is the configuration file's; change it there")
    else:
        connection.execute(
            schema.tiers.update()
            .where(schema.tiers.c.name == tier.name)
            .values(terms=terms, from_file=from_file)
        )


def settle_tiers(connection: sa.Connection, from_file: list[Tier]) -> None:
    """At start: what the file says counts; a tier that it no longer names may be changed by others."""
    names = [tier.name for tier in from_file]
    connection.execute(schema.tiers.update().where(schema.tiers.c.name.not_in(names)).values(from_file=False))
    for tier in from_file:
        put_tier(connection, tier, from_file=True)


def tiers(connection: sa.Connection) -> tuple[Tier, ...]:
    rows = connection.execute(sa.select(schema.tiers).order_by(schema.tiers.c.name)).mappings()
    return tuple(_tier(**row) for row in rows)


def tier(connection: sa.Connection, name: str) -> Tier:
    return one(connection, sa.select(schema.tiers).where(schema.tiers.c.name == name), _tier, "tier", name)


def remove_tier(connection: sa.Connection, name: str) -> None:
    """Raises Conflict while a tenant or a target has it."""
    for table in (schema.tenants, schema.targets):
        if connection.execute(sa.select(table.c.id).where(table.c.tier == name).limit(1)).first():
            raise Conflict(f"tier {name} is in use by {table.name}")
    row = schema.tiers.c.name == name
    if connection.execute(sa.select(schema.tiers.c.from_file).where(row)).scalar():
        raise Conflict(f"tier {name} is the configuration file's; remove it there")
    changed(connection.execute(schema.tiers.delete().where(row)), "tier", name)


def _tier(*, name: str, terms: dict[str, Any], from_file: bool) -> Tier:
    # Fields that a tier of an earlier version lacks have their defaults; those it had too many are dropped.
    known = {field.name for field in attrs.fields(Tier)}
    return cattrs.structure({k: v for k, v in terms.items() if k in known} | {"name": name}, Tier)


# -- tenants -------------------------------------------------------------------------------------------------


def create_tenant(
    connection: sa.Connection, name: str, tier_name: str, now: datetime, random: Random
) -> Tenant:
    """Raises NotFound for the tier, Conflict for the name."""
    tier(connection, tier_name)
    if connection.execute(sa.select(schema.tenants.c.id).where(schema.tenants.c.name == name)).first():
        raise Conflict(f"there is a tenant {name} already")
    made = Tenant(id=new_id(random), name=name, tier=tier_name, created=now)
    connection.execute(schema.tenants.insert().values(**attrs.asdict(made)))
    return made


def tenant(connection: sa.Connection, id_or_name: str) -> Tenant:
    c = schema.tenants.c
    query = sa.select(schema.tenants).where((c.id == id_or_name) | (c.name == id_or_name))
    found = many(connection, query, Tenant)
    by_id = [t for t in found if t.id == id_or_name]
    for each in by_id or found:  # a name that is another's id does not hide that one
        return each
    raise NotFound("tenant", id_or_name)


def names(connection: sa.Connection, ids: Iterable[str]) -> dict[str, str]:
    """What those are called."""
    c = schema.tenants.c
    rows = connection.execute(sa.select(c.id, c.name).where(c.id.in_(set(ids))))
    return {row.id: row.name for row in rows}


def names_of_targets(connection: sa.Connection, ids: Iterable[str]) -> dict[str, str]:
    """What those are called who rent these targets, by their own ids."""
    c, t = schema.tenants.c, schema.targets.c
    rows = connection.execute(
        sa.select(c.id, c.name).distinct().join(schema.targets, t.tenant_id == c.id).where(t.id.in_(set(ids)))
    )
    return {row.id: row.name for row in rows}


def list_tenants(connection: sa.Connection, after: str | None = None, limit: int = 50) -> Page:
    return page(
        connection, sa.select(schema.tenants), Tenant, (schema.tenants.c.name,), after=after, limit=limit
    )


def change_tenant(connection: sa.Connection, id: str, /, **values: Any) -> Tenant:
    """``tier`` or ``suspended``."""
    unknown = set(values) - {"tier", "suspended"}
    if unknown:
        raise TypeError(f"a tenant's {unknown} cannot be changed")
    if "tier" in values:
        tier(connection, values["tier"])
    row = schema.tenants.c.id == id
    if not values:
        return tenant(connection, id)
    changed(connection.execute(schema.tenants.update().where(row).values(**values)), "tenant", id)
    return tenant(connection, id)


def remove_tenant(connection: sa.Connection, id: str) -> None:
    """Raises Conflict while there are targets: their disks must go first."""
    if connection.execute(sa.select(schema.targets.c.id).where(schema.targets.c.tenant_id == id)).first():
        raise Conflict("the tenant still has targets; destroy them first")
    changed(connection.execute(schema.tenants.delete().where(schema.tenants.c.id == id)), "tenant", id)


# -- tokens --------------------------------------------------------------------------------------------------


def create_token(
    connection: sa.Connection,
    tenant_id: str | None,
    name: str,
    scopes: frozenset[str],
    now: datetime,
    random: Random,
    *,
    expires: datetime | None = None,
) -> tuple[Token, str]:
    """A token and what its holder is shown, once.  ``tenant_id`` None: the operator's."""
    unknown = scopes - SCOPES
    if unknown or not scopes:
        raise Conflict(f"scopes are {', '.join(sorted(SCOPES))}")
    if tenant_id is not None:
        tenant(connection, tenant_id)
        if "admin" in scopes:
            raise Conflict("a tenant's token cannot have the scope admin")
    id, secret = new_token(random)
    made = Token(id=id, tenant_id=tenant_id, name=name, scopes=scopes, created=now, expires=expires)
    values = attrs.asdict(made) | {"scopes": sorted(scopes), "digest": _digest(secret)}
    connection.execute(schema.tokens.insert().values(**values))
    return made, join_token(id, secret)


def check_token_untrusted(connection: sa.Connection, shown: str, now: datetime) -> Token | None:
    """Whose token this is; None for all that is wrong, expired, revoked, or of a suspended tenant."""
    halves = split_token_untrusted(shown)
    if halves is None:
        return None
    id, secret = halves
    row = (
        connection.execute(
            sa.select(schema.tokens, schema.tenants.c.suspended)
            .outerjoin(schema.tenants, schema.tokens.c.tenant_id == schema.tenants.c.id)
            .where(schema.tokens.c.id == id)
        )
        .mappings()
        .one_or_none()
    )
    digest = bytes(row["digest"]) if row is not None else bytes(32)
    if not hmac.compare_digest(_digest(secret), digest) or row is None or row["suspended"]:
        return None
    found = _token(**{k: v for k, v in row.items() if k != "suspended"})
    if found.revoked is not None or (found.expires is not None and found.expires <= now):
        return None
    if found.last_used is None or now - found.last_used >= LAST_USED:
        connection.execute(schema.tokens.update().where(schema.tokens.c.id == id).values(last_used=now))
        found = attrs.evolve(found, last_used=now)
    return found


def list_tokens(
    connection: sa.Connection, tenant_id: str | None, after: str | None = None, limit: int = 50
) -> Page:
    """A tenant's tokens; None: everybody's."""
    query = sa.select(schema.tokens)
    if tenant_id is not None:
        query = query.where(schema.tokens.c.tenant_id == tenant_id)
    return page(
        connection, query, _token, (schema.tokens.c.created, schema.tokens.c.id), after=after, limit=limit
    )


def token(connection: sa.Connection, id: str) -> Token:
    """One of them, without its secret half."""
    return one(connection, sa.select(schema.tokens).where(schema.tokens.c.id == id), _token, "token", id)


def revoke_token(connection: sa.Connection, id: str, now: datetime, tenant_id: str | None = None) -> None:
    """For ever.  ``tenant_id``: only if it is that tenant's."""
    row = schema.tokens.c.id == id
    if tenant_id is not None:
        row &= schema.tokens.c.tenant_id == tenant_id
    kept = sa.func.coalesce(schema.tokens.c.revoked, sa.literal(now, schema.Moment()))
    changed(connection.execute(schema.tokens.update().where(row).values(revoked=kept)), "token", id)


def _token(*, digest: bytes, scopes: list[str], **rest: Any) -> Token:
    return Token(scopes=frozenset(scopes), **rest)


def _digest(secret: str) -> bytes:
    # Fast is right here: the secret has 256 random bits, there is nothing to guess.
    return hashlib.sha256(secret.encode()).digest()
