"""Every door of the API, listed."""

from litestar import Router
from litestar.di import Provide

from scsipub.web.api import news, public, targets, tenants, tiers, tokens
from scsipub.web.api.calls import provide_call, read_strictly

ROOMS = (public, targets, tenants, tokens, tiers, news)

router = Router(
    "/api/v1",
    route_handlers=[handler for room in ROOMS for handler in room.HANDLERS],
    dependencies={"call": Provide(provide_call)},
    before_request=read_strictly,
    tags=["v1"],
)
