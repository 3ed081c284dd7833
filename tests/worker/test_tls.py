"""scsipub/worker/tls.py"""

import contextlib
import itertools
import os
import random
import select
import socket
import ssl
import threading

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.certificates import Files, load
from scsipub.errors import FramingLost
from scsipub.worker.output import Output, PeerGone
from scsipub.worker.relay import relay
from scsipub.worker.tls import CHUNK, RECORDS, STEP, HandshakeFailed, handshake
from tests.support.certificates import Authority, now
from tests.support.key_updates import key_updates, secret_of

AUTHORITY = Authority()
RECORD = 16 * 1024


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    files = [tmp_path_factory.mktemp("pair") / name for name in ("cert.pem", "key.pem")]
    AUTHORITY.pair().write(*files)
    return load(Files(*files), (), now()).context


@contextlib.contextmanager
def connected(context, client_context=None, buffer=None):
    """(our end, the client's end) after the handshake.  Ours does not block; the client has a timeout."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    ours.setblocking(False)
    for sock in (ours, theirs) if buffer else ():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    clients = []

    def dial():
        with contextlib.suppress(OSError):
            clients.append(
                (client_context or AUTHORITY.client_context()).wrap_socket(
                    theirs, server_hostname="localhost"
                )
            )

    thread = threading.Thread(target=dial)
    thread.start()
    try:
        tls = trio.run(handshake, ours, context)
        thread.join(10)
        with clients[0] as client:
            yield tls, client
        tls.close()
    finally:
        ours.close()
        theirs.close()
        thread.join(10)


def receive(tls, size=1 << 20):
    into = memoryview(bytearray(size))
    return bytes(into[: tls.recv_into(into)])


def test_what_a_client_sends_arrives_and_what_we_answer_too(context):
    with connected(context) as (tls, client):
        client.sendall(b"question")
        assert receive(tls) == b"question"

        assert tls.send(b"answer") == 6
        assert client.recv(100) == b"answer"


def test_nothing_to_read_is_told_as_by_a_plain_socket(context):
    with connected(context) as (tls, _), pytest.raises(BlockingIOError):
        receive(tls)


def test_data_that_waits_inside_is_given_out_before_anybody_waits_for_the_socket(context):
    """After BlockingIOError the loop sleeps until the socket is readable: nothing else may be left."""
    data = os.urandom(3 * RECORD + 1)
    with connected(context) as (tls, client):
        client.sendall(data)
        got = b""
        while select.select([tls], [], [], 0)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    got += receive(tls, 1000)

        assert got == data


def test_a_record_that_is_not_whole_is_waited_for(context):
    with connected(context) as (tls, client):
        client.sendall(b"x")
        sealed = tls._socket.recv(100)
        for at in range(len(sealed) - 1):
            tls._socket, plain = Fed(sealed[at : at + 1]), tls._socket
            with pytest.raises(BlockingIOError):
                receive(tls)
            tls._socket = plain
        tls._socket, plain = Fed(sealed[-1:]), tls._socket

        assert receive(tls) == b"x"
        tls._socket = plain


class Fed:
    """A socket from which these bytes come."""

    def __init__(self, data):
        self.data = data

    def recv_into(self, into):
        into[: len(self.data)] = self.data
        return len(self.data)


@pytest.mark.parametrize("politely", [True, False])
def test_the_end_of_the_stream_is_zero_bytes(context, politely):
    with connected(context) as (tls, client):
        client.sendall(b"last")
        if politely:
            client.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError):
                client.unwrap()
        else:
            os.close(client.detach())

        assert receive(tls) == b"last"
        assert receive(tls) == b""


def test_a_damaged_record_ends_the_connection(context):
    with connected(context) as (tls, client):
        raw = socket.socket(fileno=os.dup(client.fileno()))
        raw.sendall(bytes([23, 3, 3, 0, 20]) + bytes(20))

        with raw, pytest.raises(ConnectionResetError):
            receive(tls)


def test_looking_without_taking_tells_an_end_from_silence(context):
    with connected(context) as (tls, client):
        with pytest.raises(BlockingIOError):
            receive(tls)
        with pytest.raises(BlockingIOError):
            tls.recv(1, socket.MSG_PEEK)
        client.sendall(b"data")
        assert tls.recv(1, socket.MSG_PEEK)
        assert tls.recv(100) == b"data"
        os.close(client.detach())

        assert tls.recv(1, socket.MSG_PEEK) == b""


def test_what_is_left_inside_counts_when_looking(context):
    with connected(context) as (tls, client):
        client.sendall(b"data")
        assert tls.recv(1) == b"d"

        assert tls.recv(1, socket.MSG_PEEK)


# -- sending ---------------------------------------------------------------------------------------------


class Reader(threading.Thread):
    """Reads all that comes, slowly at first."""

    def __init__(self, client, size):
        super().__init__()
        self.client, self.size, self.got = client, size, b""
        self.start()

    def run(self):
        while len(self.got) < self.size:
            piece = self.client.recv(CHUNK)
            if not piece:
                return
            self.got += piece


def send_all(sender, segments):
    """As a connection does it: once, then whenever the socket is writable."""
    sender.send(segments)
    while sender.unsent:
        sender.flush()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 3 * CHUNK), min_size=1, max_size=6))
def test_whatever_the_socket_takes_at_once_every_byte_arrives_once_and_in_order(seed, sizes):
    """A socket takes what it likes; encrypted bytes cannot be made again."""
    chooser = random.Random(seed)
    data = chooser.randbytes(sum(sizes))
    segments, at = [], 0
    for size in sizes:
        segments.append(memoryview(data)[at : at + size])
        at += size
    with connected(SHARED[0]) as (tls, client):
        tls._socket = Miser(tls._socket, chooser)
        reader = Reader(client, len(data))
        send_all(Output(tls), segments)
        reader.join(10)
        assert reader.got == data


class Miser:
    """A socket that takes less than it is given, or nothing."""

    def __init__(self, sock, chooser):
        self.sock, self.chooser = sock, chooser

    def send(self, data, flags=0):
        if self.chooser.random() < 0.4:
            raise BlockingIOError
        return self.sock.send(data[: self.chooser.choice([1, 100, 20_000, 1 << 20])])

    def __getattr__(self, name):
        return getattr(self.sock, name)


SHARED = []


@pytest.fixture(autouse=True)
def shared(context):
    SHARED[:] = [context]


def test_a_full_socket_holds_back_what_one_call_is_given_and_not_more(context):
    with connected(context, buffer=4096) as (tls, client):
        sent, data = 0, os.urandom(4 * CHUNK)
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += tls.send(memoryview(data)[sent:])
        assert len(tls._sealed) <= RECORDS * (STEP + 64)
        with pytest.raises(BlockingIOError):
            tls.send(memoryview(data)[sent:])

        reader = Reader(client, len(data))
        while sent < len(data):
            with contextlib.suppress(BlockingIOError):
                sent += tls.send(memoryview(data)[sent:])
        reader.join(10)
        assert reader.got == data


def test_a_client_that_has_gone_is_told_as_that(context):
    with connected(context) as (tls, client):
        os.close(client.detach())

        with pytest.raises(PeerGone):
            for _ in range(100):
                Output(tls).send([bytes(CHUNK)])


def test_closing_says_goodbye(context):
    """RFC 8446 §6.1: without close_notify a client cannot tell an end from a cut."""
    with connected(context) as (tls, client):
        tls.close()

        client.suppress_ragged_eofs = False
        assert client.recv(1) == b""


# -- those who mean harm ---------------------------------------------------------------------------------


def test_key_updates_without_end_are_not_followed_to_the_end(context, tmp_path):
    """RFC 8446 §4.6.3 sets no bound; each costs us two key derivations and an answer."""
    client_context = AUTHORITY.client_context()
    client_context.keylog_filename = str(tmp_path / "keys")
    with connected(context, client_context) as (tls, client):
        assert client.cipher()[0] == "TLS_AES_256_GCM_SHA384"
        updates = key_updates(secret_of((tmp_path / "keys").read_text()))
        raw = socket.socket(fileno=os.dup(client.fileno()))
        few = b"".join(itertools.islice(updates, 100))
        raw.sendall(few)
        with pytest.raises(BlockingIOError):
            receive(tls)  # a few are fine

        with raw, pytest.raises(ConnectionResetError, match="without data"):
            for _ in range(30):
                raw.sendall(b"".join(itertools.islice(updates, 100)))
                with contextlib.suppress(BlockingIOError):
                    receive(tls)
                _throw_away(raw)


def _throw_away(raw):
    raw.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while raw.recv(1 << 16):
            pass
    raw.setblocking(True)


# -- the handshake ---------------------------------------------------------------------------------------


def shake(context, *pieces, close=True):
    """What the handshake raises for a peer that sends this, and what the peer got."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        for piece in pieces:
            theirs.sendall(piece)
        if close:
            theirs.shutdown(socket.SHUT_WR)
        try:
            trio.run(handshake, ours, context)
        except Exception as error:
            ours.close()
            return error, theirs.recv(1000)
        raise AssertionError("it succeeded")


LOGIN_REQUEST = bytes([0x43, 0x87]) + bytes(46)


@pytest.mark.parametrize(
    "first", [LOGIN_REQUEST, b"GET / HTTP/1.1\r\n\r\n", b"\0", b"SSH-2.0-x\r\n"], ids=lambda b: repr(b[:4])
)
def test_what_is_not_tls_is_dropped_without_a_word(context, first):
    error, answer = shake(context, first)

    assert isinstance(error, FramingLost)
    assert answer == b""


def test_a_hello_that_is_none_gets_at_most_an_alert(context):
    error, answer = shake(context, b"\x16\x03\x01\x00\x05hello")

    assert isinstance(error, HandshakeFailed)
    assert answer == b"" or answer[0] == 21


def test_a_peer_that_leaves_in_the_middle_has_left(context):
    error, _ = shake(context, b"\x16\x03")

    assert isinstance(error, PeerGone)


def test_a_hello_without_end_is_not_kept(context):
    """A ClientHello in pieces that never complete it."""
    record = b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff".ljust(RECORD, b"\0")
    more = b"\x16\x03\x01\x40\x00" + bytes(RECORD)
    error, _ = shake(context, record, *[more] * 4)

    assert isinstance(error, FramingLost | HandshakeFailed)


def old_version(client):
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")


def no_forward_secrecy(client):
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("AES128-GCM-SHA256")


def no_aead(client):
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-AES128-SHA256")


@pytest.mark.parametrize("weaken", [old_version, no_forward_secrecy, no_aead])
def test_a_client_that_offers_only_what_is_weak_is_refused(context, weaken):
    client = AUTHORITY.client_context()
    weaken(client)

    with pytest.raises(HandshakeFailed), connected(context, client):
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_good_versions_are_spoken(context, version):
    client = AUTHORITY.client_context()
    client.minimum_version = client.maximum_version = version

    with connected(context, client) as (tls, sock):
        sock.sendall(b"x")
        assert receive(tls) == b"x"
        assert sock.compression() is None


def test_a_client_that_does_not_believe_us_may_leave(context):
    with pytest.raises((HandshakeFailed, PeerGone)), connected(context, ssl.create_default_context()):
        pass


# -- the relay -------------------------------------------------------------------------------------------


async def test_a_relay_carries_both_ways_and_ends_with_either_side(context):
    with connected_in_thread(context) as dial:
        tls, client = await dial()
        ours, owner = socket.socketpair()
        ours.setblocking(False)
        data = os.urandom(CHUNK * 5)
        with ours, owner:
            owner.settimeout(10)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay, tls, ours)

                def question():
                    threading.Thread(target=client.sendall, args=(data,)).start()
                    got = b""
                    while len(got) < len(data):
                        got += owner.recv(1 << 20)
                    return got

                assert await trio.to_thread.run_sync(question) == data

                def answer():
                    threading.Thread(target=lambda: (owner.sendall(data), owner.close())).start()
                    got = b""
                    while len(got) < len(data):
                        got += client.recv(1 << 20)
                    return got

                assert await trio.to_thread.run_sync(answer) == data
        tls.close()


@contextlib.contextmanager
def connected_in_thread(context):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)

    async def dial():
        clients = []
        async with trio.open_nursery() as nursery:

            async def client():
                clients.append(
                    await trio.to_thread.run_sync(
                        lambda: AUTHORITY.client_context().wrap_socket(theirs, server_hostname="localhost")
                    )
                )

            nursery.start_soon(client)
            tls = await handshake(ours, context)
        return tls, clients[0]

    with ours, theirs:
        yield dial
