"""scsipub/web/tunnel.py: the door of tunnels, as plain ASGI, asking the real control."""

import contextlib
import socket

import pytest
import trio
import trio.testing

from scsipub.web.tunnel import CHUNK, carry


class Client:
    """The far end of a WebSocket, as the application sees it: a queue in and a list out."""

    def __init__(self, client=("127.0.0.1", 40000), **headers):
        self.put, self.receive = trio.open_memory_channel(4)
        self.sent = []
        self.room = trio.Event()
        self.room.set()
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope = {
            "type": "websocket", "path": "/tunnel", "raw_path": b"/tunnel", "root_path": "", "headers": raw,
            "client": client, "subprotocols": ["iscsi"], "query_string": b"", "scheme": "ws",
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip

    async def send(self, message):
        await self.room.wait()
        self.sent.append(message)

    async def says(self, **message):
        await self.put.send({"type": "websocket.receive", **message})

    @property
    def status(self):
        return self.sent[0].get("status")


@contextlib.asynccontextmanager
async def opened(site, **how):
    """A client for whom the application runs."""
    client = Client(**how)
    await client.put.send({"type": "websocket.connect"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.app, client.scope, client.receive.receive, client.send)
        with trio.fail_after(5):
            while not client.sent:
                await trio.sleep(0.01)
        yield client
        nursery.cancel_scope.cancel()


async def taken(site):
    """What the workers were given: (arrival, socket)."""
    with trio.fail_after(5):
        while not any(worker.taken for worker in site.house.workers):
            await trio.sleep(0.01)
    return next(worker.taken.pop() for worker in site.house.workers if worker.taken)


async def test_a_worker_gets_a_socket_and_the_client_s_address(site):
    async with opened(site, x_forwarded_for="198.51.100.7", x_forwarded_proto="https") as client:
        arrival, sock = await taken(site)
        with sock:
            assert (client.sent[0]["type"], client.sent[0]["subprotocol"]) == ("websocket.accept", "iscsi")
            assert (arrival["source"], arrival["source_port"]) == ("198.51.100.7", 40000)
            assert (arrival["tunnel"], arrival["tls"], arrival["relayed"]) == (True, True, True)
            await client.says(bytes=b"to the worker")
            ours = trio.socket.from_stdlib_socket(sock)
            assert await ours.recv(100) == b"to the worker"
            await ours.send(b"to the client")
            with trio.fail_after(5):
                while len(client.sent) < 2:
                    await trio.sleep(0.01)
            assert client.sent[1] == {"type": "websocket.send", "bytes": b"to the client"}


async def test_who_has_no_credit_is_told_to_come_later(site):
    control = site.house.control
    for _ in range(control.config.limits.unauthenticated_per_source):
        control.sources.arrives("198.51.100.7", trio.current_time())
    refused = control.refused

    async with opened(site, x_forwarded_for="198.51.100.7") as client:
        assert client.status == 429
    assert control.refused == refused + 1
    assert not any(worker.taken for worker in site.house.workers)


async def test_one_tunnel_more_than_there_may_be_is_told_to_come_later(site):
    async with opened(site), opened(site), opened(site) as third:
        assert third.status == 429


async def test_without_control_it_is_told_so(site):
    site.hang_up()

    async with opened(site) as client:
        assert client.status == 503


# -- carrying ------------------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield trio.SocketStream(trio.socket.from_stdlib_socket(ours)), theirs


async def test_a_client_that_does_not_read_keeps_the_worker_from_sending(pair, nursery):
    stream, worker = pair
    client = Client()
    client.room = trio.Event()
    nursery.start_soon(carry, stream, client.receive.receive, client.send)
    sent = 0
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += worker.send(bytes(CHUNK))

    assert sent < 1 << 20


async def test_a_worker_that_does_not_read_keeps_the_client_from_sending(pair, nursery):
    stream, _ = pair
    client = Client()
    nursery.start_soon(carry, stream, client.receive.receive, client.send)
    sent = 0
    with trio.move_on_after(0.5):
        while True:
            await client.says(bytes=bytes(CHUNK))
            sent += CHUNK

    assert sent < 1 << 20


async def test_what_is_on_its_way_to_the_client_arrives_before_the_end(pair):
    stream, worker = pair
    worker.send(b"last words")
    worker.close()
    client = Client()

    assert await carry(stream, client.receive.receive, client.send) == 1000
    assert [message["bytes"] for message in client.sent] == [b"last words"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "websocket.receive", "text": "hello", "bytes": None}, 1003),
        ({"type": "websocket.disconnect", "code": 1006}, 0),
    ],
)
async def test_text_and_goodbye_end_it(pair, message, code):
    stream, _ = pair
    client = Client()
    await client.put.send(message)

    assert await carry(stream, client.receive.receive, client.send) == code
