"""``/api/v1/sessions`` and ``/api/v1/events``: who is connected, and what happened."""

import cattrs
from litestar import delete, get
from litestar.di import NamedDependency

from scsipub.web.api.answers import EventPage
from scsipub.web.api.bounds import FEW_ITEMS, After, Limit, OfTarget, OfTenant, SessionId
from scsipub.web.api.calls import ABOUT, BEARER, Call
from scsipub.web.models import Session, SessionPage


@get("/sessions", summary="Who is connected; to a tenant, at its targets", security=BEARER, responses=ABOUT)
async def sessions(
    call: NamedDependency[Call], limit: Limit = FEW_ITEMS, after: After = None, target: OfTarget = None
) -> SessionPage:
    answer = await call("session.list", {"limit": limit, "after": after, "target": target})
    return cattrs.structure(answer, SessionPage)


@get("/sessions/{session_id:str}", summary="One session", security=BEARER, responses=ABOUT)
async def session(call: NamedDependency[Call], session_id: SessionId) -> Session:
    return cattrs.structure(await call("session.show", {"id": session_id}), Session)


@delete("/sessions/{session_id:str}", summary="End a session", security=BEARER, responses=ABOUT)
async def kick(call: NamedDependency[Call], session_id: SessionId) -> None:
    await call("session.kick", {"id": session_id})


@get("/events", summary="What happened, from the newest on", security=BEARER, responses=ABOUT)
async def events(
    call: NamedDependency[Call],
    limit: Limit = FEW_ITEMS,
    after: After = None,
    tenant: OfTenant = None,
    target: OfTarget = None,
) -> EventPage:
    answer = await call("event.list", {"limit": limit, "after": after, "tenant": tenant, "target": target})
    return cattrs.structure(answer, EventPage)


HANDLERS = [sessions, session, kick, events]
