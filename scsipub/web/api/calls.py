"""Calls: what every handler of the API needs.

Knows Litestar.  A request is read twice: here strictly, against the bounds of its record, unknown fields and
control characters refused; then by Litestar, which hands it on."""

import http
from collections.abc import Mapping
from typing import Any

import attrs
import cattrs
import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.exceptions import ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from scsipub.web.asking import Asking, Refused
from scsipub.web.pages_signin import token_of_page
from scsipub.web.problems import MEDIA_TYPE, Problem

Anything = Request[Any, Any, Any]
BEARER = [{"bearer": list[str]()}]


def problem(status: int, detail: str) -> ResponseSpec:
    """How a refusal is documented."""
    title = http.HTTPStatus(status).phrase
    example = Example(
        value=cattrs.unstructure(Problem(title=title, status=status, detail=detail)), summary=title
    )
    return ResponseSpec(
        Problem, description=detail, media_type=MEDIA_TYPE, examples=[example], generate_examples=False
    )


PUBLIC = {
    400: problem(400, "A parameter does not fit."),
    503: problem(503, "The daemon does not answer at the moment."),
}
KNOWN = {
    **PUBLIC,
    401: problem(401, "The token is not one that we know."),
    403: problem(403, "The token has not the scope targets:write."),
    429: problem(429, "Too many tokens that are none of ours were shown."),
    503: problem(503, "The daemon, or its database, does not answer at the moment. Ask again later."),
}
ABOUT = {**KNOWN, 404: problem(404, "There is no such thing, or it is somebody else's.")}
CHANGES = {**ABOUT, 409: problem(409, "What is there already, or the tier, stands in the way.")}


@attrs.frozen
class Call:
    """Asks control in the name of whoever sent the request."""

    asking: Asking
    token: str

    async def __call__(
        self, method: str, ask: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Any:
        said = {name: value for name, value in (ask or {}).items() if value is not None}
        return await self.asking.known(method, self.token, said, key)


async def provide_call(request: Anything, asking: NamedDependency[Asking]) -> Call:
    return Call(asking, token_of(request))


def token_of(request: Anything) -> str:
    """What follows ``Authorization: Bearer``, RFC 6750 §2.1; or that of who is signed in on our pages."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme and (signed_in := token_of_page(request)):
        return signed_in
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused("unauthorised", "This needs a header: Authorization: Bearer TOKEN.")
    return token.strip()


async def read_strictly(request: Anything) -> None:
    """Before a handler is called.  Raises Refused without a token, ValidationException for a body."""
    handler = request.route_handler
    if handler.security:
        token_of(request)
    field = handler.parsed_data_field
    if field is not None:
        whole = fits_untrusted(await request.body(), field.annotation)
        request._body = request._connection_state.body = whole


def fits_untrusted(body: bytes, kind: Any) -> bytes:
    """Is this JSON of this kind, and nothing besides?  The same JSON, with 3.0 as 3: a number is a number."""
    try:
        said = _integers(msgspec.json.decode(body))
        body = msgspec.json.encode(said)
        msgspec.json.decode(body, type=kind, strict=True)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        words, _, where = str(error).partition(" - at `")
        errors = [
            {"message": words, "key": where.rstrip("`").removeprefix("$").lstrip("."), "source": "body"}
        ]
        raise ValidationException(detail=f"The body does not fit: {words}", extra=errors) from None
    for where, words in _surplus(said, kind, ""):
        errors = [{"message": words, "key": where, "source": "body"}]
        raise ValidationException(detail=f"The body does not fit: {words}", extra=errors)
    return body


def _integers(said: Any) -> Any:
    if isinstance(said, float) and said.is_integer():
        return int(said)
    if isinstance(said, list):
        return [_integers(each) for each in said]
    if isinstance(said, dict):
        return {name: _integers(value) for name, value in said.items()}
    return said


def _surplus(said: Any, kind: Any, where: str) -> Any:
    """Fields that the record has not, and text with control characters."""
    if isinstance(said, str) and any(char < " " or char == "\x7f" for char in said):
        yield where, "control characters in a text"
    elif isinstance(said, list):
        for number, each in enumerate(said):
            yield from _surplus(each, _inner(kind, list), f"{where}[{number}]")
    elif isinstance(said, dict):
        record = _inner(kind, dict)
        known = {field.name: field.type for field in attrs.fields(record)} if record is not None else {}
        for name, value in said.items():
            path = f"{where}.{name}" if where else name
            if name not in known:
                yield path[:200], "there is no such field"
            else:
                yield from _surplus(value, known[name], path)


def _inner(kind: Any, of: type) -> Any:
    """What a list contains, or which record an object is; below Annotated and Optional."""
    if of is dict and attrs.has(kind):
        return kind
    if of is list and getattr(kind, "__origin__", None) is list:
        return kind.__args__[0]
    for part in (*getattr(kind, "__args__", ()), getattr(kind, "__origin__", None)):
        if part is not None and part is not kind and (found := _inner(part, of)) is not None:
            return found
    return None
