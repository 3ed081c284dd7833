"""Callers: whose token this is, and what it opens.

The admin token is compared with a hash in memory, and works without a database; those of tenants are rows.
What belongs to another tenant is not there: the answer is NotFound, the same as for what never was."""

from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from scsipub.control.rentals import now
from scsipub.store import tenants
from scsipub.store.errors import NotFound
from scsipub.store.ids import split_token_untrusted
from scsipub.store.records import SCOPES, Target, Tenant, Token
from supervisor.channel import CallError

if TYPE_CHECKING:
    from scsipub.control.app import Control

# Of tokens that look like ours and are none: a second costs this many looks into the database at most.
GUESSES_PER_SECOND = 20.0
GUESSES_BURST = 100.0


@attrs.frozen(kw_only=True)
class Caller:
    """Who asks.  ``tenant_id`` None: the operator, or a program of the operator's."""

    tenant_id: str | None
    scopes: frozenset[str]
    token_id: str = ""
    tenant: Tenant | None = None

    def may(self, scope: str) -> bool:
        """An empty scope: everybody who is known at all."""
        return not scope or scope in self.scopes or "admin" in self.scopes

    @property
    def key(self) -> str:
        """Whose idempotency keys these are."""
        return self.tenant_id or "operator"

    def sees_tenant(self, tenant_id: str | None) -> bool:
        return self.tenant_id is None or tenant_id == self.tenant_id

    def require(self, scope: str) -> None:
        """Raises CallError."""
        if not self.may(scope):
            raise CallError("forbidden", f"The token has not the scope {scope}.")


ADMIN = Caller(tenant_id=None, scopes=SCOPES)


class Gate:
    """Looks at the token of each call."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.guesses = GUESSES_BURST
        self.filled = monotonic()
        self.met: set[str] = set()  # ids of tokens that were good: who guesses does not keep them out

    async def admit(self, claimed: object) -> Caller:
        """Raises CallError, and StoreUnavailable when nobody can know."""
        if self.control.web.token.admits(claimed):
            return ADMIN
        halves = split_token_untrusted(claimed) if isinstance(claimed, str) else None
        if not isinstance(claimed, str) or halves is None:
            raise self._refused()
        if halves[0] not in self.met and not self._may_look():
            raise CallError("busy", "Too many tokens that are none of ours were shown.  Try again later.")
        token, tenant = await self.control.rentals.store.call(_who, claimed, now())
        if token is None:
            self.met.discard(halves[0])
            self.guesses -= 1
            raise self._refused()
        if len(self.met) >= 10_000:
            self.met.clear()
        self.met.add(token.id)
        return Caller(tenant_id=token.tenant_id, scopes=token.scopes, token_id=token.id, tenant=tenant)

    def _may_look(self) -> bool:
        at = monotonic()
        self.guesses = min(GUESSES_BURST, self.guesses + (at - self.filled) * GUESSES_PER_SECOND)
        self.filled = at
        return self.guesses >= 1

    def _refused(self) -> CallError:
        # Counted always, logged once in a window.  The proxy knows who it was.
        self.control.complaints.complain("api token refused", "127.0.0.1", monotonic())
        return CallError("unauthorised", "The token is not one that we know.")


def _who(connection: sa.Connection, claimed: str, at: datetime) -> tuple[Token | None, Tenant | None]:
    token = tenants.check_token_untrusted(connection, claimed, at)
    if token is None or token.tenant_id is None:
        return token, None
    return token, tenants.tenant(connection, token.tenant_id)


def target_of(control: "Control", caller: Caller, id: object) -> Target:
    """A target that the caller may know of.  Raises NotFound."""
    return control.rentals.find(str(id), caller.tenant_id)


def same_tenant(caller: Caller, tenant_id: str) -> None:
    """Raises NotFound for another's."""
    if not caller.sees_tenant(tenant_id):
        raise NotFound("tenant", tenant_id)
