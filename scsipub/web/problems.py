"""Problems: every error an HTTP client meets has one shape.

Source: RFC 9457 (problem details), RFC 9110 §15 (what the numbers mean).  Knows Litestar's exceptions."""

import http
import logging
from typing import Any

import attrs
from litestar import Request, Response
from litestar.exceptions import HTTPException

from scsipub.web.asking import Refused, Unanswered

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
# Different bugs that are logged; a stranger may meet the same one as often as he likes.
MOST_LOGGED = 100

log = logging.getLogger("scsipub.web")
_logged: set[str] = set()

# A request that is well formed and cannot be done, be it for the tier's sake, is a 409.
STATUS_OF_REFUSAL = {
    "unauthorised": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "exhausted": 409,
    "invalid": 409,
    "refused": 409,
    "busy": 429,
    "unavailable": 503,
}


@attrs.frozen(kw_only=True)
class Problem:
    """What went wrong, and what to do about it."""

    title: str
    status: int
    type: str = "about:blank"
    detail: str = ""
    errors: list[Any] | None = None


def answer(
    status: int, detail: str = "", errors: list[Any] | None = None, headers: dict[str, str] | None = None
) -> Response[Problem]:
    """One problem as a response."""
    headers = dict(headers or {})
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_SECONDS)
    problem = Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return Response(problem, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def of_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """What Litestar itself refuses: unknown paths, methods, parameters that do not fit."""
    extra = error.extra if isinstance(error.extra, list) else None
    detail = error.detail if error.detail != http.HTTPStatus(error.status_code).phrase else ""
    return answer(error.status_code, detail, extra, error.headers)


def of_refusal(request: Request[Any, Any, Any], error: Refused) -> Response[Problem]:
    errors = [{"message": str(error), "key": error.field, "source": "body"}] if error.field else None
    return answer(STATUS_OF_REFUSAL[error.code], str(error), errors)


def of_silence(request: Request[Any, Any, Any], error: Unanswered) -> Response[Problem]:
    return answer(503, "The daemon does not answer at the moment. Targets may be served all the same.")


def of_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Whatever else escapes is ours.  The client learns nothing of it, the log once."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{type(error).__name__} {trace.tb_frame.f_code.co_filename if trace else ''}"
    where += f":{trace.tb_lineno if trace else ''}"
    if where not in _logged and len(_logged) < MOST_LOGGED:
        _logged.add(where)
        log.error("a request crashed (said once for each place)", exc_info=error)
    return answer(500, "That is a bug of scsipub. Its log says more.")


HANDLERS: dict[Any, Any] = {
    HTTPException: of_http,
    Refused: of_refusal,
    Unanswered: of_silence,
    Exception: of_bug,
}
