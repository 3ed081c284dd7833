"""What has come and is not whole yet."""

import socket
from collections.abc import Iterator

import pytest

from scsipub.worker.input import CRUMB, LARGE, Input

BUFFER = 64 * 1024


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def buffer() -> memoryview:
    return memoryview(bytearray(BUFFER))


def test_what_comes_lies_behind_the_tail(pair, buffer):
    ours, theirs = pair
    it = Input(b"the beginning, ")
    theirs.send(b"and the end")

    got = it.receive(ours, buffer, BUFFER)
    view, end = it.whole(buffer, got)

    assert bytes(view[:end]) == b"the beginning, and the end"


def test_a_tail_may_be_gone_over_again_without_anything_new(buffer):
    """Others have used the buffer since."""
    it = Input(b"whole PDUs")
    buffer[:10] = bytes(10)

    view, end = it.whole(buffer, 0)

    assert bytes(view[:end]) == b"whole PDUs"


def test_a_turn_takes_so_much_and_no_more(pair, buffer):
    ours, theirs = pair
    it = Input(b"12345")
    theirs.send(bytes(1000))

    assert it.receive(ours, buffer, 100) == 100


def test_a_buffer_that_is_full_of_tail_takes_nothing(pair, buffer):
    """A read of no bytes would look like the end of the stream."""
    ours, theirs = pair
    theirs.send(b"more")

    with pytest.raises(BlockingIOError):
        Input(bytes(BUFFER)).receive(ours, buffer, BUFFER)
    assert Input(bytes(BUFFER - 1)).receive(ours, buffer, BUFFER) == 1


@pytest.mark.parametrize(("need", "apart"), [(LARGE, False), (LARGE + 1, True)])
def test_a_large_pdu_gets_a_buffer_of_its_own(buffer, need, apart):
    it = Input(b"")
    buffer[10:20] = b"0123456789"

    it.keep(buffer, 10, 20, need)

    assert (it.large is not None) == apart
    assert it.tail == (b"" if apart else b"0123456789")


def test_of_a_large_pdu_only_the_rest_is_taken(pair, buffer):
    """What follows it stays in the socket; until it is whole there is nothing to handle."""
    ours, theirs = pair
    it = Input(b"")
    pdu = bytes(range(256)) * 80
    it.keep(memoryview(pdu), 0, 100, len(pdu))
    theirs.send(pdu[100:20_000])

    assert it.whole(buffer, it.receive(ours, buffer, 1))[1] == 0
    theirs.send(pdu[20_000:] + b"the next one")
    view, end = it.whole(buffer, it.receive(ours, buffer, 1))

    assert bytes(view[:end]) == pdu
    assert it.large is None


def test_a_pdu_that_is_whole_is_no_large_one(buffer):
    """Our slice ended before it: it waits in the tail."""
    it = Input(b"")

    it.keep(buffer, 0, LARGE + 1, LARGE + 1)

    assert it.large is None
    assert len(it.tail) == LARGE + 1


def test_crumbs_are_counted_until_something_better_comes():
    it = Input(b"")
    counts = []
    for got in (1, CRUMB - 1, 1, CRUMB, 1):
        it.count_crumb(got)
        counts.append(it.crumbs)

    assert counts == [1, 2, 3, 0, 1]


def test_the_crumbs_of_a_large_pdu_count(buffer):
    it = Input(b"")
    it.keep(buffer, 0, 10, LARGE + 1)

    for _ in range(3):
        it.whole(buffer, 1)

    assert it.crumbs == 3
