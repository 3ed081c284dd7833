"""However many ask, control hears it once."""

import pytest
import trio

from scsipub.web.asking import FRESH_SECONDS, Asking, Unanswered
from supervisor.channel import Channel, channel_pair


@pytest.fixture
async def asked(nursery, autojump_clock):
    """The list of what control was asked, an Asking, and control's end of the line."""
    heard = []

    async def status(params, fds):
        heard.append(params)
        await trio.sleep(0.1)
        return len(heard)

    ours, theirs = channel_pair()
    here, there = Channel(ours, {}), Channel(theirs, {"status": status})
    await nursery.start(here.run)
    await nursery.start(there.run)
    return heard, Asking(here), there


async def test_a_thousand_at_once_share_one_answer(asked):
    heard, asking, _ = asked

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(asking.public, "status")

    assert len(heard) == 1


async def test_an_answer_grows_old(asked):
    _, asking, _ = asked

    first = await asking.public("status")
    await trio.sleep(FRESH_SECONDS - 0.01)
    same = await asking.public("status")
    await trio.sleep(0.02)

    assert (first, same, await asking.public("status")) == (1, 1, 2)


async def test_an_error_is_not_kept(asked):
    _, asking, _ = asked

    with pytest.raises(Unanswered):
        await asking.public("unknown")
    assert await asking.public("status") == 1


async def test_silence_is_unanswered(asked):
    _, asking, there = asked
    there.close()

    with pytest.raises(Unanswered):
        await asking.public("status")
