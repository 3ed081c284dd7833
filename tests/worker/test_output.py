"""Sending: at once what the socket takes, the rest later and in order."""

import errno
import socket

import attrs
import pytest

from scsipub.worker.output import Output, PeerGone


@attrs.define(eq=False)
class Narrow:
    """A socket that takes so many bytes at a time."""

    room: list[int]
    taken: bytearray = attrs.field(factory=bytearray)
    flags: list[int] = attrs.field(factory=list)
    calls: int = 0

    def send(self, data, flags=0):
        self.calls += 1
        size = min(len(data), self.room.pop(0)) if self.room else 0
        if size == 0:
            raise BlockingIOError
        self.taken += data[:size]
        self.flags.append(flags)
        return size


def test_what_the_socket_takes_leaves_at_once_and_nothing_is_kept():
    sock = Narrow([100, 100])
    output = Output(sock)

    output.send([b"one", memoryview(b"two")])

    assert sock.taken == b"onetwo"
    assert (output.unsent, output.backlog) == (0, [])


def test_only_the_last_piece_says_that_nothing_follows():
    sock = Narrow([100] * 3)

    Output(sock).send([b"a", b"b", b"c"])

    assert sock.flags == [socket.MSG_MORE, socket.MSG_MORE, 0]


@pytest.mark.parametrize("taken", range(7))
def test_wherever_the_socket_stops_the_rest_follows_in_order(taken):
    sock = Narrow([taken])
    output = Output(sock)
    output.send([b"one", b"two"])
    sent = min(taken, 3)
    assert output.unsent == 6 - sent

    sock.room = [1] * 10
    output.flush()

    while output.unsent:
        output.flush()
    assert sock.taken == b"onetwo"


def test_what_comes_while_something_waits_waits_behind_it():
    sock = Narrow([1])
    output = Output(sock)
    output.send([b"first"])
    output.send([b"second"])
    assert sock.taken == b"f"
    assert output.unsent == 10

    sock.room = [100, 100]
    output.flush()

    assert sock.taken == b"firstsecond"
    assert output.unsent == 0


def test_what_waits_is_a_copy_because_the_memory_is_used_again():
    memory = bytearray(b"answer")
    sock = Narrow([])
    output = Output(sock)
    output.send([memoryview(memory)])
    memory[:] = b"xxxxxx"

    sock.room = [100]
    output.flush()

    assert sock.taken == b"answer"


def test_a_full_socket_is_not_asked_twice():
    sock = Narrow([])
    output = Output(sock)
    output.send([b"a", b"b"])
    assert sock.calls == 1

    output.flush()

    assert sock.calls == 2


def test_empty_pieces_are_not_kept():
    output = Output(Narrow([]))

    output.send([b"a", b"", b"b"])

    assert output.backlog == [b"a", b"b"]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENOBUFS])
def test_whatever_is_wrong_with_the_socket_its_peer_is_gone(number):
    class Broken:
        def send(self, data, flags=0):
            raise OSError(number, "gone")

    with pytest.raises(PeerGone):
        Output(Broken()).send([b"a"])
