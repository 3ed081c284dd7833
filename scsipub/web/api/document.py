"""The OpenAPI document: Litestar writes the paths; the records are described by what checks them.

One description of each record: the one that ``calls`` holds requests against."""

from typing import Any

import msgspec
from litestar import MediaType, Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

import scsipub
from scsipub.web.api import answers, disk_faults, faults, tiers
from scsipub.web.api.examples import EXAMPLES
from scsipub.web.api.orders import ORDERS
from scsipub.web.models import ImagePage, SessionPage, Status
from scsipub.web.problems import Problem

DESCRIPTION = """\
What `scsipub target`, `tenant`, `token`, `tier` and `session` say and do, over HTTP. Errors are
`application/problem+json` (RFC 9457). The admin token is in `admin.token` in the daemon's state directory; a
tenant's token shows that tenant what is its own, and nothing else is there for it."""

ANSWERS: tuple[Any, ...] = (
    answers.TargetPage,
    answers.NewTarget,
    answers.LunPage,
    answers.Usage,
    answers.Reservations,
    answers.TenantPage,
    answers.CertificatePage,
    answers.TokenPage,
    answers.NewToken,
    answers.Me,
    answers.EventPage,
    answers.AttemptPage,
    answers.Upload,
    answers.UploadList,
    answers.Import,
    answers.ImportList,
    tiers.TierPage,
    faults.Faults,
    disk_faults.DiskFaults,
    ImagePage,
    SessionPage,
    Status,
    Problem,
)


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """``document`` with our own descriptions of the records, and with examples."""
    orders = (*ORDERS, *faults.ORDERS, *disk_faults.ORDERS)
    kinds = (*ANSWERS, *orders)
    _, described = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    for kind in orders:
        described[kind.__name__]["additionalProperties"] = False
    for name, example in EXAMPLES.items():
        described[name]["examples"] = [example]
    _link(document["paths"])
    # Litestar does not know: this body is a stream, and nothing is to be made of it.
    sending = document["paths"]["/api/v1/images/uploads/{upload_id}"]["patch"]
    sending["responses"]["204"].pop("content", None)
    sending["requestBody"] = {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
    schemas = document["components"]["schemas"]
    if strangers := set(schemas) - set(described):
        raise LookupError(f"records that nobody describes: {strangers}")
    return {**document, "components": {**document["components"], "schemas": described}}


def _link(paths: dict[str, Any]) -> None:
    """What a creating request answers names the thing that others are about: `id` in their address."""
    for path, field, parameter in (
        ("/api/v1/targets", "id", "target_id"),
        ("/api/v1/tenants", "id", "tenant_id"),
        ("/api/v1/tokens", "id", "token_id"),
        ("/api/v1/images/uploads", "id", "upload_id"),
    ):
        links = {
            door["operationId"]: {
                "operationId": door["operationId"],
                "parameters": {parameter: f"$response.body#/{field}"},
            }
            for other, doors in paths.items()
            if f"{{{parameter}}}" in other
            for door in doors.values()
        }
        paths[path]["post"]["responses"]["201"]["links"] = links


class OurDocument(JsonRenderPlugin):
    """Makes it once."""

    _made: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._made is None:
            self._made = msgspec.json.encode(completed(openapi_schema))
        return self._made


def config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="scsipub",
        version=scsipub.__version__,
        description=DESCRIPTION,
        # A path of its own: below it Litestar answers what is not there with a page, not a problem.
        path="/api/v1/openapi.json",
        # Plain JSON; the other forms load scripts from elsewhere.
        render_plugins=[OurDocument(path=["/", "/openapi.json"], media_type=MediaType.JSON)],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http", scheme="bearer", description="The admin token, or one of a tenant's"
                )
            }
        ),
    )
