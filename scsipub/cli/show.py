"""How answers look: tables for eyes, JSON for machines, numbers that a person can read.

Knows rich; nothing of what is shown.  Text that a stranger chose (names, errors) is shown with control
characters replaced, so that it cannot move the cursor of whoever looks."""

import datetime
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """Where tables go.  A pipe has no width: names must not be cut to 80 columns there."""
    return Console(width=None if sys.stdout.isatty() else 240, highlight=False)


def error_console() -> Console:
    """Where progress goes."""
    return Console(stderr=True, highlight=False)


def show_json(answer: Any) -> None:
    """One document on stdout."""
    print(json.dumps(answer, indent=2))


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table; columns whose name ends in ``#`` hold numbers and are set flush right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        justify = "right" if column.endswith("#") else "left"
        table.add_column(column.rstrip("#"), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(harmless(str(cell))) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        console().print(Text(empty))


def harmless(text: str) -> str:
    """No character that a terminal obeys."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def size(count: object) -> str:
    """``1.5 GiB``.  What is no number is shown as it is."""
    if not isinstance(count, int | float):
        return "-" if count is None else str(count)
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.1f} {unit}"


def duration(seconds: object) -> str:
    """``2d 3h``, ``4m 5s``: the two largest units."""
    if not isinstance(seconds, int | float):
        return "-"
    rest = max(0, int(seconds))
    parts: list[str] = []
    for name, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (name == "s" and not parts):
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])


def since(moment: object, now: datetime.datetime) -> str:
    """How long ago an ISO 8601 moment was."""
    try:
        then = datetime.datetime.fromisoformat(str(moment))
    except ValueError:
        return "-"
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    return duration((now - then).total_seconds())
