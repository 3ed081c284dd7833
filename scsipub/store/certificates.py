"""Client certificates by which tenants are known: a fingerprint, or a name that an authority vouches for.

Source: RFC 5280 §4.2.1.6 (names).  An identity belongs to one tenant at most.

Each function takes a connection in a transaction; ``Store.call`` gives it one."""

import re
from datetime import datetime

import attrs
import sqlalchemy as sa

from scsipub.store import schema
from scsipub.store.errors import Conflict, Invalid
from scsipub.store.ids import Random, new_id
from scsipub.store.records import TenantCertificate
from scsipub.store.rows import changed, many
from scsipub.store.tenants import tenant

# Of one tenant: a rack of machines, each with its own.
MOST = 256
NAME_CHARACTERS = 255
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def check_identity(text: str) -> str:
    """``sha256:64 HEX DIGITS`` (colons between them are taken out) or ``name:NAME``.  Raises Invalid."""
    kind, _, value = text.partition(":")
    if kind == "sha256":
        text = f"sha256:{value.replace(':', '').lower()}"
        if _FINGERPRINT.fullmatch(text):
            return text
    elif kind == "name" and 0 < len(value) <= NAME_CHARACTERS and value.isprintable():
        return text
    raise Invalid("a certificate is known by sha256:64 HEX DIGITS or by name:NAME", "identity")


def add(
    connection: sa.Connection, tenant_id: str, identity: str, now: datetime, random: Random
) -> TenantCertificate:
    """Raises NotFound for the tenant, Invalid, and Conflict when it is somebody's already."""
    identity = check_identity(identity)
    owner = tenant(connection, tenant_id)
    c = schema.tenant_certificates.c
    if connection.execute(sa.select(c.id).where(c.identity == identity)).first():
        raise Conflict(f"{identity} belongs to a tenant already")
    if len(every(connection, owner.id)) >= MOST:
        raise Conflict(f"a tenant has up to {MOST} certificates")
    made = TenantCertificate(id=new_id(random), tenant_id=owner.id, identity=identity, created=now)
    connection.execute(schema.tenant_certificates.insert().values(**attrs.asdict(made)))
    return made


def every(connection: sa.Connection, tenant_id: str | None = None) -> tuple[TenantCertificate, ...]:
    """A tenant's, oldest first; None: everybody's."""
    c = schema.tenant_certificates.c
    query = sa.select(schema.tenant_certificates).order_by(c.created, c.id)
    if tenant_id is not None:
        query = query.where(c.tenant_id == tenant_id)
    return many(connection, query, TenantCertificate)


def remove(connection: sa.Connection, id: str) -> None:
    """Raises NotFound."""
    table = schema.tenant_certificates
    changed(connection.execute(table.delete().where(table.c.id == id)), "certificate", id)
