"""Listening, bounding, handing over: real sockets on loopback, workers that only take."""

import contextlib
import errno
import socket

import attrs
import pytest
import trio

from scsipub.config import Portal
from scsipub.control import accept as accepting
from scsipub.control.accept import accept, admit, listen
from scsipub.errors import OperatorError
from scsipub.limits import DEFAULT
from supervisor.process import State
from tests.support.control_parts import keep

STRANGER = "127.0.0.2"


@contextlib.contextmanager
def connection(source="127.0.0.1", host="127.0.0.1"):
    """(the client's socket, the accepted one, the client's address)"""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname()[:2], 5, (source, 0))
        sock, address = listener.accept()
        with client, sock:
            yield client, sock, address


def arrives(house, source="127.0.0.1", host="127.0.0.1"):
    with connection(source, host) as (_, sock, address):
        admit(house.control, sock, address, 0)


async def taken(house):
    """What each worker has been given."""
    for worker in house.workers:
        await worker.channel.call("still_there", {"id": "flush"})
    return [len(worker.taken) for worker in house.workers]


# -- listening -----------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_refused_in_plain_words():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OperatorError, match="somebody listens there already"):
            listen(Portal(host="127.0.0.1", port=other.getsockname()[1]), 5)


def test_a_host_that_is_none_is_refused_in_plain_words():
    with pytest.raises(OperatorError, match="no address to listen on"):
        listen(Portal(host="not a host", port=0), 5)


def test_ipv6_listens_beside_ipv4_on_one_port():
    """Both wildcards on one port: the IPv6 one must keep to IPv6."""
    (four,) = listen(Portal(host="0.0.0.0", port=0), 5)
    with four:
        (six,) = listen(Portal(host="::", port=four.getsockname()[1]), 5)
        with six, socket.create_connection(("::1", six.getsockname()[1]), 5):
            sock, address = six.accept()
            sock.close()
    assert address[0] == "::1"


def test_listeners_of_a_portal_that_cannot_all_be_had_are_all_closed(monkeypatch):
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        other.listen()
        port = other.getsockname()[1]
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", port, 0, 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **how: both)
        with pytest.raises(OperatorError):
            listen(Portal(host="both", port=port), 5)
        with socket.socket() as again:
            again.bind(("127.0.0.1", port))


# -- one connection ------------------------------------------------------------------------------------------


async def test_a_worker_gets_the_socket_and_everything_known_of_it(house):
    with connection() as (client, sock, address):
        admit(house.control, sock, address, 0)
        sock.close()
        await taken(house)
        ((arrival, given),) = house.workers[0].taken
        with given:
            given.send(b"hello")
            assert client.recv(10) == b"hello"
            assert given.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert given.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000
            assert given.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            local = given.getsockname()

    assert arrival["source"] == "127.0.0.1"
    assert arrival["source_port"] == address[1]
    assert (arrival["local"], arrival["local_port"]) == local
    assert (arrival["head"], arrival["answered"], arrival["tls"]) == ("", 0, False)


async def test_the_worker_with_the_fewest_connections_gets_the_next(house):
    house.control.load[0, 1] = 2

    for _ in range(4):
        arrives(house)

    assert await taken(house) == [1, 3]
    assert house.control.load == {(0, 1): 3, (1, 1): 3}


async def test_a_worker_that_is_draining_gets_nothing(house):
    house.workers[0].state = State.DRAINING

    for _ in range(3):
        arrives(house)

    assert await taken(house) == [0, 3]


async def test_without_a_worker_the_connection_is_closed_and_counted(house):
    for worker in house.workers:
        worker.state = State.DRAINING

    arrives(house)

    assert (house.control.connections, house.control.refused) == (1, 1)
    assert not house.control.guests


async def test_a_worker_that_just_died_loses_the_connection_and_nothing_else(house):
    house.workers[0].channel.close()

    arrives(house)

    assert house.control.refused == 1
    assert not house.control.guests
    assert house.control.sources.unauthenticated == 0


async def test_descriptors_that_cannot_travel_cost_that_connection_only(house, monkeypatch):
    """The kernel bounds descriptors in flight: sendmsg says ETOOMANYREFS."""

    def full(*args, **how):
        raise OSError(errno.ETOOMANYREFS, "too many references")

    monkeypatch.setattr(house.workers[0].channel, "try_cast", full)

    arrives(house)

    assert house.control.refused == 1
    assert house.control.sources.unauthenticated == 0


async def test_a_stranger_beyond_its_bound_is_closed_and_the_machine_itself_is_not(nursery, tmp_path):
    limits = attrs.evolve(DEFAULT, unauthenticated_per_source=2)
    house = await keep(nursery, tmp_path, limits=limits)

    for _ in range(3):
        arrives(house, STRANGER)
        arrives(house)

    assert sum(await taken(house)) == 5
    assert house.control.refused == 1


async def test_ipv6_connections_carry_their_address(house):
    arrives(house, "::1", "::1")

    await taken(house)
    assert house.workers[0].taken[0][0]["source"] == "::1"


async def test_a_peer_that_is_gone_already_costs_nothing(house):
    with connection() as (client, sock, address):
        sock.close()
        admit(house.control, sock, address, 0)
        client.close()

    assert await taken(house) == [0, 0]
    assert house.control.sources.unauthenticated == 0


# -- the loop ------------------------------------------------------------------------------------------------


async def test_whoever_connects_is_accepted(house, nursery):
    (listener,) = listen(Portal(host="127.0.0.1", port=0), 50)
    with listener:
        nursery.start_soon(accept, house.control, listener, 0)
        clients = [await trio.open_tcp_stream(*listener.getsockname()) for _ in range(40)]
        with trio.fail_after(5):
            while sum(await taken(house)) < 40:
                await trio.sleep(0.01)
        for client in clients:
            await client.aclose()
        nursery.cancel_scope.cancel()


async def test_without_descriptors_it_waits_and_goes_on(house, nursery, monkeypatch):
    monkeypatch.setattr(accepting, "OUT_OF_DESCRIPTORS_PAUSE", 0.001)
    (listener,) = listen(Portal(host="127.0.0.1", port=0), 50)
    failures = iter([OSError(errno.EMFILE, "too many open files"), ConnectionAbortedError()])

    class Flaky:
        def fileno(self):
            return listener.fileno()

        def accept(self):
            for failure in failures:
                raise failure
            return listener.accept()

    with listener:
        nursery.start_soon(accept, house.control, Flaky(), 0)
        client = await trio.open_tcp_stream(*listener.getsockname())
        with trio.fail_after(5):
            while not sum(await taken(house)):
                await trio.sleep(0.01)
        await client.aclose()
        nursery.cancel_scope.cancel()

    assert house.control.complaints.counts == {"out of descriptors": 1}


async def test_without_a_worker_connections_wait_for_one(house, nursery, monkeypatch):
    """Workers that die are back within a second or two; an initiator that is closed meanwhile notices."""
    monkeypatch.setattr(accepting, "NO_WORKER_PAUSE", 0.001)
    (listener,) = listen(Portal(host="127.0.0.1", port=0), 50)
    away = [house.control.pool.workers.pop() for _ in house.workers]
    with listener:
        nursery.start_soon(accept, house.control, listener, 0)
        client = await trio.open_tcp_stream(*listener.getsockname())
        await trio.sleep(0.01)
        assert house.control.connections == 0

        house.control.pool.workers.append(away[0])
        with trio.fail_after(5):
            while not sum(await taken(house)):
                await trio.sleep(0.001)
        await client.aclose()
        nursery.cancel_scope.cancel()

    assert house.control.refused == 0
