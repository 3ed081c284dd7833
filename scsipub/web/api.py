"""``/api/v1``: what programs ask.

Knows Litestar and the records in ``models``.  Public: numbers, and images.  For who shows the admin token:
sessions.  The token is looked at by control, for each call; here it only passes through."""

import http
from typing import Annotated, Any

import cattrs
from litestar import Request, Router, delete, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import Parameter

from scsipub.web.asking import Asking, Refused
from scsipub.web.models import Image, ImagePage, Session, SessionPage, Status
from scsipub.web.problems import MEDIA_TYPE, Problem

MOST_ITEMS = 1000
FEW_ITEMS = 100
LONGEST_ID = 64
BEARER = [{"bearer": list[str]()}]

Limit = Annotated[int, Parameter(ge=1, le=MOST_ITEMS, description="How many at most.")]
After = Annotated[str, Parameter(max_length=LONGEST_ID, description="`next` of the page before.")]
SessionId = Annotated[str, Parameter(description="`id` of a session.")]

_EXAMPLE = Session(
    id="0f4e1b7c90ad2f13",
    worker=0,
    initiator="iqn.1993-08.org.debian:01:42c0ffee",
    target="iqn.2025-01.pub.scsipub:blank",
    source="192.0.2.17",
    since="2026-01-31T12:00:00+00:00",
    tls=False,
    bytes_read=1_048_576,
    bytes_written=4096,
    operations=257,
    iops=12.5,
    last_error="",
)


def problem(status: int, detail: str) -> ResponseSpec:
    """How a refusal is documented."""
    title = http.HTTPStatus(status).phrase
    example = Example(
        value=cattrs.unstructure(Problem(title=title, status=status, detail=detail)), summary=title
    )
    return ResponseSpec(
        Problem, description=detail, media_type=MEDIA_TYPE, examples=[example], generate_examples=False
    )


AWAY = {503: problem(503, "The daemon does not answer at the moment.")}
NOBODY = {401: problem(401, "The token is not one that we know.")}
UNFIT = {400: problem(400, "A parameter does not fit.")}


def token_of(request: Request[Any, Any, Any]) -> str:
    """What follows ``Authorization: Bearer``.  RFC 6750 §2.1."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused("unauthorised", "This needs a header: Authorization: Bearer TOKEN.")
    return token.strip()


@get("/status", summary="How the daemon is", responses=AWAY)
async def status(asking: NamedDependency[Asking]) -> Status:
    return cattrs.structure(await asking.public("status"), Status)


@get("/images", summary="Images that disks can be copies of", responses=AWAY)
async def images(asking: NamedDependency[Asking]) -> ImagePage:
    found = cattrs.structure(await asking.public("images"), list[Image])
    return ImagePage(items=sorted(found, key=lambda image: image.name), total=len(found))


@get(
    "/sessions",
    summary="Who is connected",
    security=BEARER,
    responses={
        200: ResponseSpec(
            SessionPage,
            description="One page of them",
            examples=[Example(value=cattrs.unstructure(SessionPage(items=[_EXAMPLE], total=1)))],
            generate_examples=False,
        ),
        **NOBODY,
        **UNFIT,
        **AWAY,
    },
)
async def sessions(
    asking: NamedDependency[Asking],
    request: Request[Any, Any, Any],
    limit: Limit = FEW_ITEMS,
    after: After = "",
) -> SessionPage:
    listed = await asking.admin("session.list", token_of(request))
    every = sorted(cattrs.structure(listed, list[Session]), key=lambda session: session.id)
    rest = [session for session in every if session.id > after]
    page = rest[:limit]
    return SessionPage(items=page, total=len(every), next=page[-1].id if len(rest) > limit else None)


@delete(
    "/sessions/{session_id:str}",
    summary="End a session",
    security=BEARER,
    responses={**NOBODY, **UNFIT, 404: problem(404, "There is no such session."), **AWAY},
)
async def kick(
    asking: NamedDependency[Asking], request: Request[Any, Any, Any], session_id: SessionId
) -> None:
    token = token_of(request)
    await asking.admin("session.kick", token, {"id": session_id[: LONGEST_ID + 1]})


router = Router("/api/v1", route_handlers=[status, images, sessions, kick], tags=["v1"])
