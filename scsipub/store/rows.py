"""From rows to records, and what all tables need.

Knows SQLAlchemy and the records.  JSON has lists where records have tuples and sets."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from scsipub.store.errors import NotFound
from scsipub.store.records import Page
from scsipub.store.schema import Moment

R = TypeVar("R")

MOST_ITEMS = 200  # of a page


def one(connection: sa.Connection, query: sa.Select[Any], make: Callable[..., R], kind: str, id: str) -> R:
    """The one row, or NotFound."""
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(kind, id)
    return make(**row)


def many(connection: sa.Connection, query: sa.Select[Any], make: Callable[..., R]) -> tuple[R, ...]:
    return tuple(make(**row) for row in connection.execute(query).mappings())


def changed(result: sa.CursorResult[Any], kind: str, id: str) -> None:
    """An UPDATE or DELETE found its row, or NotFound."""
    if result.rowcount != 1:
        raise NotFound(kind, id)


def page(
    connection: sa.Connection,
    query: sa.Select[Any],
    make: Callable[..., Any],
    order: tuple[sa.Column[Any], ...],
    *,
    after: str | None,
    limit: int,
    descending: bool = False,
) -> Page:
    """A piece of ``query``, ordered by ``order``, which together are unique.

    By position, not by offset: rows that come and go meanwhile neither repeat nor hide others."""
    limit = max(1, min(limit, MOST_ITEMS))
    if after is not None:
        start = sa.tuple_(
            *(sa.literal(v, c.type) for v, c in zip(_cursor_untrusted(after, order), order, strict=True))
        )
        query = query.where(sa.tuple_(*order) < start if descending else sa.tuple_(*order) > start)
    query = query.order_by(*(c.desc() if descending else c.asc() for c in order)).limit(limit + 1)
    rows = list(connection.execute(query).mappings())
    following = _make_cursor([rows[limit - 1][c.name] for c in order]) if len(rows) > limit else None
    return Page(items=tuple(make(**row) for row in rows[:limit]), next=following)


def _make_cursor(values: list[Any]) -> str:
    said = [v.astimezone(UTC).isoformat() if isinstance(v, datetime) else v for v in values]
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


def _cursor_untrusted(text: str, order: tuple[sa.Column[Any], ...]) -> list[Any]:
    """What a stranger gave back to us.  Raises NotFound for whatever we did not make."""
    try:
        if len(text) > 400:
            raise ValueError("too long")
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not isinstance(values, list) or len(values) != len(order):
            raise ValueError("not a position")
        return [_position(value, _kind(column)) for value, column in zip(values, order, strict=True)]
    except (ValueError, RecursionError):  # of base64, JSON, UTF-8, and datetime
        raise NotFound("position in the list", repr(text[:40])) from None


def _kind(column: sa.Column[Any]) -> type:
    return datetime if isinstance(column.type, Moment) else column.type.python_type


def _position(value: Any, wanted: type) -> Any:
    if wanted is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ValueError("of another kind")
    if isinstance(value, int) and not -(1 << 62) < value < 1 << 62:
        raise ValueError("too large")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("PostgreSQL keeps no NUL in a text")
    return value
