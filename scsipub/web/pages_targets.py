"""Rented targets, for people: see them, make them, change them, end them.

Knows Litestar.  Each call shows the visit's token to control, which decides whose is what; a page only leaves
out what its reader could not do."""

import math
import secrets
from collections.abc import Mapping
from typing import Any

import attrs
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from scsipub.web.asking import Asking, Refused
from scsipub.web.pages_parts import page
from scsipub.web.pages_signin import form_of, see, told
from scsipub.web.pages_visits import Visit

UNITS = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
EMPTY = dict.fromkeys(("tenant", "alias", "size", "unit", "days", "initiators", "mutual"), "")
DAYS = ("1", "7", "30", "90", "365")
EVENTS = 30
NOT_SURE = "Nothing was destroyed: the box was not ticked."
SESSIONS = 100
Asked = Request[Any, Any, Any]

TITLES = {
    "open-iscsi": "Linux",
    "open-iscsi-tls": "Linux, encrypted",
    "qemu": "QEMU",
    "ipxe": "iPXE",
    "powershell": "Windows",
}


class BadForm(Exception):
    """What was filled in makes no sense; says why."""


def bytes_of(said: Mapping[str, str]) -> int:
    """``size`` and ``unit`` of a form.  Raises BadForm."""
    try:
        count = float(said.get("size", ""))
    except ValueError:
        count = math.nan
    unit = UNITS.get(said.get("unit", "GiB"), 0)
    if not unit or not 0 < count < 1 << 31:
        raise BadForm("A size is a number, like 10 or 1.5.")
    return int(count * unit) // 4096 * 4096


@get("/targets")
async def targets(
    asking: NamedDependency[Asking],
    visit: NamedDependency[Visit],
    after: FromQuery[str | None] = None,
    tenant: FromQuery[str | None] = None,
) -> Response[str]:
    """What is rented."""
    listed = await asking.known(
        "target.list", visit.token, {"limit": 50, "after": after or None, "tenant": tenant or None}
    )
    return page(
        "targets.html",
        visit=visit,
        here="/targets",
        targets=listed["items"],
        next=listed["next"],
        tenant=tenant,
    )


# -- making one ----------------------------------------------------------------------------------------------


async def _order_page(
    asking: Asking, visit: Visit, said: Mapping[str, Any], images: list[str], wrong: str, code: int = 200
) -> Response[str]:
    """The form, as it was filled in."""
    tenants = []
    if visit.who.admin:
        tenants = (await asking.known("tenant.list", visit.token, {"limit": 100}))["items"]
    known = sorted(await asking.public("images"), key=lambda image: str(image["name"]))
    return page(
        "target_new.html",
        code,
        visit=visit,
        here="/targets",
        images=known,
        tenants=tenants,
        days=DAYS,
        units=list(UNITS),
        said=EMPTY | dict(said),
        chosen=images,
        wrong=wrong,
        key=said.get("key") or secrets.token_urlsafe(18),
    )


@get("/targets/new")
async def new_target(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], tenant: FromQuery[str] = ""
) -> Response[str]:
    return await _order_page(asking, visit, {"tenant": tenant, "size": "10"}, [], "")


@post("/targets/new")
async def create(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    said = await form_of(request, visit)
    images = [str(name) for name in (await request.form()).getall("image", [])]
    try:
        answer = await asking.known("target.create", visit.token, order(said, images), said.get("key"))
    except BadForm as error:
        return await _order_page(asking, visit, said, images, str(error), 400)
    except Refused as error:
        return await _order_page(asking, visit, said, images, told(error), 400)
    return see(f"/targets/{answer['id']}?once={visit.keep_once(answer)}")


def order(said: Mapping[str, str], images: list[str]) -> dict[str, Any]:
    """What control is asked for.  Raises BadForm."""
    luns: list[dict[str, Any]] = [{"image": name} for name in images]
    if said.get("size"):
        luns.append({"size": bytes_of(said)})
    if not luns:
        raise BadForm("A target has at least one disk: give a size, or choose an image.")
    asked: dict[str, Any] = {"luns": luns, "alias": said.get("alias", ""), "mutual": "mutual" in said}
    if initiators := said.get("initiators", "").split():
        asked["initiators"] = initiators
    if said.get("days") in DAYS:
        asked["lifetime_seconds"] = int(said["days"]) * 86400.0
    if said.get("tenant"):
        asked["tenant"] = said["tenant"]
    return asked


# -- one of them ---------------------------------------------------------------------------------------------


@attrs.frozen
class Command:
    """Commands for one kind of client, as the page's tabs want them."""

    key: str
    title: str
    text: str


@get("/targets/{target_id:str}")
async def target(
    asking: NamedDependency[Asking],
    visit: NamedDependency[Visit],
    target_id: FromPath[str],
    once: FromQuery[str] = "",
) -> Response[str]:
    """All about one; with ``once`` its secret too, which nobody sees again."""
    ask = {"id": target_id}
    shown = await asking.known("target.show", visit.token, ask)
    fresh = visit.once.pop(once, None)
    if fresh is not None and fresh["id"] != shown["id"]:
        fresh = None
    usage = {each["lun"]: each for each in await asking.known("target.usage", visit.token, ask)}
    held = await asking.known("target.reservations", visit.token, ask)
    attempts = await asking.known("target.attempts", visit.token, {**ask, "limit": SESSIONS})
    failed = [each for each in attempts["items"] if each["cause"] != "logged-in"]
    sessions = await _if_allowed(
        asking, visit, "sessions:read", "session.list", {"target": target_id, "limit": SESSIONS}
    )
    events = await _if_allowed(
        asking, visit, "events:read", "event.list", {"target": target_id, "limit": EVENTS}
    )
    return page(
        "target.html",
        visit=visit,
        here="/targets",
        target=shown,
        fresh=fresh,
        commands_for=[
            Command(key, TITLES.get(key, key), text)
            for key, text in (fresh or {}).get("commands", {}).items()
        ],
        usage=usage,
        held=[lun for lun in held["luns"] if lun["registrations"]],
        sessions=sessions,
        failed=failed,
        events=events,
        fencing=[each for each in events or [] if each["kind"].startswith("reservation")],
        units=list(UNITS),
        images=sorted(image["name"] for image in await asking.public("images")),
    )


async def _if_allowed(
    asking: Asking, visit: Visit, scope: str, method: str, ask: dict[str, Any]
) -> list[Any] | None:
    """The items of a list; None for who may not see it."""
    if not visit.who.may(scope):
        return None
    items: list[Any] = (await asking.known(method, visit.token, ask))["items"]
    return items


async def _changed(
    asking: Asking, visit: Visit, request: Asked, target_id: str, method: str, **ask: Any
) -> Response[Any]:
    """Do it, and show what has become of the target."""
    await asking.known(method, visit.token, {"id": target_id, **ask})
    return see(f"/targets/{target_id}")


@post("/targets/{target_id:str}/suspend")
async def suspend(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, target_id: FromPath[str]
) -> Response[Any]:
    await form_of(request, visit)
    return await _changed(asking, visit, request, target_id, "target.suspend", reason="")


@post("/targets/{target_id:str}/resume")
async def resume(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, target_id: FromPath[str]
) -> Response[Any]:
    await form_of(request, visit)
    return await _changed(asking, visit, request, target_id, "target.resume")


@post("/targets/{target_id:str}/resize")
async def resize(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, target_id: FromPath[str]
) -> Response[Any]:
    said = await form_of(request, visit)
    try:
        size, lun = bytes_of(said), int(said.get("lun", "0")[:5])
    except (BadForm, ValueError) as error:
        raise Refused("invalid", str(error)) from None
    return await _changed(asking, visit, request, target_id, "lun.resize", lun=lun, size=size)


@post("/targets/{target_id:str}/add")
async def add_lun(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, target_id: FromPath[str]
) -> Response[Any]:
    """One more disk, there at once for who is logged in."""
    said = await form_of(request, visit)
    try:
        [ask] = order({key: said.get(key, "") for key in ("size", "unit")}, _chosen(said))["luns"]
    except (BadForm, ValueError) as error:
        words = str(error) if isinstance(error, BadForm) else "Give a size or choose an image, not both."
        raise Refused("invalid", words) from None
    return await _changed(asking, visit, request, target_id, "lun.add", **ask)


def _chosen(said: Mapping[str, str]) -> list[str]:
    return [said["image"]] if said.get("image") else []


@get("/targets/{target_id:str}/remove/{lun:int}")
async def ask_remove_lun(
    asking: NamedDependency[Asking],
    visit: NamedDependency[Visit],
    target_id: FromPath[str],
    lun: FromPath[int],
) -> Response[str]:
    shown = await asking.known("target.show", visit.token, {"id": target_id})
    return _sure_page(visit, shown, lun=lun)


@post("/targets/{target_id:str}/remove/{lun:int}")
async def remove_lun(
    asking: NamedDependency[Asking],
    visit: NamedDependency[Visit],
    request: Asked,
    target_id: FromPath[str],
    lun: FromPath[int],
) -> Response[Any]:
    said = await form_of(request, visit)
    shown = await asking.known("target.show", visit.token, {"id": target_id})
    if said.get("sure") != "yes":
        return _sure_page(visit, shown, NOT_SURE, lun)
    return await _changed(asking, visit, request, target_id, "lun.remove", lun=lun)


def _sure_page(visit: Visit, shown: Any, wrong: str = "", lun: int | None = None) -> Response[str]:
    """Before something goes for ever: all of a target, or one of its disks."""
    gone = [each for each in shown["luns"] if lun in (None, each["lun"])]
    if not gone:
        raise Refused("not_found", "There is no such disk.")
    code = 400 if wrong else 200
    return page(
        "target_destroy.html",
        code,
        visit=visit,
        here="/targets",
        target=shown,
        gone=gone,
        lun=lun,
        wrong=wrong,
    )


@post("/targets/{target_id:str}/secret")
async def secret(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, target_id: FromPath[str]
) -> Response[Any]:
    await form_of(request, visit)
    answer = await asking.known("target.secret", visit.token, {"id": target_id})
    return see(f"/targets/{target_id}?once={visit.keep_once(answer)}")


@post("/targets/{target_id:str}/kick")
async def kick(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, target_id: FromPath[str]
) -> Response[Any]:
    said = await form_of(request, visit)
    await asking.known("session.kick", visit.token, {"id": said.get("id", "")})
    return see(f"/targets/{target_id}#sessions")


@get("/targets/{target_id:str}/destroy")
async def ask_destroy(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], target_id: FromPath[str]
) -> Response[str]:
    shown = await asking.known("target.show", visit.token, {"id": target_id})
    return _sure_page(visit, shown)


@post("/targets/{target_id:str}/destroy")
async def destroy(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, target_id: FromPath[str]
) -> Response[Any]:
    said = await form_of(request, visit)
    shown = await asking.known("target.show", visit.token, {"id": target_id})
    if said.get("sure") != "yes":
        return _sure_page(visit, shown, NOT_SURE)
    await asking.known("target.destroy", visit.token, {"id": target_id})
    return see("/targets")


HANDLERS = [
    targets,
    new_target,
    create,
    target,
    suspend,
    resume,
    resize,
    add_lun,
    ask_remove_lun,
    remove_lun,
    secret,
    kick,
    ask_destroy,
    destroy,
]
