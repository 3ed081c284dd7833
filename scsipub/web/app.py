"""The application: every door of the web process, listed.

Knows Litestar.  What each door does is in the module it comes from."""

from typing import Any

from litestar import Litestar, asgi
from litestar.di import Provide

from scsipub.web import health, pages
from scsipub.web.api import document
from scsipub.web.api.router import router
from scsipub.web.asking import Asking
from scsipub.web.guard import BODY_BYTES, Guard
from scsipub.web.problems import HANDLERS as PROBLEMS
from scsipub.web.tunnel import Tunnels


def make_app(asking: Asking, tunnels: Tunnels) -> Guard:
    """The whole of it, for Hypercorn."""

    def provide_asking() -> Asking:
        return asking

    return Guard(
        Litestar(
            [*health.HANDLERS, *pages.HANDLERS, router, asgi("/tunnel", copy_scope=True)(tunnels.app)],
            dependencies={"asking": Provide(provide_asking, sync_to_thread=False)},
            exception_handlers=PROBLEMS,
            openapi_config=document.config(),
            request_max_body_size=BODY_BYTES,
            # Tracebacks are written by ``problems``, once each, and never shown to a client.
            logging_config=None,
            debug=False,
            signature_namespace={"Any": Any},
        )
    )
