"""The door of the API: every call of the web process that carries a token.

    {"token": what the stranger showed, "ask": {...}, "key": an idempotency key or null}

Each call is looked at anew: whose token it is, whether what it speaks of is theirs (NotFound, before anything
else is said), then whether the token has the scope.  A creating call with a key is made once: its answer is
kept, sealed, and given again to who asks the same again."""

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from scsipub.control.api.caller import Caller, Gate
from scsipub.control.rentals import now
from scsipub.store import journal
from scsipub.store.errors import (
    Conflict,
    Exhausted,
    Invalid,
    NotFound,
    SecretUnreadable,
    StoreError,
    StoreUnavailable,
)
from scsipub.store.records import Remembered
from scsipub.store.vault import Vault
from supervisor.channel import CallError, Handler

if TYPE_CHECKING:
    from scsipub.control.app import Control

log = logging.getLogger("scsipub.api")

Ask = dict[str, Any]
CREATED = 201

CODES: tuple[tuple[type[StoreError], str], ...] = (
    (StoreUnavailable, "unavailable"),
    (NotFound, "not_found"),
    (Exhausted, "exhausted"),
    (Invalid, "invalid"),
    (SecretUnreadable, "conflict"),
    (Conflict, "conflict"),
)


@attrs.frozen(kw_only=True)
class Method:
    """One thing that can be asked.  ``sees`` raises NotFound for what the caller must not know of."""

    run: Callable[[Caller, Ask], Awaitable[Any]]
    scope: str = ""
    sees: Callable[[Caller, Ask], Awaitable[None]] | None = None
    creates: bool = False


class Door:
    """``methods``: by name, as the web process calls them."""

    def __init__(self, control: "Control", methods: Mapping[str, Method]) -> None:
        self.control = control
        self.gate = Gate(control)
        self.methods = methods
        self.answering: set[tuple[str, str]] = set()

    def handlers(self) -> Mapping[str, Handler]:
        return {f"api.{name}": self._handler(name, method) for name, method in self.methods.items()}

    def _handler(self, name: str, method: Method) -> Handler:
        async def handle(params: Any, fds: list[int]) -> Any:
            try:
                caller = await self.gate.admit(params.get("token"))
                ask = dict(params.get("ask") or {})
                if method.sees is not None:
                    await method.sees(caller, ask)
                caller.require(method.scope)
                if method.creates and params.get("key"):
                    return await self._once(name, method, caller, ask, params["key"])
                return await method.run(caller, ask)
            except StoreError as error:
                raise said(error) from None
            except OSError as error:
                log.error("%s: %s", name, error)
                raise CallError("unavailable", f"The disks cannot be used: {error.strerror}.") from None

        return handle

    async def _once(self, name: str, method: Method, caller: Caller, ask: Ask, key: str) -> Any:
        place = (caller.key, key)
        if place in self.answering:
            raise Conflict("the first request with this idempotency key is still being answered")
        request = hashlib.sha256(json.dumps([name, ask], sort_keys=True).encode()).hexdigest()
        store = self.control.rentals.store
        self.answering.add(place)
        try:
            before = await store.call(_begin, store.vault, caller.key, key, request, now())
            if before is not None:
                return before.answer
            try:
                answer = await method.run(caller, ask)
            except BaseException:
                await self._forget(caller.key, key)
                raise
            try:
                await store.call(journal.finish, store.vault, caller.key, key, CREATED, answer)
            except StoreUnavailable as away:
                # It was done, and its secrets are shown only now: better an answer that cannot be repeated.
                log.warning("an answer is not kept for who asks again: %s", away)
            return answer
        finally:
            self.answering.discard(place)

    async def _forget(self, caller: str, key: str) -> None:
        """It came to nothing.  What cannot be forgotten now is when the key is used again."""
        try:
            await self.control.rentals.store.call(journal.forget, caller, key)
        except StoreUnavailable as away:
            log.warning("an idempotency key stays for now: %s", away)


def _begin(
    connection: sa.Connection, vault: Vault, caller: str, key: str, request: str, at: datetime
) -> Remembered | None:
    # Control alone answers, and knows that nobody is answering this one: what was begun has failed.
    journal.forget_unfinished(connection, caller, key)
    return journal.begin(connection, vault, caller, key, request, at)


def said(error: StoreError) -> CallError:
    """In the words of the channel."""
    code = next(code for kind, code in CODES if isinstance(error, kind))
    words = str(error)
    data = {"field": error.field} if isinstance(error, Invalid) and error.field else None
    return CallError(code, f"{words[:1].upper()}{words[1:]}.", data)
