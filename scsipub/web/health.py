"""``/healthz``, ``/readyz`` and ``/metrics``: what machines ask all the time.

Knows Litestar."""

from typing import Any

import cattrs
from litestar import Request, Response, get
from litestar.di import NamedDependency

from scsipub.web import metrics
from scsipub.web.api.calls import token_of
from scsipub.web.asking import Asking, Refused, Unanswered
from scsipub.web.models import Status


@get("/healthz", media_type="text/plain", include_in_schema=False)
async def healthz() -> str:
    """This process answers.  Says nothing of the others."""
    return "ok\n"


@get("/readyz", media_type="text/plain", include_in_schema=False)
async def readyz(asking: NamedDependency[Asking]) -> Response[str]:
    """Control answers, and a worker takes connections."""
    try:
        ready = metrics.ready(await asking.public("status"))
    except Unanswered:
        ready = False
    return Response("ready\n" if ready else "not ready\n", status_code=200 if ready else 503)


@get("/metrics", include_in_schema=False)
async def prometheus(asking: NamedDependency[Asking], request: Request[Any, Any, Any]) -> Response[bytes]:
    """Totals for everybody; tenants and sessions for who shows the admin token.

    Without its database the daemon still tells the totals: that is when they are looked at."""
    status = cattrs.structure(await asking.public("status"), Status)
    private = None
    if "authorization" in request.headers:
        try:
            private = await asking.known("metrics", token_of(request))
        except Refused as refused:
            if refused.code != "unavailable":
                raise
    return Response(metrics.text(status, private), media_type=metrics.CONTENT_TYPE)


HANDLERS = [healthz, readyz, prometheus]
