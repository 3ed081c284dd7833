"""Asking control, on behalf of strangers.

Knows the channel and trio's clock.  However many ask, control and the workers hear each public question at
most once a second: the answer is kept that long, and who comes while it is on its way waits for the same."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import trio

from supervisor.channel import CallError, Channel, ChannelClosed, close_all

FRESH_SECONDS = 1.0
ANSWER_SECONDS = 5.0
# Sessions that are to end may take ten; a request has twenty.
CHANGE_SECONDS = 15.0

# The ways in which control says no.  Everything else is no answer.
REFUSALS = frozenset(
    {
        "unauthorised",
        "forbidden",
        "not_found",
        "conflict",
        "exhausted",
        "invalid",
        "refused",
        "busy",
        "unavailable",
    }
)


class Unanswered(Exception):
    """Control did not say anything in time, or is about to end."""


class Refused(Exception):
    """Control said no.  ``code`` is one of ``REFUSALS``; ``args[0]`` a sentence; ``field``: of the body."""

    def __init__(self, code: str, message: str, field: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


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

    def forget(self, method: str) -> None:
        """The next public question of this name is asked anew: somebody has just changed the answer."""
        if kept := self._kept.get(method):
            kept.at = float("-inf")

    async def known(
        self, method: str, token: str, ask: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Any:
        """A question in the name of who has shown this token; control looks at it.  ``key``: of a request
        that is to be done once, however often it is sent."""
        return await self._ask(
            f"api.{method}", {"token": token, "ask": dict(ask or {}), "key": key}, CHANGE_SECONDS
        )

    async def tunnel(self, said: Mapping[str, Any], fd: int) -> None:
        """Have a worker serve a connection, of which it gets this end.  Raises Refused, Unanswered."""
        await self._ask("tunnel", dict(said), fds=(fd,))

    async def descriptor(self, method: str, token: str, ask: Mapping[str, Any]) -> tuple[Any, int]:
        """As ``known``, for an answer that comes with one descriptor, which is then the caller's."""
        params = {"token": token, "ask": dict(ask), "key": None}
        with _in_our_words():
            answer, fds = await self._channel.call_with_fds(f"api.{method}", params, timeout=ANSWER_SECONDS)
        if len(fds) != 1:
            close_all(fds)
            raise Unanswered("one descriptor was expected")
        return answer, fds[0]

    async def _ask(
        self, method: str, params: dict[str, Any], seconds: float = ANSWER_SECONDS, fds: Sequence[int] = ()
    ) -> Any:
        with _in_our_words():
            return await self._channel.call(method, params, fds, timeout=seconds)


@contextlib.contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except ChannelClosed as error:
        raise Unanswered(str(error)) from None
    except CallError as error:
        if error.code in REFUSALS:
            field = error.data.get("field") if isinstance(error.data, dict) else None
            raise Refused(error.code, error.message, field) from None
        raise Unanswered(str(error)) from None
