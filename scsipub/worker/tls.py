"""TLS: a socket's shape around an encrypted connection, so that login and turns need not know.

Source: RFC 8446, RFC 5246, through OpenSSL.  Knows trio only for the handshake; everything after it is
non-blocking and raises BlockingIOError exactly when a plain socket would.

OpenSSL never sees the socket, only buffers that are filled and emptied here.  Given the socket it would read
for as long as a peer sends it records without data (key updates, of which there may be any number), and the
event loop would stand still meanwhile.  So too, one ``recv`` and one ``send`` carry many records."""

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import cast

import trio

from scsipub.errors import FramingLost
from scsipub.worker.output import PeerGone

# What OpenSSL is given at once, one record: its buffers never shrink, and so stay small.  So many records go
# into one system call; a turn of 32 reads of 4 KiB is nine.
STEP = 16 * 1024
RECORDS = 9
# What one recv takes.
TAKE = 32 * 1024
CHUNK = 64 * 1024
# A record has at most 16 KiB and a little.  So much in a row without one byte of data is an attack.
BARREN = 48 * 1024
# A handshake with a chain of client certificates stays far below.
HANDSHAKE_BYTES = 64 * 1024
TLS_HANDSHAKE = 0x16
# What we owe besides answers (alerts, key updates) and could not send; a peer that lets it grow is gone.
OWED_BYTES = 2 * CHUNK

_scratch = memoryview(bytearray(TAKE))  # within one call: all connections share it


class HandshakeFailed(Exception):
    """No TLS connection came of it.  The peer may have had its reasons: it is not punished."""


class TlsSocket:
    """An established TLS connection.  The subset of ``socket.socket`` that connections use."""

    __slots__ = (
        "_ahead",
        "_barren",
        "_dry",
        "_incoming",
        "_outgoing",
        "_sealed",
        "_socket",
        "_tls",
        "certificate",
    )

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self._socket = sock
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._dry = False  # nothing can be decrypted before more has come from the socket
        self._barren = 0  # bytes since data last came of them
        self._sealed: bytes | memoryview = b""  # encrypted, and not taken by the socket yet
        self._ahead = 0  # bytes encrypted already that the caller was told are unsent
        self.certificate = tls.getpeercert(True) or b""  # DER; OpenSSL has checked where it comes from

    def fileno(self) -> int:
        return self._socket.fileno()

    # -- receiving ---------------------------------------------------------------------------------------

    def recv_into(self, into: memoryview) -> int:
        """Bytes of data; 0 at the end.  BlockingIOError: none before the socket is readable again."""
        if not self._dry:
            got = self._decrypt(into)
            if got >= 0:
                return got
        count = self._socket.recv_into(_scratch)
        if not count:
            return 0
        self._incoming.write(_scratch[:count])
        self._dry = False
        got = self._decrypt(into)
        if got >= 0:
            self._barren = 0
            return got
        self._barren += count
        if self._barren > BARREN:
            raise ConnectionResetError(errno.ECONNRESET, "TLS records without data")
        raise BlockingIOError

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags & socket.MSG_PEEK:
            return self._socket.recv(size, flags) if self._dry else b"\0"
        into = bytearray(size)
        return bytes(into[: self.recv_into(memoryview(into))])

    def _decrypt(self, into: memoryview) -> int:
        """As much as is there and fits; 0 at the end of the stream, -1 when more must come first."""
        incoming, got, size = self._incoming, 0, len(into)
        # typeshed forgets that read returns a count when it is given a buffer.
        read = cast(Callable[[int, memoryview], int], self._tls.read)
        try:
            while got < size:
                count = read(size - got, into[got:])
                if not count:
                    return got
                got += count
                if not incoming.pending and not self._tls.pending():
                    self._dry = True
                    break
        except ssl.SSLWantReadError:
            self._dry = True
        except ssl.SSLZeroReturnError:
            return got  # and 0 the next time
        except ssl.SSLError as error:
            self._flush()  # the alert that says what was wrong
            raise ConnectionResetError(errno.ECONNRESET, _word(error)) from None
        if self._outgoing.pending:
            self._flush()
            if len(self._sealed) + self._outgoing.pending > OWED_BYTES:
                raise ConnectionResetError(errno.ECONNRESET, "the peer takes no TLS answers")
        return got or -1

    # -- sending -----------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        """How much of ``data`` is gone.  What is not must be given again, as with any socket.

        Encrypted bytes cannot be taken back.  When the socket does not take them all, the last byte of data
        is called unsent, so that the caller comes again; it is passed over then."""
        if not self._flush():
            raise BlockingIOError
        view = memoryview(data)
        at, self._ahead = self._ahead, 0
        size, write = len(view), self._tls.write
        take = self._outgoing.read
        while at < size:
            records: list[bytes] = []
            try:
                while at < size and len(records) < RECORDS:
                    at += write(view[at : at + STEP])
                    records.append(take())
            except ssl.SSLError as error:
                raise ConnectionResetError(errno.ECONNRESET, _word(error)) from None
            if not self._send_records(records, flags if at == size else socket.MSG_MORE):
                self._ahead = 1
                if at == 1:
                    raise BlockingIOError
                return at - 1
        return size

    def _send_records(self, records: list[bytes], flags: int) -> bool:
        """All of them in one call.  False: the socket did not take everything; the rest is kept."""
        try:
            count = self._socket.sendmsg(records, (), flags)
        except BlockingIOError:
            count = 0
        for at, record in enumerate(records):
            if count < len(record):
                self._sealed = b"".join((memoryview(record)[count:], *records[at + 1 :]))
                return self._flush(flags)
            count -= len(record)
        return True

    def _flush(self, flags: int = 0) -> bool:
        """Hand what is encrypted to the socket.  False: it did not take everything."""
        sealed = self._sealed
        if self._outgoing.pending:
            fresh = self._outgoing.read()
            sealed = b"".join((sealed, fresh)) if sealed else fresh
        while sealed:
            try:
                count = self._socket.send(sealed, flags)
            except BlockingIOError:
                self._sealed = sealed
                return False
            sealed = memoryview(sealed)[count:]
        self._sealed = b""
        return True

    # -- the end -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Say goodbye if that costs nothing, and close."""
        if not self._sealed:
            with contextlib.suppress(OSError, ValueError):
                self._tls.unwrap()  # raises to wait for the peer's goodbye; ours is in the buffer
        with contextlib.suppress(OSError):
            self._flush()
        self._socket.close()


AnySocket = socket.socket | TlsSocket


async def handshake(sock: socket.socket, context: ssl.SSLContext) -> TlsSocket:
    """Become a TLS connection.  The caller has set a deadline.

    Raises FramingLost for what is not TLS at all, HandshakeFailed when the two cannot agree, PeerGone."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    heard = 0
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await _send_all(sock, outgoing)
        except ssl.SSLError as error:
            _parting_word(sock, outgoing)
            raise HandshakeFailed(_word(error)) from None
        else:
            await _send_all(sock, outgoing)
            return TlsSocket(sock, tls, incoming, outgoing)
        data = await _receive(sock)
        if not heard and data[0] != TLS_HANDSHAKE:
            raise FramingLost(f"the first byte is 0x{data[0]:02x}", "no TLS on the TLS port")
        heard += len(data)
        if heard > HANDSHAKE_BYTES:
            raise FramingLost("a TLS handshake without end")
        incoming.write(data)


async def _receive(sock: socket.socket) -> bytes:
    while True:
        try:
            data = sock.recv(CHUNK)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        except OSError as error:
            raise PeerGone(str(error)) from error
        if not data:
            raise PeerGone("end of stream in the TLS handshake")
        return data


async def _send_all(sock: socket.socket, outgoing: ssl.MemoryBIO) -> None:
    view = memoryview(outgoing.read())
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
        except OSError as error:
            raise PeerGone(str(error)) from error


def _parting_word(sock: socket.socket, outgoing: ssl.MemoryBIO) -> None:
    """The alert, if the socket takes it at once."""
    with contextlib.suppress(OSError):
        sock.send(outgoing.read())


def _word(error: ssl.SSLError) -> str:
    return str(error.reason or error).lower().replace("_", " ")
