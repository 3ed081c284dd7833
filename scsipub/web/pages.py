"""The landing page, and the files that pages need.  Everybody may see them.

Knows Litestar."""

from typing import Annotated, Any

import attrs
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, Parameter

from scsipub.recipes import Place, cure, host_untrusted, is_plain, recipes, web_untrusted
from scsipub.web.asking import Asking
from scsipub.web.pages_parts import EDITION, FILES, TYPES, page, size
from scsipub.web.pages_signin import client_of, visit_of
from scsipub.web.pages_visits import Visits

LONGEST_TARGET = 223  # RFC 7143 §4.2.7.1


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


@get("/")
async def landing(
    asking: NamedDependency[Asking],
    visits: NamedDependency[Visits],
    request: Request[Any, Any, Any],
    target: Annotated[str, Parameter(max_length=LONGEST_TARGET)] = "",
) -> Response[str]:
    """A disk, and how to have it."""
    told, status = await asking.public("disks"), await asking.public("status")
    host = told["host"] or host_untrusted(request.headers.get("host", "")) or "127.0.0.1"
    web = web_untrusted(request.headers.get("host", "")) if client_of(request).encrypted else ""
    at = Place(host, told["port"] or 3260, told["tls_port"], "", web=web)
    places = {
        disk.target: (disk, here)
        for disk in map(Disk.of, told["disks"])
        if is_plain(here := attrs.evolve(at, target=disk.target, luns=disk.luns))
    }
    disks = [disk for disk, _ in places.values()]
    chosen = places.get(target) or next(iter(places.values()), None)
    place = chosen[1] if chosen is not None else None
    return page(
        "landing.html",
        visit=visit_of(visits, request),
        here="/",
        disks=disks,
        chosen=chosen[0] if chosen is not None else None,
        place=place,
        recipes=recipes(place) if place is not None else [],
        cure=cure(place) if place is not None else None,
        sessions=status["sessions"],
        version=status["version"],
    )


@get("/static/{edition:str}/{name:str}")
async def static(edition: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One of a few files.  Of another edition: the one of today, but not to be kept."""
    body = FILES.get(name)
    if body is None:
        raise NotFoundException
    keep = "public, max-age=31536000, immutable" if edition == EDITION else "no-store"
    return Response(body, media_type=TYPES[name[name.rfind(".") :]], headers={"Cache-Control": keep})


HANDLERS = [landing, static]
