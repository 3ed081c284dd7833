"""Visits: the browsers that have signed in, and how they show it.

Source: RFC 6265bis (cookies, the ``__Host-`` prefix), RFC 6454 (Origin).  Sans-IO; time is an argument.

A browser is given a random name in a cookie that scripts cannot read and other sites cannot send.  What it
stands for, the token above all, stays in the memory of this process: a restart signs everybody out, and there
is nothing to steal on a disk.  Control looks at the token again for each thing that is done with it."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

COOKIE = "scsipub"
SECURE_COOKIE = "__Host-scsipub"
IDLE_SECONDS = 2 * 3600.0
LONGEST_SECONDS = 12 * 3600.0
MOST_VISITS = 1000
# Answers with a secret in them that nobody has looked at yet.
MOST_ONCE = 8
# Tokens that did not fit, of one source: so many at once, and one more after so many seconds.
TRIES = 5
TRY_SECONDS = 12.0
MOST_SOURCES = 1024


class SignInFirst(Exception):
    """The page is for somebody."""


class Forged(Exception):
    """The form did not come from one of our pages, or from one of another visit."""


@attrs.frozen
class Who:
    """Whom a token stands for, as control says.  ``tenant`` is None for the operator."""

    tenant: str | None
    scopes: frozenset[str] = frozenset()

    @property
    def admin(self) -> bool:
        return "admin" in self.scopes

    def may(self, scope: str) -> bool:
        return self.admin or scope in self.scopes

    @property
    def home(self) -> str:
        return "/admin" if self.admin else "/targets"


@attrs.define(eq=False)
class Visit:
    """One browser.  ``once``: answers that may be looked at one time, by a random name."""

    who: Who
    token: str = attrs.field(repr=False)
    form_key: str = attrs.field(repr=False)
    began: float
    seen: float
    once: "OrderedDict[str, Any]" = attrs.field(factory=OrderedDict, repr=False)

    def keep_once(self, answer: Any) -> str:
        """Its name.  The oldest that nobody fetched makes room."""
        name = secrets.token_urlsafe(16)
        self.once[name] = answer
        while len(self.once) > MOST_ONCE:
            self.once.popitem(last=False)
        return name


class Visits:
    """All of them, in memory, so many and no more."""

    def __init__(self) -> None:
        self._open: OrderedDict[bytes, Visit] = OrderedDict()

    def open(self, token: str, who: Who, now: float) -> str:
        """What the browser's cookie has to say.  The one that was idle longest makes room."""
        cookie = secrets.token_urlsafe(32)
        self._open[_key(cookie)] = Visit(who, token, secrets.token_urlsafe(32), now, now)
        while len(self._open) > MOST_VISITS:
            self._open.popitem(last=False)
        return cookie

    def find(self, cookie: str | None, now: float) -> Visit | None:
        """The visit that goes on; None for one that is over, or never was."""
        if not cookie:
            return None
        key = _key(cookie)
        visit = self._open.get(key)
        if visit is None:
            return None
        if now - visit.seen > IDLE_SECONDS or now - visit.began > LONGEST_SECONDS:
            del self._open[key]
            return None
        visit.seen = now
        self._open.move_to_end(key)
        return visit

    def close(self, cookie: str | None) -> None:
        if cookie:
            self._open.pop(_key(cookie), None)


def _key(cookie: str) -> bytes:
    # By its hash: how long a look into the table takes tells nothing about what is in it.
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()


@attrs.define(eq=False)
class Tries:
    """How often a source may show tokens that do not fit.  A bucket for each, the oldest forgotten."""

    _buckets: "OrderedDict[str, tuple[float, float]]" = attrs.field(factory=OrderedDict)

    def _left(self, source: str, now: float) -> float:
        left, at = self._buckets.get(source, (float(TRIES), now))
        return min(float(TRIES), left + (now - at) / TRY_SECONDS)

    def may(self, source: str, now: float) -> bool:
        return self._left(source, now) >= 1

    def failed(self, source: str, now: float) -> None:
        self._buckets[source] = (max(0.0, self._left(source, now) - 1), now)
        self._buckets.move_to_end(source)
        while len(self._buckets) > MOST_SOURCES:
            self._buckets.popitem(last=False)


# -- what a request says of itself ---------------------------------------------------------------------------


def cookie_name(encrypted: bool) -> str:
    """The prefix makes browsers refuse it without TLS, from a subdomain, or for a part of the site."""
    return SECURE_COOKIE if encrypted else COOKIE


def is_from_here(headers: Mapping[str, str]) -> bool:
    """Does ``Origin`` name the host that was asked?  Browsers send it with every POST and WebSocket."""
    origin = headers.get("origin", "")
    try:
        said = urlsplit(origin)
    except ValueError:
        return False
    host = headers.get("host", "")
    return said.scheme in ("http", "https") and bool(host) and said.netloc.lower() == host.lower()


def is_key(said: object, expected: str) -> bool:
    """Takes as long whether it nearly is or not."""
    claimed = said if isinstance(said, str) else ""
    return hmac.compare_digest(claimed.encode("utf-8", "surrogatepass"), expected.encode())


def check_form(headers: Mapping[str, str], said: object, expected: str) -> None:
    """Raises Forged for a form that was not sent from our page, or lacks its key."""
    if not is_from_here(headers):
        raise Forged("The form was sent from another place than our pages.")
    if not is_key(said, expected):
        raise Forged("The form is too old. Go back, load the page again, and send it once more.")


def local_path(said: str) -> str | None:
    """A path on this very site, to go on to after signing in; None for anything else."""
    plain = (
        said.startswith("/") and not said.startswith(("//", "/\\")) and said.isascii() and said.isprintable()
    )
    return said if plain and len(said) <= 300 else None
