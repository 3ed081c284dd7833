"""scsipub/connect/dial.py"""

import contextlib
import socket
import ssl

import pytest
import trio

from scsipub.connect.dial import Place, Unreachable, client_context, dial_tls
from scsipub.errors import OperatorError
from tests.support.certificates import DAY, Authority, now


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("disks.example.org", "disks.example.org", 3261),
        ("disks.example.org:1", "disks.example.org", 1),
        ("disks.example.org:65535", "disks.example.org", 65535),
        ("192.0.2.1:443", "192.0.2.1", 443),
        ("2001:db8::1", "2001:db8::1", 3261),
        ("[2001:db8::1]", "2001:db8::1", 3261),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
    ],
)
def test_a_place_is_a_host_and_perhaps_a_port(text, host, port):
    place = Place.parse(text)

    assert (place.host, place.port, place.name) == (host, port, host)


@pytest.mark.parametrize("text", ["", ":3261", "a:", "a:0", "a:65536", "a:x", "[::1]x", "[::1]:", "a:²"])
def test_what_is_no_place_is_refused_in_plain_words(text):
    with pytest.raises(OperatorError):
        Place.parse(text)


def test_a_file_without_certificates_is_no_authority(tmp_path):
    with pytest.raises(OperatorError):
        client_context(tmp_path / "absent.pem")
    (tmp_path / "empty.pem").touch()
    with pytest.raises(OperatorError):
        client_context(tmp_path / "empty.pem")


AUTHORITY = Authority()


def test_a_pair_of_one_s_own_that_does_not_fit_is_said(tmp_path):
    mine, other = AUTHORITY.pair(), AUTHORITY.pair()
    mine.write(tmp_path / "c", tmp_path / "k")
    client_context(None, (tmp_path / "c", tmp_path / "k"))
    (tmp_path / "k").write_bytes(other.key)

    for key in (tmp_path / "k", tmp_path / "absent"):
        with pytest.raises(OperatorError, match="c and"):
            client_context(None, (tmp_path / "c", key))


@pytest.fixture
def believing(tmp_path):
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    return client_context(tmp_path / "ca.pem")


async def served(pair, tmp_path, nursery):
    """A TLS port that says hello."""
    pair.write(tmp_path / "c", tmp_path / "k")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")

    async def hello(stream):
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(b"hello")

    listeners = await nursery.start(
        lambda task_status: trio.serve_ssl_over_tcp(
            hello, 0, context, host="127.0.0.1", https_compatible=True, task_status=task_status
        )
    )
    return listeners[0].transport_listener.socket.getsockname()[1]


async def test_a_daemon_that_proves_its_name_is_spoken_to(tmp_path, believing):
    async with trio.open_nursery() as nursery:
        port = await served(AUTHORITY.pair("disks.example.org"), tmp_path, nursery)

        stream = await dial_tls(Place("127.0.0.1", port, "disks.example.org"), believing)

        assert await stream.receive_some() == b"hello"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "pair",
    [
        AUTHORITY.pair("other.example.org"),
        AUTHORITY.pair("disks.example.org", ends=now() - DAY / 2),
        Authority().pair("disks.example.org"),
    ],
    ids=["another name", "expired", "another authority"],
)
async def test_a_daemon_that_does_not_is_refused_in_plain_words(tmp_path, believing, pair):
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            port = await served(pair, tmp_path, nursery)
            await dial_tls(Place("127.0.0.1", port, "disks.example.org"), believing)

    assert caught.group_contains(OperatorError, match="is not believed")


async def test_a_port_that_speaks_something_else_is_told_so(believing):
    async with trio.open_nursery() as nursery:

        async def greet(stream):
            await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")
            await trio.sleep_forever()

        listeners = await nursery.start(
            lambda task_status: trio.serve_tcp(greet, 0, host="127.0.0.1", task_status=task_status)
        )
        port = listeners[0].socket.getsockname()[1]

        with pytest.raises(OperatorError, match="does not speak TLS"):
            await dial_tls(Place("127.0.0.1", port, "localhost"), believing)
        nursery.cancel_scope.cancel()


async def test_a_closed_port_may_open_again(believing):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = Place("127.0.0.1", probe.getsockname()[1], "localhost")

        with pytest.raises(Unreachable, match="Connection refused"):
            await dial_tls(place, believing)
