"""Asking control, on behalf of strangers.

Knows the channel and trio's clock.  However many ask, control and the workers hear each public question at
most once a second: the answer is kept that long, and who comes while it is on its way waits for the same."""

from collections.abc import Mapping
from typing import Any

import attrs
import trio

from supervisor.channel import CallError, Channel, ChannelClosed

FRESH_SECONDS = 1.0
ANSWER_SECONDS = 5.0


class Unanswered(Exception):
    """Control did not say anything in time, or is about to end."""


class Refused(Exception):
    """Control said no.  ``code`` is one of its words; ``args[0]`` a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@attrs.define(eq=False)
class _Kept:
    """One public question.  ``at`` is when the answer came."""

    lock: trio.Lock = attrs.field(factory=trio.Lock)
    at: float = float("-inf")
    answer: Any = None


class Asking:
    """What handlers of requests are given."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._kept: dict[str, _Kept] = {}

    async def public(self, method: str) -> Any:
        """A question without parameters, whose answer everybody may know."""
        kept = self._kept.setdefault(method, _Kept())
        async with kept.lock:
            if trio.current_time() - kept.at >= FRESH_SECONDS:
                kept.answer = await self._ask(method, {})
                kept.at = trio.current_time()
            return kept.answer

    async def admin(self, method: str, token: str, params: Mapping[str, Any] | None = None) -> Any:
        """A question that control answers only to who has shown this token."""
        return await self._ask(f"admin.{method}", {**(params or {}), "token": token})

    async def _ask(self, method: str, params: dict[str, Any]) -> Any:
        try:
            return await self._channel.call(method, params, timeout=ANSWER_SECONDS)
        except ChannelClosed as error:
            raise Unanswered(str(error)) from None
        except CallError as error:
            if error.code in ("unauthorised", "not_found"):
                raise Refused(error.code, error.message) from None
            raise Unanswered(str(error)) from None
