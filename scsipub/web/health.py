"""``/healthz``, ``/readyz`` and ``/metrics``: what machines ask all the time.

Knows Litestar."""

import cattrs
from litestar import Response, get
from litestar.di import NamedDependency

from scsipub.web import metrics
from scsipub.web.asking import Asking, Unanswered
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
async def prometheus(asking: NamedDependency[Asking]) -> Response[bytes]:
    status = cattrs.structure(await asking.public("status"), Status)
    return Response(metrics.text(status), media_type=metrics.CONTENT_TYPE)


HANDLERS = [healthz, readyz, prometheus]
