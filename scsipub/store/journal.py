"""What happened: events, and answers that may be asked for again.

All of it is bounded: the oldest goes first.  Each function takes a connection in a transaction."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from scsipub.store import schema
from scsipub.store.errors import Conflict, SecretUnreadable
from scsipub.store.records import Event, Page, Remembered
from scsipub.store.rows import page
from scsipub.store.vault import Place, Sealed, Vault

EVENTS = 100_000  # a year of a busy install
IDEMPOTENCY = timedelta(hours=24)

_E, _I = schema.events.c, schema.idempotency.c


def clipped(text: str, most: int) -> str:
    """Made to fit its column.  PostgreSQL keeps no NUL in a text."""
    return text.replace("\0", "?")[:most]


def note(
    connection: sa.Connection,
    kind: str,
    text: str,
    now: datetime,
    *,
    tenant_id: str | None = None,
    target_id: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Remember an event."""
    connection.execute(
        schema.events.insert().values(
            at=now,
            kind=kind,
            text=clipped(text, 1024),
            tenant_id=tenant_id,
            target_id=target_id,
            data=dict(data or {}),
        )
    )


def events(
    connection: sa.Connection,
    *,
    tenant_id: str | None = None,
    target_id: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Page:
    """From the newest on."""
    query = sa.select(schema.events)
    if tenant_id is not None:
        query = query.where(_E.tenant_id == tenant_id)
    if target_id is not None:
        query = query.where(_E.target_id == target_id)
    return page(connection, query, Event, (_E.id,), after=after, limit=limit, descending=True)


def trim(connection: sa.Connection, target_id: str, kinds: str, most: int) -> None:
    """Keep the last ``most`` events of one target whose kind begins with ``kinds``.

    Whoever makes many of them forgets only its own."""
    mine = (_E.target_id == target_id, _E.kind.startswith(kinds, autoescape=True))
    oldest = sa.select(_E.id).where(*mine).order_by(_E.id.desc()).offset(most - 1).limit(1).scalar_subquery()
    connection.execute(schema.events.delete().where(*mine, _E.id < oldest))


# -- answers that may be asked for again ---------------------------------------------------------------------


def begin(
    connection: sa.Connection, vault: Vault, caller: str, key: str, request: str, now: datetime
) -> Remembered | None:
    """The same request may have been made before: what it was answered, or None to go on and answer it.

    Raises Conflict when the key was used for another request, or while the first is still being answered."""
    row = _found(connection, caller, key)
    if row is not None and row["until"] <= now:
        forget(connection, caller, key)
        row = None
    if row is None:
        connection.execute(
            schema.idempotency.insert().values(
                caller=caller, key=key, request=request, status=0, until=now + IDEMPOTENCY
            )
        )
        return None
    if row["request"] != request:
        raise Conflict("this idempotency key was used for another request")
    if row["status"] == 0:
        raise Conflict("the first request with this idempotency key is still being answered")
    try:
        sealed = Sealed(row["key_id"], bytes(row["nonce"]), bytes(row["sealed"]))
        answer = json.loads(vault.unseal(sealed, _place(caller, key)))
    except SecretUnreadable:
        raise Conflict("the answer to this idempotency key cannot be shown again") from None
    return Remembered(request=request, status=row["status"], answer=answer)


def finish(connection: sa.Connection, vault: Vault, caller: str, key: str, status: int, answer: Any) -> None:
    """Remember the answer.  Sealed, since it may show a secret."""
    sealed = vault.seal(json.dumps(answer).encode(), _place(caller, key))
    connection.execute(
        schema.idempotency.update()
        .where(_I.caller == caller, _I.key == key)
        .values(status=status, sealed=sealed.data, nonce=sealed.nonce, key_id=sealed.key_id)
    )


def forget(connection: sa.Connection, caller: str, key: str) -> None:
    """The request came to nothing: it may be made again."""
    connection.execute(schema.idempotency.delete().where(_I.caller == caller, _I.key == key))


def forget_unfinished(connection: sa.Connection, caller: str | None = None, key: str | None = None) -> None:
    """At start: nobody is answering what was being answered.  Later: one of which that is known."""
    rows = _I.status == 0
    if caller is not None:
        rows &= (_I.caller == caller) & (_I.key == key)
    connection.execute(schema.idempotency.delete().where(rows))


def _found(connection: sa.Connection, caller: str, key: str) -> Any:
    query = sa.select(schema.idempotency).where(_I.caller == caller, _I.key == key)
    return connection.execute(query).mappings().first()


def _place(caller: str, key: str) -> Place:
    return Place("idempotency", caller, key)


# -- keeping it small ----------------------------------------------------------------------------------------


def prune(connection: sa.Connection, now: datetime) -> int:
    """Drop what is too old or too much; how many rows."""
    dropped = connection.execute(schema.idempotency.delete().where(_I.until <= now)).rowcount
    oldest = sa.select(_E.id).order_by(_E.id.desc()).offset(EVENTS - 1).limit(1).scalar_subquery()
    return dropped + connection.execute(schema.events.delete().where(_E.id < oldest)).rowcount
