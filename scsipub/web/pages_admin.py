"""The operator's pages about the daemon: what happens now, and what may be done about it.

Knows Litestar.  Each call shows the visit's token to control, which decides."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from scsipub.web.asking import Asking, Refused
from scsipub.web.live_numbers import MOST_ROWS
from scsipub.web.pages_parts import page
from scsipub.web.pages_signin import form_of, see
from scsipub.web.pages_visits import Visit

EVENTS = 50
Asked = Request[Any, Any, Any]


def must_be_admin(visit: Visit) -> None:
    """Control would say no as well; this says it in fewer words."""
    if not visit.who.admin:
        raise Refused("not_found", "There is no such page.")


@get("/admin")
async def overview(asking: NamedDependency[Asking], visit: NamedDependency[Visit]) -> Response[str]:
    """Live."""
    must_be_admin(visit)
    said = await asking.known("live.look", visit.token, {"most": MOST_ROWS})
    attempts = await asking.known("attempt.list", visit.token, {"limit": EVENTS})
    complaints = await asking.known("complaint.list", visit.token)
    return page(
        "admin.html",
        visit=visit,
        here="/admin",
        status=said["status"],
        rows=said["sessions"][:MOST_ROWS],
        failed=[each for each in attempts["items"] if each["cause"] != "logged-in"],
        complaints=complaints["items"],
    )


@post("/admin/kick")
async def kick(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    said = await form_of(request, visit)
    await asking.known("session.kick", visit.token, {"id": said.get("id", "")})
    return see("/admin")


# -- upkeep --------------------------------------------------------------------------------------------------


@get("/admin/upkeep")
async def upkeep(
    asking: NamedDependency[Asking],
    visit: NamedDependency[Visit],
    said: FromQuery[str] = "",
) -> Response[str]:
    """Workers, what the janitor found, and what happened."""
    must_be_admin(visit)
    events = await asking.known("event.list", visit.token, {"limit": EVENTS})
    return page(
        "upkeep.html",
        visit=visit,
        here="/admin/upkeep",
        status=await asking.public("status"),
        swept=await asking.known("janitor.last", visit.token),
        events=events["items"],
        said=SAID.get(said, ""),
    )


SAID = {
    "begun": "The workers are being replaced, one after the other.",
    "under-way": "They are being replaced already.",
    "swept": "The janitor has looked.",
}


@post("/admin/workers")
async def restart(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    await form_of(request, visit)
    begun = (await asking.known("worker.restart", visit.token))["begun"]
    return see(f"/admin/upkeep?said={'begun' if begun else 'under-way'}")


@post("/admin/janitor")
async def sweep(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    await form_of(request, visit)
    await asking.known("janitor.run", visit.token)
    return see("/admin/upkeep?said=swept")


HANDLERS = [overview, kick, upkeep, restart, sweep]
