"""Every door of the API, listed."""

from typing import Any

from litestar import Response, Router, route
from litestar.di import Provide

from scsipub.web.api import disk_faults, faults, images, news, public, targets, tenants, tiers, tokens
from scsipub.web.api.calls import provide_call, read_strictly

ROOMS = (public, images, targets, tenants, tokens, tiers, news, faults, disk_faults)

HANDLERS: list[Any] = [handler for room in ROOMS for handler in room.HANDLERS]


def options(path: str) -> Any:
    """OPTIONS of a path.  Litestar's own names only the first of the methods there."""
    methods = {str(method) for each in HANDLERS if path in each.paths for method in each.http_methods}
    allow = ", ".join(sorted(methods | {"OPTIONS"}))

    @route(path, http_method="OPTIONS", include_in_schema=False, status_code=204, name=f"options {path}")
    async def say() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allow})

    return say


router = Router(
    "/api/v1",
    route_handlers=[
        *map(options, dict.fromkeys(p for each in HANDLERS for p in sorted(each.paths))),
        *HANDLERS,
    ],
    dependencies={"call": Provide(provide_call)},
    before_request=read_strictly,
    tags=["v1"],
)
