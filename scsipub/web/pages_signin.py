"""Signing in and out, and what pages for somebody are given: the visit, and forms that are ours.

Knows Litestar and trio's clock.  A token is checked by control; here it is only remembered, see
``pages_visits``."""

from typing import Any

import trio
from litestar import Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.params import FromQuery
from litestar.response import Redirect

from scsipub.web import problems
from scsipub.web.asking import Asking, Refused, Unanswered
from scsipub.web.forwarded import Client, client_untrusted
from scsipub.web.pages_parts import page
from scsipub.web.pages_visits import (
    TRY_SECONDS,
    Forged,
    SignInFirst,
    Tries,
    Visit,
    Visits,
    Who,
    check_form,
    cookie_name,
    is_key,
    local_path,
)

# Of the form that is shown before anybody is known: it only has to come from our page.
LOGIN_KEY = "sign-in"
LONGEST_TOKEN = 256
FORM_KEY_HEADER = "x-form-key"
Asked = Request[Any, Any, Any]


async def ask_who(asking: Asking, token: str) -> Who:
    """Whom the token stands for.  Raises Refused."""
    me = await asking.known("me", token)
    return Who(me["tenant"], frozenset(me["scopes"]))


def client_of(request: ASGIConnection[Any, Any, Any, Any]) -> Client:
    """Who asks, as our own proxy saw it."""
    peer = request.client.host if request.client is not None else ""
    return client_untrusted(peer, request.scope["headers"], request.app.state.trusted)


def cookie_of(request: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    return request.cookies.get(cookie_name(client_of(request).encrypted))


def visit_of(visits: Visits, request: ASGIConnection[Any, Any, Any, Any]) -> Visit | None:
    """Who asks; None for a stranger."""
    return visits.find(cookie_of(request), trio.current_time())


def provide_visit(visits: NamedDependency[Visits], request: Asked) -> Visit:
    """For pages that are for somebody.  Raises SignInFirst."""
    visit = visit_of(visits, request)
    if visit is None:
        raise SignInFirst
    return visit


def token_of_page(request: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """For scripts of our pages, which ask the API: the cookie says who, and a header that no other site can
    make a browser send says that the page is ours."""
    said = request.headers.get(FORM_KEY_HEADER)
    visit = visit_of(request.app.state.visits, request) if said is not None else None
    if visit is None or not is_key(said, visit.form_key):
        return None
    return visit.token


async def form_of(request: Asked, visit: Visit) -> dict[str, str]:
    """What was filled in.  Raises Forged for what did not come from a page of this visit."""
    said = await request.form()
    check_form(request.headers, said.get("form_key"), visit.form_key)
    return {key: value.strip() for key, value in said.items() if isinstance(value, str)}


def see(path: str) -> Redirect:
    """What was sent is done; the browser goes on with GET."""
    return Redirect(path, status_code=303)


@get("/login")
async def login_page(
    visits: NamedDependency[Visits], request: Asked, next: FromQuery[str] = ""
) -> Response[Any]:
    visit = visit_of(visits, request)
    if visit is not None:
        return see(local_path(next) or visit.who.home)
    return page("login.html", next=local_path(next) or "", wrong="")


@post("/login")
async def login(
    asking: NamedDependency[Asking],
    visits: NamedDependency[Visits],
    tries: NamedDependency[Tries],
    request: Asked,
) -> Response[Any]:
    said = await request.form()
    check_form(request.headers, said.get("form_key"), LOGIN_KEY)
    token, next = str(said.get("token", "")).strip(), local_path(str(said.get("next", ""))) or ""
    client, now = client_of(request), trio.current_time()
    if not tries.may(client.address, now):
        words = "That were many tokens that are not known. Wait a minute, then try again."
        return page("login.html", 429, {"Retry-After": str(int(TRY_SECONDS))}, next=next, wrong=words)
    try:
        if not 0 < len(token) <= LONGEST_TOKEN:
            raise Refused("unauthorised", "")
        who = await ask_who(asking, token)
    except Refused as error:
        if error.code != "unauthorised":
            raise
        tries.failed(client.address, now)
        words = "This token is not known, or it is no longer valid."
        return page("login.html", 403, next=next, wrong=words)
    visits.close(cookie_of(request))
    answer = see(next or who.home)
    answer.cookies.append(
        Cookie(
            key=cookie_name(client.encrypted),
            value=visits.open(token, who, now),
            httponly=True,
            secure=client.encrypted,
            samesite="strict",
            path="/",
        )
    )
    return answer


@post("/logout")
async def logout(
    visit: NamedDependency[Visit], visits: NamedDependency[Visits], request: Asked
) -> Response[Any]:
    await form_of(request, visit)
    visits.close(cookie_of(request))
    answer = see("/login")
    encrypted = client_of(request).encrypted
    answer.cookies.append(
        Cookie(
            key=cookie_name(encrypted),
            value="",
            max_age=0,
            httponly=True,
            secure=encrypted,
            samesite="strict",
        )
    )
    return answer


# -- what goes wrong on a page -------------------------------------------------------------------------------


def of_stranger(request: Asked, error: SignInFirst) -> Response[Any]:
    asked = request.url.path if request.method == "GET" else ""
    return see(f"/login?next={asked}" if local_path(asked) and asked != "/logout" else "/login")


def wrong(request: Asked, code: int, title: str, why: str, back: str | None = None) -> Response[str]:
    """What went wrong, for people; still signed in if they were."""
    visit = visit_of(request.app.state.visits, request)
    return page("wrong.html", code, visit=visit, title=title, why=why, back=back)


def of_forgery(request: Asked, error: Forged) -> Response[str]:
    return wrong(request, 403, "Not sent", str(error))


def told(error: Refused) -> str:
    """What to show beside a form; but a token that is not known any more ends the visit (``of_refusal``)."""
    if error.code == "unauthorised":
        raise error
    return str(error)


def of_refusal(request: Asked, error: Refused) -> Response[Any]:
    """Control said no.  A token that is not known any more ends the visit."""
    if error.code == "unauthorised":
        visits: Visits = request.app.state.visits
        visits.close(cookie_of(request))
        return see("/login")
    status, title = {
        "not_found": (404, "Not there"),
        "forbidden": (403, "Not allowed"),
        "conflict": (409, "Not now"),
        "exhausted": (409, "No more of it"),
        "refused": (409, "Not now"),
        "busy": (429, "Too much at once"),
        "unavailable": (503, "Not now"),
    }.get(error.code, (400, "Not like this"))
    return wrong(request, status, title, str(error), local_referer(request))


def local_referer(request: Asked) -> str | None:
    """The page that the form was on."""
    said = request.headers.get("referer", "")
    host = request.headers.get("host", "")
    for scheme in ("http://", "https://"):
        if host and said.startswith(f"{scheme}{host}/"):
            return local_path(said.removeprefix(f"{scheme}{host}"))
    return None


def of_silence(request: Asked, error: Unanswered) -> Response[str]:
    return page("away.html", 503, {"Retry-After": "5"})


def of_http(request: Asked, error: HTTPException) -> Response[str]:
    title = "Not there" if error.status_code == 404 else "Not like this"
    return wrong(request, error.status_code, title, error.detail if error.status_code != 404 else "")


def of_unknown(request: Asked, error: HTTPException) -> Response[Any]:
    """Where there is nothing at all: a page for who reads pages, a problem for programs."""
    reads_pages = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(
        "/api/"
    )
    return of_http(request, error) if reads_pages else problems.of_http(request, error)


def of_bug(request: Asked, error: Exception) -> Response[str]:
    problem = problems.of_bug(request, error).content
    return wrong(request, 500, "Our mistake", problem.detail)


HANDLERS: dict[Any, Any] = {
    SignInFirst: of_stranger,
    Forged: of_forgery,
    Refused: of_refusal,
    Unanswered: of_silence,
    HTTPException: of_http,
    Exception: of_bug,
}


def pages_router(*handlers: Any) -> Router:
    """Pages for people: what goes wrong is a page too, and none is in the API's document."""
    return Router(
        "/",
        route_handlers=[login_page, login, logout, *handlers],
        dependencies={"visit": Provide(provide_visit, sync_to_thread=False)},
        exception_handlers=HANDLERS,
        include_in_schema=False,
    )
