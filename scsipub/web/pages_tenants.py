"""The operator's pages about people: tenants, their tokens, and the tiers that say what they may have.

Knows Litestar.  Each call shows the visit's token to control, which decides."""

import math
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from scsipub.web.asking import Asking, Refused
from scsipub.web.pages_admin import must_be_admin
from scsipub.web.pages_parts import page
from scsipub.web.pages_signin import form_of, see, told
from scsipub.web.pages_targets import UNITS, BadForm, bytes_of
from scsipub.web.pages_visits import Visit

MANY = 100
HOUR, DAY, MIB = 3600.0, 86400.0, 1 << 20
Asked = Request[Any, Any, Any]


async def _tenants_page(asking: Asking, visit: Visit, wrong: str = "", code: int = 200) -> Response[str]:
    tenants = await asking.known("tenant.list", visit.token, {"limit": MANY})
    tiers = await asking.known("tier.list", visit.token, {"limit": MANY})
    return page(
        "tenants.html",
        code,
        visit=visit,
        here="/admin/tenants",
        tenants=tenants["items"],
        tiers=tiers["items"],
        for_rent=[tier["name"] for tier in tiers["items"] if tier["persistent"]],
        units=list(UNITS),
        wrong=wrong,
    )


@get("/admin/tenants")
async def tenants(asking: NamedDependency[Asking], visit: NamedDependency[Visit]) -> Response[str]:
    must_be_admin(visit)
    return await _tenants_page(asking, visit)


@post("/admin/tenants")
async def create_tenant(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    said = await form_of(request, visit)
    try:
        made = await asking.known(
            "tenant.create", visit.token, {"name": said.get("name", ""), "tier": said.get("tier", "")}
        )
    except Refused as error:
        return await _tenants_page(asking, visit, told(error), 400)
    return see(f"/admin/tenants/{made['name']}")


def _number(text: str) -> float:
    """Raises BadForm."""
    try:
        found = float(text[:12])
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise BadForm("A number is written like 10 or 1.5.")
    return found


def _terms(said: Mapping[str, str]) -> dict[str, Any]:
    """What the form says of a tier.  Raises BadForm, and ValueError for a number that is none."""
    tier: dict[str, Any] = {
        "name": said.get("name", ""),
        "allocation_budget": bytes_of(said),
        "persistent": True,
        "tls_required": "tls_required" in said,
    }
    for key in ("targets", "luns", "sessions"):
        if said.get(key):
            tier[key] = int(said[key][:6])
    tier["lifetime_seconds"] = _number(said["days"]) * DAY if said.get("days") else None
    if said.get("warn_hours"):
        tier["warn_seconds"] = _number(said["warn_hours"]) * HOUR
    for key in ("iops", "iops_burst"):
        tier[key] = _number(said[key]) if said.get(key) else None
    for key, field in (("bytes_per_second", "bandwidth"), ("bytes_burst", "bandwidth_burst")):
        tier[key] = int(_number(said[field]) * MIB) if said.get(field) else None
    return tier


@post("/admin/tiers")
async def put_tier(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    """A tier for rent; whatever the form does not ask stays as it is, or as tiers begin."""
    said = await form_of(request, visit)
    try:
        listed = await asking.known("tier.list", visit.token, {"limit": MANY})
        known: dict[str, Any] = next(
            (each for each in listed["items"] if each["name"] == said.get("name")), {}
        )
        await asking.known("tier.put", visit.token, {**known, **_terms(said)})
    except (BadForm, ValueError) as error:
        return await _tenants_page(asking, visit, str(error), 400)
    except Refused as error:
        return await _tenants_page(asking, visit, told(error), 400)
    return see("/admin/tenants#tiers")


@get("/admin/tenants/{name:str}")
async def tenant(
    asking: NamedDependency[Asking],
    visit: NamedDependency[Visit],
    name: FromPath[str],
    once: FromQuery[str] = "",
) -> Response[str]:
    must_be_admin(visit)
    shown = await asking.known("tenant.show", visit.token, {"tenant": name})
    ask = {"tenant": shown["id"], "limit": MANY}
    fresh = visit.once.pop(once, None)
    return page(
        "tenant.html",
        visit=visit,
        here="/admin/tenants",
        tenant=shown,
        tokens=(await asking.known("token.list", visit.token, ask))["items"],
        targets=(await asking.known("target.list", visit.token, ask))["items"],
        fresh=fresh if fresh is not None and fresh.get("tenant_id") == shown["id"] else None,
    )


@post("/admin/tenants/{name:str}/token")
async def create_token(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, name: FromPath[str]
) -> Response[Any]:
    said = await form_of(request, visit)
    made = await asking.known(
        "token.create", visit.token, {"tenant": name, "name": said.get("name", "")[:64]}
    )
    return see(f"/admin/tenants/{name}?once={visit.keep_once(made)}")


@post("/admin/tenants/{name:str}/revoke")
async def revoke_token(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, name: FromPath[str]
) -> Response[Any]:
    said = await form_of(request, visit)
    await asking.known("token.revoke", visit.token, {"id": said.get("id", "")})
    return see(f"/admin/tenants/{name}#tokens")


@post("/admin/tenants/{name:str}/change")
async def change_tenant(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, name: FromPath[str]
) -> Response[Any]:
    said = await form_of(request, visit)
    ask = {"tenant": name, "suspended": said.get("suspended") == "yes"}
    await asking.known("tenant.change", visit.token, ask)
    return see(f"/admin/tenants/{name}")


@post("/admin/tenants/{name:str}/remove")
async def remove_tenant(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked, name: FromPath[str]
) -> Response[Any]:
    await form_of(request, visit)
    await asking.known("tenant.remove", visit.token, {"tenant": name})
    return see("/admin/tenants")


HANDLERS = [
    tenants,
    create_tenant,
    put_tier,
    tenant,
    create_token,
    revoke_token,
    change_tenant,
    remove_tenant,
]
