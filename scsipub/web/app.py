"""The application: every door of the web process, listed.

Knows Litestar.  What each door does is in the module it comes from."""

from typing import Any

from litestar import Litestar, MediaType
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

import scsipub
from scsipub.web import api, health, pages
from scsipub.web.asking import Asking
from scsipub.web.guard import BODY_BYTES, Guard
from scsipub.web.problems import HANDLERS as PROBLEMS

DESCRIPTION = """\
What `scsipub status` and `scsipub session` say, over HTTP. Errors are `application/problem+json` (RFC 9457).
The admin token is in `admin.token` in the daemon's state directory."""


def make_app(asking: Asking) -> Guard:
    """The whole of it, for Hypercorn."""

    def provide_asking() -> Asking:
        return asking

    return Guard(
        Litestar(
            [*health.HANDLERS, *pages.HANDLERS, api.router],
            dependencies={"asking": Provide(provide_asking, sync_to_thread=False)},
            exception_handlers=PROBLEMS,
            openapi_config=_openapi(),
            request_max_body_size=BODY_BYTES,
            # Tracebacks are written by ``problems``, once each, and never shown to a client.
            logging_config=None,
            debug=False,
            signature_namespace={"Any": Any},
        )
    )


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="scsipub",
        version=scsipub.__version__,
        description=DESCRIPTION,
        # A path of its own: below it Litestar answers what is not there with a page, not a problem.
        path="/api/v1/openapi.json",
        # Plain JSON; the other forms load scripts from elsewhere.
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"], media_type=MediaType.JSON)],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="Admin token")
            }
        ),
    )
