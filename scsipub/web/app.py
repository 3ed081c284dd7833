"""The application: every door of the web process, listed.

Knows Litestar.  What each door does is in the module it comes from."""

from typing import Any

from litestar import Litestar, asgi
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException

from scsipub.web import health, live, pages, pages_admin, pages_images, pages_targets, pages_tenants
from scsipub.web.api import document
from scsipub.web.api.router import router
from scsipub.web.asking import Asking
from scsipub.web.guard import BODY_BYTES, Guard
from scsipub.web.pages_signin import of_unknown, pages_router
from scsipub.web.pages_visits import Tries, Visits
from scsipub.web.problems import HANDLERS as PROBLEMS
from scsipub.web.tunnel import Tunnels


def make_app(asking: Asking, tunnels: Tunnels) -> Guard:
    """The whole of it, for Hypercorn."""

    def always(value: Any) -> Provide:
        return Provide(lambda: value, sync_to_thread=False)

    visits = Visits()
    return Guard(
        Litestar(
            [
                *health.HANDLERS,
                router,
                asgi("/tunnel", copy_scope=True)(tunnels.app),
                pages_router(
                    *pages.HANDLERS,
                    *pages_targets.HANDLERS,
                    *pages_admin.HANDLERS,
                    *pages_images.HANDLERS,
                    *pages_tenants.HANDLERS,
                    *live.HANDLERS,
                ),
            ],
            dependencies={
                "asking": always(asking),
                "visits": always(visits),
                "tries": always(Tries()),
                "feed": always(live.Feed(asking)),
            },
            state=State({"visits": visits, "trusted": tunnels.trusted}),
            exception_handlers={**PROBLEMS, HTTPException: of_unknown},
            openapi_config=document.config(),
            request_max_body_size=BODY_BYTES,
            # Tracebacks are written by ``problems``, once each, and never shown to a client.
            logging_config=None,
            debug=False,
            signature_namespace={"Any": Any},
        )
    )
