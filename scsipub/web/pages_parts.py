"""Parts of pages: templates, the few files that they need, and words for people.

Knows Jinja2, which escapes whatever it is given.  Every file is read once, at the start: there is no path
for a stranger to play with.  Text that a template shows goes through ``visible`` first."""

import hashlib
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import jinja2
from litestar import Response
from markupsafe import Markup

HTML = "text/html"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {
    file.name: file.read_bytes()
    for file in (resources.files("scsipub.web") / "static").iterdir()
    if file.name[file.name.rfind(".") :] in TYPES
}
# Part of their addresses, so that a browser may keep them until they change.
EDITION = hashlib.sha256(b"".join(FILES[name] for name in sorted(FILES))).hexdigest()[:12]

# What has no glyph of its own, or changes how others look: control, format (the order of writing too),
# surrogate, private and unassigned characters, and the two separators that end a line.
UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
KEPT = frozenset("\n")


def visible(value: Any) -> Any:
    """A string with every character that would not be seen written as an escape.  Anything else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if value.isascii() and value.isprintable():
        return value
    return "".join(_seen(character) for character in value)


def _seen(character: str) -> str:
    if character in KEPT or unicodedata.category(character) not in UNSEEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def size(count: float) -> str:
    """Bytes for people."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.0f} {units[0]}" if count == int(count) else f"{count:.1f} {units[0]}"


def span(seconds: float) -> str:
    """A length of time for people: its largest unit, and the next one below while it is small."""
    for unit, length, below, part in (("day", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        whole, rest = divmod(int(seconds), length)
        if whole:
            plural = "s" if unit == "day" and whole != 1 else ""
            more = f" {rest // part} {below}" if rest // part and whole < 10 else ""
            return f"{whole} {unit}{plural}{more}"
    return f"{int(seconds)} s"


def since(said: str | None) -> str:
    """How long ago a time in ISO 8601 was, or how far it is away; itself if it is none."""
    try:
        then = datetime.fromisoformat(said or "")
        seconds = (datetime.now(UTC) - then).total_seconds()
    except (ValueError, TypeError):
        return said or "never"
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def moment(said: str | None) -> str:
    """A time in ISO 8601 to the second, without the T."""
    return (said or "").replace("T", " ").removesuffix("+00:00")


def environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("scsipub.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals |= {"edition": EDITION, "visit": None, "here": ""}
    env.filters |= {"size": size, "span": span, "since": since, "moment": moment}
    return env


ENVIRONMENT = environment()


def page(
    template: str, code: int = 200, headers: Mapping[str, str] | None = None, **given: Any
) -> Response[str]:
    """One page.  ``visit`` in ``given``: who looks at it, if he has signed in."""
    body = ENVIRONMENT.get_template(template).render(**given)
    return Response(body, status_code=code, media_type=HTML, headers=dict(headers or {}))
