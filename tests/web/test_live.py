"""The live feed: for the operator, so many at once, and nobody who does not listen."""

import json
from types import SimpleNamespace

import attrs
import pytest
import trio
from litestar.exceptions import WebSocketDisconnect

from scsipub.web import live
from scsipub.web.asking import Refused, Unanswered
from scsipub.web.pages_visits import Visits, Who

LOOK = {
    "status": {"counters": dict.fromkeys(("bytes_read", "bytes_written", "operations"), 0), "workers": []}
}
LOOK["status"] |= {"sessions": 0, "parked": 0}
OPERATOR = Who(None, frozenset({"admin"}))


@attrs.define
class Control:
    """What the feed asks.  ``says``: an exception instead of an answer."""

    asked: int = 0
    says: Exception | None = None

    async def known(self, method, token, ask=None):
        if self.says is not None:
            raise self.says
        if method == "me":
            return {"tenant": None, "scopes": ["admin"]}
        self.asked += 1
        return {**LOOK, "sessions": []}


class Socket:
    """One browser.  ``takes``: how long it needs for a message."""

    def __init__(self, cookie="", origin="http://a", takes=0.0):
        self.headers = {"origin": origin, "host": "a"}
        self.cookies = {"scsipub": cookie}
        self.client, self.scope = None, {"headers": []}
        self.app = SimpleNamespace(state=SimpleNamespace(trusted=frozenset()))
        self.takes, self.said, self.closed, self.accepted = takes, [], None, False
        self.gone = trio.Event()

    async def accept(self):
        self.accepted = True

    async def close(self, code, reason=""):
        self.closed = code

    async def send_text(self, text):
        await trio.sleep(self.takes)
        self.said.append(json.loads(text))

    async def receive_data(self, mode):
        await self.gone.wait()
        raise WebSocketDisconnect(detail="gone")


@pytest.fixture
def house():
    visits, control = Visits(), Control()
    feed = live.Feed(control)

    def signs_in(who=OPERATOR):
        return visits.open("token", who, trio.current_time())

    async def watch(socket):
        await live.live.fn(socket=socket, visits=visits, feed=feed)

    return SimpleNamespace(visits=visits, control=control, feed=feed, signs_in=signs_in, watch=watch)


async def test_however_many_look_control_is_asked_once_a_second(house, nursery, autojump_clock):
    sockets = [Socket(house.signs_in()) for _ in range(5)]
    for socket in sockets:
        nursery.start_soon(house.watch, socket)
    await trio.sleep(10.5)

    assert all(10 <= len(socket.said) <= 11 for socket in sockets)
    assert house.control.asked <= 11
    assert "curve" in sockets[0].said[0] and "curve" not in sockets[0].said[1]
    nursery.cancel_scope.cancel()


async def test_another_site_cannot_open_it_in_the_operators_browser(house):
    socket = Socket(house.signs_in(), origin="http://evil.example.org")
    await house.watch(socket)

    assert (socket.accepted, socket.closed) == (False, live.NOT_YOU)


@pytest.mark.parametrize(
    "who", [None, Who("alice", frozenset({"sessions:read"}))], ids=["stranger", "tenant"]
)
async def test_it_is_for_the_operator(house, who):
    socket = Socket(house.signs_in(who) if who else "made-up")
    await house.watch(socket)

    assert (socket.said, socket.closed) == ([], live.NOT_YOU)


async def test_one_viewer_too_many_is_told_so(house, nursery, autojump_clock):
    for _ in range(live.MOST_VIEWERS):
        nursery.start_soon(house.watch, Socket(house.signs_in()))
    await trio.sleep(1.5)
    late = Socket(house.signs_in())
    await house.watch(late)

    assert (late.said, late.closed, house.feed.viewers) == ([], live.TOO_MANY, live.MOST_VIEWERS)
    nursery.cancel_scope.cancel()


async def test_who_takes_nothing_is_let_go_of(house, autojump_clock):
    quick, slow = (Socket(house.signs_in(), takes=live.SEND_SECONDS * part) for part in (0.9, 1.1))
    with trio.move_on_after(20):
        await house.watch(slow)
    assert trio.current_time() < 20 and house.feed.viewers == 0
    with trio.move_on_after(30):
        await house.watch(quick)
    assert len(quick.said) >= 5


async def test_who_goes_away_is_forgotten(house, nursery, autojump_clock):
    socket = Socket(house.signs_in())
    nursery.start_soon(house.watch, socket)
    await trio.sleep(2.5)
    socket.gone.set()
    await trio.testing.wait_all_tasks_blocked()

    assert house.feed.viewers == 0


async def test_a_token_that_is_revoked_or_a_visit_that_ends_ends_the_feed(house, autojump_clock):
    for end in ("token", "visit"):
        cookie = house.signs_in()
        socket = Socket(cookie)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.watch, socket)
            await trio.sleep(2.5)
            if end == "token":
                house.control.says = Refused("unauthorised", "no")
            else:
                house.visits.close(cookie)
        house.control.says = None

        assert socket.closed == live.NOT_YOU


async def test_a_daemon_that_is_away_is_shown_as_away(house, nursery, autojump_clock):
    socket = Socket(house.signs_in())
    house.control.says = Unanswered("away")
    nursery.start_soon(house.watch, socket)
    await trio.sleep(1.5)
    house.control.says = None
    await trio.sleep(2)

    assert socket.said[0] == {"away": True} and "now" in socket.said[-1]
    nursery.cancel_scope.cancel()
