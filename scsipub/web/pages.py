"""Pages: what people see.

Knows Litestar and Jinja2, which escapes whatever it is given.  Every file that a page needs is read once, at
the start: there is no path for a stranger to play with."""

import hashlib
from importlib import resources
from typing import Annotated, Any

import attrs
import jinja2
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, Parameter

from scsipub.web.asking import Asking, Unanswered
from scsipub.web.recipes import Place, cure, host_untrusted, is_plain, recipes

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LONGEST_TARGET = 223  # RFC 7143 §4.2.7.1
FILES = {
    file.name: file.read_bytes()
    for file in (resources.files("scsipub.web") / "static").iterdir()
    if file.name[file.name.rfind(".") :] in TYPES
}
# Part of their addresses, so that a browser may keep them until they change.
EDITION = hashlib.sha256(b"".join(FILES[name] for name in sorted(FILES))).hexdigest()[:12]
HTML = "text/html"


@attrs.frozen
class Disk:
    """One row of the first step."""

    target: str
    title: str
    about: str
    luns: int

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Disk":
        luns, short = told["luns"], told["target"].rpartition(":")[2]
        shared = ". Shared: all who attach it see one disk" if told["shared"] else ""
        parts = ", ".join(f"{lun['image'] or 'blank'} ({size(lun['bytes'])})" for lun in luns)
        if len(luns) == 1 and luns[0]["image"] is not None:
            return cls(
                told["target"], luns[0]["image"], f"{size(luns[0]['bytes'])}, a copy of an image{shared}", 1
            )
        if len(luns) == 1:
            return cls(told["target"], short.capitalize(), f"{size(luns[0]['bytes'])} of zeros{shared}", 1)
        return cls(
            told["target"], f"{short.capitalize()}: {len(luns)} disks at once", parts + shared, len(luns)
        )


def size(count: float) -> str:
    """Bytes for people."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.0f} {units[0]}" if count == int(count) else f"{count:.1f} {units[0]}"


def environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("scsipub.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["edition"] = EDITION
    return env


ENVIRONMENT = environment()


@get("/", media_type=HTML, include_in_schema=False)
async def landing(
    asking: NamedDependency[Asking],
    request: Request[Any, Any, Any],
    target: Annotated[str, Parameter(max_length=LONGEST_TARGET)] = "",
) -> Response[str]:
    """A disk, and how to have it."""
    try:
        told, status = await asking.public("disks"), await asking.public("status")
    except Unanswered:
        page = ENVIRONMENT.get_template("away.html").render()
        return Response(page, status_code=503, media_type=HTML, headers={"Retry-After": "5"})
    host = told["host"] or host_untrusted(request.headers.get("host", "")) or "127.0.0.1"
    places = {
        disk.target: (disk, at)
        for disk in map(Disk.of, told["disks"])
        if is_plain(at := Place(host, told["port"] or 3260, told["tls_port"], disk.target, disk.luns))
    }
    disks = [disk for disk, _ in places.values()]
    chosen = places.get(target) or next(iter(places.values()), None)
    place = chosen[1] if chosen is not None else None
    page = ENVIRONMENT.get_template("landing.html").render(
        disks=disks,
        chosen=chosen[0] if chosen is not None else None,
        place=place,
        recipes=recipes(place) if place is not None else [],
        cure=cure(place) if place is not None else None,
        sessions=status["sessions"],
        version=status["version"],
    )
    return Response(page, media_type=HTML)


@get("/static/{edition:str}/{name:str}", include_in_schema=False)
async def static(edition: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One of a few files.  Of another edition: the one of today, but not to be kept."""
    body = FILES.get(name)
    if body is None:
        raise NotFoundException
    keep = "public, max-age=31536000, immutable" if edition == EDITION else "no-store"
    return Response(body, media_type=TYPES[name[name.rfind(".") :]], headers={"Cache-Control": keep})


HANDLERS = [landing, static]
