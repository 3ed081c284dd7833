"""supervisor/outbox.py: at once, or bounded, in order, later.

What a channel does with it is in test_channel.py; here is what only the outbox sees."""

import errno
import os
import socket

import pytest
import trio
import trio.testing

from supervisor.outbox import ChannelClosed, Outbox


class Line:
    """A socket with a dial: how many bytes it takes, or which error it raises."""

    def __init__(self, line):
        self._line = line
        self.takes = None
        self.error = None

    def fileno(self):
        return self._line.fileno()

    def _dial(self, data):
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return data if self.takes is None else data[: self.takes]

    def send(self, data):
        return self._line.send(self._dial(data)) if self.takes != 0 else self._refuse()

    def sendmsg(self, buffers, ancillary):
        return self._line.sendmsg([self._dial(buffers[0])], ancillary) if self.takes != 0 else self._refuse()

    def _refuse(self):
        raise BlockingIOError


@pytest.fixture
def ends():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield Line(left), right


async def test_what_the_socket_takes_in_pieces_arrives_in_order(ends, nursery, autojump_clock):
    line, other = ends
    outbox = Outbox(line, 100, print)
    line.takes = 3
    outbox.send(b"first frame", ())
    outbox.send(b" second", ())
    assert outbox.bytes == len(b"first frame second") - 3

    nursery.start_soon(outbox.run)
    await trio.testing.wait_all_tasks_blocked()

    assert other.recv(100) == b"first frame second"
    assert outbox.bytes == 0
    nursery.cancel_scope.cancel()


async def test_descriptors_travel_once_though_their_frame_goes_in_pieces(ends, nursery, autojump_clock):
    line, other = ends
    outbox = Outbox(line, 100, print)
    line.takes = 0
    outbox.send(b"with one", [0])
    line.takes = 2
    nursery.start_soon(outbox.run)
    await trio.testing.wait_all_tasks_blocked()

    came = []
    data = b""
    while len(data) < len(b"with one"):
        part, fds, _, _ = socket.recv_fds(other, 100, 10)
        data += part
        came += fds
    assert len(came) == 1
    os.close(came[0])
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("size", "fits"), [(60, True), (61, False)])
async def test_the_last_byte_that_fits_and_the_first_that_does_not(ends, size, fits):
    line, _ = ends
    outbox = Outbox(line, 100, print)
    assert outbox.fits(10**9)  # an empty outbox takes anything
    line.takes = 0
    outbox.send(b"x" * 40, ())
    assert outbox.fits(size) is fits


async def test_descriptors_that_cannot_travel_are_the_senders_error_while_the_sender_is_there(ends):
    line, other = ends
    outbox = Outbox(line, 100, print)
    line.error = errno.ETOOMANYREFS
    with pytest.raises(OSError, match="references"):
        outbox.send(b"frame", [0])
    line.error = None
    outbox.send(b"next", ())
    assert other.recv(10) == b"next"


async def test_and_the_end_of_the_channel_when_the_sender_has_gone_on(ends, autojump_clock):
    line, _ = ends
    said = []
    outbox = Outbox(line, 100, said.append)
    line.takes = 0
    outbox.send(b"frame", [0])
    line.takes, line.error = None, errno.ETOOMANYREFS
    await outbox.run()
    assert "could not be sent" in said[0]


async def test_nobody_at_the_other_end(ends):
    line, other = ends
    outbox = Outbox(line, 100, lambda why: outbox.close(why))
    other.close()
    for _ in range(2):
        with pytest.raises(ChannelClosed, match="gone"):
            outbox.send(b"frame", ())
