"""scsipub/faults/proxy.py: between real sockets, in fine weather and in foul."""

import contextlib
from functools import partial

import pytest
import trio

from scsipub.errors import OperatorError
from scsipub.faults.proxy import Proxy, listen
from scsipub.faults.weather import Climate

DATA = bytes(range(256)) * 1000


@contextlib.asynccontextmanager
async def echo_behind(climate):
    """A client's stream that leads through the weather to a server that echoes, and the proxy."""

    async def echo(stream):
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):
                async for data in stream:
                    await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        served = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
        proxy = Proxy("127.0.0.1", served[0].socket.getsockname()[1], climate)
        ports = await listen("127.0.0.1", 0)
        await nursery.start(proxy.serve, ports)
        async with await trio.open_tcp_stream(*ports[0].socket.getsockname()) as stream:
            yield stream, proxy
        nursery.cancel_scope.cancel()


async def exchange(stream, data=DATA):
    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, data)
        while len(got) < len(data) and (more := await stream.receive_some()):
            got += more
    return got


@pytest.mark.parametrize("climate", [Climate(), Climate(coalesce=0.001), Climate(crumbs=0.2)])
async def test_what_is_sent_comes_back(climate):
    async with echo_behind(climate) as (stream, proxy):
        assert await exchange(stream) == DATA
        assert proxy.to_json()["bytes"] == 2 * len(DATA)


async def test_a_half_closed_connection_still_brings_the_answer():
    async with echo_behind(Climate()) as (stream, _):
        await stream.send_all(b"last words")
        await stream.send_eof()

        assert b"".join([data async for data in stream]) == b"last words"


async def test_a_cut_is_the_end_of_the_stream():
    async with echo_behind(Climate(cut=1)) as (stream, proxy):
        await stream.send_all(DATA[:1000])

        assert len(b"".join([data async for data in stream])) < 1000
        assert proxy.timeline[0].what == "cut"


async def test_a_reset_is_an_error():
    async with echo_behind(Climate(reset=1)) as (stream, _):
        await stream.send_all(DATA[:1000])

        with pytest.raises(trio.BrokenResourceError):
            while await stream.receive_some():
                pass


async def test_after_a_hang_nothing_comes(autojump_clock):
    async with echo_behind(Climate(hang=1)) as (stream, proxy):
        await stream.send_all(b"hello")
        with trio.move_on_after(3600) as waited:
            await stream.receive_some()

        assert waited.cancelled_caught
        assert proxy.timeline[0].what == "hangs from here on"


async def test_a_target_that_is_not_there_closes_the_connection_and_is_told_of():
    async with trio.open_nursery() as nursery:
        proxy = Proxy("127.0.0.1", 1, Climate())
        ports = await listen("127.0.0.1", 0)
        await nursery.start(proxy.serve, ports)
        async with await trio.open_tcp_stream(*ports[0].socket.getsockname()) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
        assert "cannot be reached" in proxy.timeline[0].what
        nursery.cancel_scope.cancel()


async def test_a_port_that_is_taken_is_refused_in_words():
    [taken] = await listen("127.0.0.1", 0)
    async with taken:
        with pytest.raises(OperatorError, match="cannot be had"):
            await listen("127.0.0.1", taken.socket.getsockname()[1])
