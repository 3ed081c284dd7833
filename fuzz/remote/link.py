"""One TCP connection to a target: bytes out, PDUs in, and a trace of both.

Knows sockets and the clock.  Never waits longer than told, and sends while it receives, so that a target
which stops reading cannot stop us."""

import ipaddress
import itertools
import random
import select
import socket
import time

import attrs

from fuzz.find import Find
from fuzz.hearing import crc

MAX_DATA = 1 << 24
RECEIVE = 1 << 18
_NUMBERS = itertools.count(random.randrange(1 << 20))  # other runs of the last seconds used others
ORIGINS = 2048  # more connections than are made in the ten seconds for which our target shuns a liar
TRACE = 64 << 20  # bytes of one connection that are kept for the pcap


@attrs.frozen
class Answer:
    """One PDU of the target, digests taken off."""

    header: bytes
    data: bytes
    ahs: bytes = b""

    @property
    def opcode(self) -> int:
        return self.header[0] & 0x3F

    @property
    def tag(self) -> int:
        return int.from_bytes(self.header[16:20])

    def word(self, at: int) -> int:
        return int.from_bytes(self.header[at : at + 4])


@attrs.frozen
class Segment:
    """What went over the wire at one moment."""

    when: float
    ours: bool
    data: bytes


class Link:
    """Raises ``OSError`` when the connection cannot be made; afterwards ``closed`` says why it is over."""

    def __init__(self, host: str, port: int, *, seconds: float = 5.0) -> None:
        self.socket = socket.create_connection((host, port), seconds, origin(host))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.here = self.socket.getsockname()[:2]
        self.there = self.socket.getpeername()[:2]
        self.closed = ""
        self.header_digest = self.data_digest = False
        self.trace: list[Segment] = []
        self.traced = 0
        self.began = time.time()
        self._out = bytearray()
        self._in = bytearray()
        self._poll = select.poll()

    def send(self, data: bytes) -> None:
        """Queue, and send what goes at once."""
        self._out += data
        self._write()

    def pump(self, seconds: float) -> bool:
        """Wait at most so long for something to come; send what is queued meanwhile."""
        until = time.monotonic() + seconds
        while not self.closed:
            events = select.POLLIN | (select.POLLOUT if self._out else 0)
            self._poll.register(self.socket, events)
            left = until - time.monotonic()
            ready = self._poll.poll(max(0.0, left * 1000))
            if not ready:
                return False
            happened = ready[0][1]
            if happened & select.POLLOUT:
                self._write()
            if happened & ~select.POLLOUT:
                self._read()
                return True
            if left <= 0:
                return False
        return False

    def answers(self) -> list[Answer]:
        """The whole PDUs that have come.  Raises ``Find`` for one that cannot be read."""
        found, at, inbox = [], 0, self._in
        while (answer := self._cut(inbox, at)) is not None:
            found.append(answer[0])
            at += answer[1]
        del inbox[:at]
        return found

    @property
    def rest(self) -> int:
        """Bytes of a PDU that has not come to its end."""
        return len(self._in)

    def close(self) -> None:
        self.closed = self.closed or "by us"
        self.socket.close()

    def _cut(self, inbox: bytearray, at: int) -> tuple[Answer, int] | None:
        if len(inbox) - at < 48:
            return None
        ahs, length = inbox[at + 4] * 4, int.from_bytes(inbox[at + 5 : at + 8])
        start = at + 48 + ahs + (4 if self.header_digest else 0)
        end = start + length + -length % 4
        stop = end + (4 if length and self.data_digest else 0)
        if len(inbox) < stop:
            return None
        header = bytes(inbox[at : at + 48])
        answer = Answer(header, bytes(inbox[start : start + length]), bytes(inbox[at + 48 : at + 48 + ahs]))
        if self.header_digest:
            sent = int.from_bytes(inbox[start - 4 : start], "little")
            if crc(header + answer.ahs) != sent:
                raise Find("unreadable answer: header digest", header.hex())
        if stop > end and crc(bytes(inbox[start:end])) != int.from_bytes(inbox[end:stop], "little"):
            raise Find("unreadable answer: data digest", header.hex())
        return answer, stop - at

    def _write(self) -> None:
        while self._out and not self.closed:
            try:
                sent = self.socket.send(self._out)
            except BlockingIOError:
                return
            except OSError as error:
                self.closed = str(error.strerror or error)
                return
            self._note(True, bytes(self._out[:sent]))
            del self._out[:sent]

    def _read(self) -> None:
        try:
            data = self.socket.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            self.closed = str(error.strerror or error)
            return
        if not data:
            self.closed = "end of stream"
            return
        self._note(False, data)
        self._in += data

    def _note(self, ours: bool, data: bytes) -> None:
        if self.traced < TRACE:
            self.trace.append(Segment(time.time(), ours, data))
            self.traced += len(data)


def origin(host: str) -> tuple[str, int] | None:
    """On loopback connections come from many addresses in turn, so that bounds per source do not end a run.

    Not from ever new ones: what a target remembers of each would look like a leak."""
    try:
        if ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8"):
            number = next(_NUMBERS) % ORIGINS
            return f"127.64.{1 + number // 254}.{1 + number % 254}", 0
    except ValueError:
        pass
    return None
