"""Live: what the daemon does now, told once a second to the administrators who look.

Source: RFC 6455 §7.4.1 (close codes).  Knows Litestar and trio.  However many look, control is asked once a
second; there are only so many, and one who does not take what is sent is let go of."""

import json
from contextlib import suppress
from typing import Any

import trio
from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect, WebSocketException

from scsipub.web.asking import Asking, Refused, Unanswered
from scsipub.web.live_numbers import MOST_ROWS, Look, Numbers
from scsipub.web.pages_signin import ask_who, cookie_of, visit_of
from scsipub.web.pages_visits import Visit, Visits, is_from_here

EVERY_SECONDS = 1.0
# How long one message may take to leave.
SEND_SECONDS = 5.0
MOST_VIEWERS = 16
# How often control is asked whether the token of somebody who looks is still good.
CHECK_SECONDS = 10.0

NOT_YOU = 4403
TOO_MANY = 1013


class Feed:
    """One look at the daemon for everybody who wants to see."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.viewers = 0
        self.numbers = Numbers()
        self._lock = trio.Lock()
        self._at = float("-inf")
        self._shown: dict[str, Any] = {}

    async def look(self, token: str) -> dict[str, Any]:
        """At most a second old.  Raises Refused and Unanswered; ``token``: of who happens to ask."""
        async with self._lock:
            if trio.current_time() - self._at >= EVERY_SECONDS * 0.9:
                said = await self.asking.known("live.look", token, {"most": MOST_ROWS})
                self._at = trio.current_time()
                by_id = {session["id"]: session for session in said["sessions"]}
                self._shown = self.numbers.add(Look(self._at, said["status"], by_id))
            return self._shown

    async def messages(self, visit: Visit, visits: Visits, cookie: str | None) -> Any:
        """What one viewer is sent, until he may not see it any more."""
        first, checked = True, trio.current_time()
        while True:
            now = trio.current_time()
            if visits.find(cookie, now) is not visit:
                return
            try:
                if now - checked >= CHECK_SECONDS:
                    await ask_who(self.asking, visit.token)
                    checked = now
                shown = await self.look(visit.token)
            except Refused:
                return
            except Unanswered:
                yield {"away": True}
            else:
                yield shown | {"curve": list(self.numbers.curve)} if first else shown
                first = False
            await trio.sleep(EVERY_SECONDS)


@websocket("/live")
async def live(
    socket: WebSocket[Any, Any, Any], visits: NamedDependency[Visits], feed: NamedDependency[Feed]
) -> None:
    """One viewer.  The browser says where the page came from; that of another site is refused."""
    if not is_from_here(socket.headers):
        await socket.close(NOT_YOU)
        return
    await socket.accept()
    visit = visit_of(visits, socket)
    if visit is None or not visit.who.admin:
        await socket.close(NOT_YOU)  # a code that a page can read; before accepting it would see none
        return
    if feed.viewers >= MOST_VIEWERS:
        await socket.close(TOO_MANY, "Too many look already.")
        return
    feed.viewers += 1
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_gone, socket, nursery.cancel_scope)
            cookie = cookie_of(socket)
            async for message in feed.messages(visit, visits, cookie):
                with trio.fail_after(SEND_SECONDS):
                    await socket.send_text(json.dumps(message))
            await socket.close(NOT_YOU)
            nursery.cancel_scope.cancel()
    except* (trio.TooSlowError, WebSocketException, trio.BrokenResourceError):
        pass  # he went away, or takes nothing
    finally:
        feed.viewers -= 1


async def _until_gone(socket: WebSocket[Any, Any, Any], scope: trio.CancelScope) -> None:
    """Viewers have nothing to say.  What one says all the same is not kept."""
    with suppress(WebSocketDisconnect):
        while True:
            await socket.receive_data(mode="text")
    scope.cancel()


HANDLERS = [live]
