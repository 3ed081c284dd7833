"""supervisor/stopping.py: how a child is asked to end, and who is listening."""

import trio
import trio.testing

from supervisor import stopping
from supervisor.stopping import StopRequest


def test_a_request_knows_whether_anybody_listens():
    request = StopRequest()
    token = stopping.current.set(request)
    try:
        assert not request.heard
        assert stopping.stopping() is request.event
        assert request.heard
    finally:
        stopping.current.reset(token)


async def test_the_tasks_of_a_child_hear_what_the_child_hears(nursery):
    request = StopRequest()
    heard = trio.Event()

    async def task():
        await stopping.stopping().wait()
        heard.set()

    token = stopping.current.set(request)
    nursery.start_soon(task)
    stopping.current.reset(token)
    await trio.testing.wait_all_tasks_blocked()
    request.event.set()
    await heard.wait()


def test_under_no_supervisor_nobody_asks():
    assert not stopping.stopping().is_set()
