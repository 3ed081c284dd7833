"""scsipub/connect/websocket.py"""

import functools
import ssl

import pytest
import trio
import trio_websocket
from wsproto.utilities import generate_accept_token

from scsipub.connect import websocket as module
from scsipub.connect.dial import Unreachable
from scsipub.connect.websocket import MESSAGE_BYTES, Url, dial_websocket
from scsipub.errors import OperatorError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wss://disks.example.org", "wss://disks.example.org:443/tunnel"),
        ("wss://disks.example.org/", "wss://disks.example.org:443/tunnel"),
        ("wss://disks.example.org:8443/way/in", "wss://disks.example.org:8443/way/in"),
        ("wss://[2001:db8::1]/", "wss://[2001:db8::1]:443/tunnel"),
        ("ws://127.0.0.1:4000/", "ws://127.0.0.1:4000/tunnel"),
        ("ws://localhost/", "ws://localhost:80/tunnel"),
    ],
)
def test_an_address_says_where_and_how(text, shown):
    assert str(Url.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://a/",
        "wss://",
        "wss://a:b/",
        "wss://a:0x1/",
        "wss://a/?q",
        "wss://[::1",
        "ws://192.0.2.1/",
        "://",
    ],
)
def test_what_is_none_is_refused_in_plain_words(text):
    with pytest.raises(OperatorError):
        Url.parse(text)


async def serve(nursery, handle):
    """A WebSocket server; its URL."""
    server = await nursery.start(
        functools.partial(trio_websocket.serve_websocket, handle, "127.0.0.1", 0, None)
    )
    return Url.parse(f"ws://127.0.0.1:{server.port}/")


CONTEXT = ssl.create_default_context()


async def test_bytes_go_both_ways_whatever_the_messages_are(nursery):
    heard = []

    async def echo(request):
        connection = await request.accept()
        while True:
            message = await connection.get_message()
            heard.append(len(message))
            await connection.send_message(message)

    stream = await dial_websocket(await serve(nursery, echo), CONTEXT, nursery)
    data = bytes(range(256)) * 1024
    await stream.send_all(data)
    got = b""
    while len(got) < len(data):
        got += await stream.receive_some(1000)

    assert got == data
    assert max(heard) <= MESSAGE_BYTES
    await stream.aclose()
    nursery.cancel_scope.cancel()


async def test_the_end_of_the_other_side_is_the_end_of_the_stream(nursery):
    async def leave(request):
        connection = await request.accept()
        await connection.send_message(b"last words")
        await connection.aclose(1000)

    stream = await dial_websocket(await serve(nursery, leave), CONTEXT, nursery)

    assert await stream.receive_some() == b"last words"
    assert await stream.receive_some() == b""
    await stream.aclose()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("status", "kind"), [(429, Unreachable), (503, Unreachable), (404, OperatorError)])
async def test_a_refusal_is_final_or_it_is_not(nursery, status, kind):
    async def refuse(request):
        await request.reject(status)

    with pytest.raises(kind, match=str(status)):
        await dial_websocket(await serve(nursery, refuse), CONTEXT, nursery)
    nursery.cancel_scope.cancel()


async def test_text_is_no_iscsi(nursery):
    async def talk(request):
        connection = await request.accept()
        await connection.send_message("hello")
        await trio.sleep_forever()

    stream = await dial_websocket(await serve(nursery, talk), CONTEXT, nursery)

    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    nursery.cancel_scope.cancel()


async def test_a_server_that_is_silent_in_the_handshake_is_given_up(nursery, monkeypatch):
    monkeypatch.setattr(module, "HANDSHAKE_SECONDS", 0.2)
    listeners = await nursery.start(
        functools.partial(trio.serve_tcp, lambda _: trio.sleep_forever(), 0, host="127.0.0.1")
    )
    url = Url.parse(f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/")

    with pytest.raises(Unreachable, match="does not finish"):
        await dial_websocket(url, CONTEXT, nursery)
    nursery.cancel_scope.cancel()


async def test_a_way_that_has_gone_silent_is_noticed(nursery, monkeypatch):
    """Pings are what notices it: nobody has anything to say."""
    monkeypatch.setattr(module, "PING_SECONDS", 0.1)
    monkeypatch.setattr(module, "PONG_SECONDS", 0.1)

    async def sleep(stream):
        data = await stream.receive_some()
        key = data.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        token = generate_accept_token(key)
        head = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        await stream.send_all(head + token + b"\r\n\r\n")
        await trio.sleep_forever()

    listeners = await nursery.start(functools.partial(trio.serve_tcp, sleep, 0, host="127.0.0.1"))
    url = Url.parse(f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/")
    stream = await dial_websocket(url, CONTEXT, nursery)

    with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    nursery.cancel_scope.cancel()
