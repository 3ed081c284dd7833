"""The parts of ``docs/`` that are written from tables in the code.

    make docs                   rewrites them
    tests/test_docs.py          fails when one differs

A part stands between ``<!-- NAME: written by make docs -->`` and ``<!-- end NAME -->``.  To add one, put the
two lines into the document and a function into ``PARTS``."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs

from scsipub.config import SETTINGS, Config
from scsipub.limits import GiB, KiB, Limits, MiB
from tests.conformance import expected, setups
from tests.support import protocol_parts, scsi_parts

DOCS = Path(__file__).resolve().parents[2] / "docs"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def amount(name: str, value: float) -> str:
    """A default as people write it in the configuration file."""
    if isinstance(value, int) and value >= KiB and not name.endswith(("_entries", "_start", "_full")):
        for unit, word in ((GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
            if value % unit == 0:
                return f"{value // unit} {word}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def limits() -> str:
    fields = attrs.fields(Limits)
    rows = [(f"`{f.name}`", amount(f.name, f.default), f.metadata["reason"]) for f in fields]
    return markdown_table(("limit", "default", "why"), rows)


def settings() -> str:
    defaults = {field.name: field.default for field in attrs.fields(Config)}

    def default(name: str) -> str:
        value = defaults[name]
        if value is None or isinstance(value, attrs.Factory):
            return ""
        return ",".join(value) if isinstance(value, tuple) else str(value)

    rows = [(f"`{s.option}`", f"`{s.variable}`", f"`{s.name}`", default(s.name), s.help) for s in SETTINGS]
    return markdown_table(("option", "variable", "key", "default", "what it is"), rows)


def _table(part: Callable[[], tuple[scsi_parts.Row, list[scsi_parts.Row]]]) -> Callable[[], str]:
    return lambda: markdown_table(*part())


def _rows(columns: Sequence[str], rows: Callable[[], list[tuple[str, str, str]]]) -> Callable[[], str]:
    return lambda: markdown_table(columns, rows())


# document -> name of the part -> what writes it
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "conformance.md": {
        "set-ups": _rows(("set-up", "what it is", "what runs there"), setups.rows),
        "skips": _rows(("test", "what the suite says", "why"), expected.skip_rows),
        "impossible": _rows(("test", "check that fails", "why"), expected.impossible_rows),
    },
    "limits.md": {"limits": limits},
    "operations.md": {"settings": settings},
    "scsi.md": {
        "commands": _table(scsi_parts.commands),
        "pages": _table(scsi_parts.pages),
        "mode pages": _table(scsi_parts.mode_pages),
        "unit limits": _table(scsi_parts.unit_limits),
        "unit attentions": _table(scsi_parts.unit_attentions),
    },
    "protocol.md": protocol_parts.PARTS,
}


def with_parts(document: str, text: str) -> str:
    """The document as it should be.  ValueError where a part has no place in it."""
    for name, write in PARTS[document].items():
        begin, end = f"<!-- {name}: written by make docs -->", f"<!-- end {name} -->"
        place = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
        if not place.search(text):
            raise ValueError(f"docs/{document} has no place for {name}")
        text = place.sub(lambda _, part=f"{begin}\n{write()}\n{end}": part, text)
    return text


if __name__ == "__main__":
    for document in PARTS:
        file = DOCS / document
        file.write_text(with_parts(document, file.read_text()))
        print(f"wrote {file}")
