"""Tables of the configuration file: known keys, each with its parser; everything else is refused.

Knows nothing of what the keys mean."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from scsipub.config.values import NotAllowed, shown
from scsipub.errors import OperatorError

Parsers = Mapping[str, Callable[[object], Any]]

# Values under these keys are never repeated in a message: it may end up in a log.
_SECRETS = frozenset({"secret", "mutual_secret"})


def refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """A misspelt key is an error, never ignored."""
    known = list(known)
    for key in table:
        if key not in known:
            raise OperatorError(f"{where}: there is no setting called {shown(key)}.", _hint(key, known))


def _hint(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1) or [name for name in known if key and key in name]
    if close:
        return f"Did you mean {close[0]}?"
    return (
        f"Known here: {', '.join(known)}." if len(known) <= 40 else "docs/limits.md lists what is known here."
    )


def read_row(row: Mapping[str, Any], parsers: Parsers, where: str) -> dict[str, Any]:
    """Each key through its parser; only what was written is in the answer."""
    refuse_unknown(row, parsers, where)
    said = {}
    for key, raw in row.items():
        try:
            said[key] = parsers[key](raw)
        except NotAllowed as no:
            what = "is not one we can use" if key in _SECRETS else f"is {shown(raw)}"
            raise OperatorError(f"{where}: {key} {what}.", no.allowed) from None
    return said


def rows(table: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    """An array of tables, ``[[name]]``; absent is empty."""
    found = table.get(name, [])
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise OperatorError(f"{where}: {name} is not a list of tables.", f"Begin each with [[{name}]].")
    return found


def subtable(table: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """A table, ``[name]``; absent is empty."""
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise OperatorError(f"{where}: {name} is not a table.", f"Begin it with [{name}].")
    return found
