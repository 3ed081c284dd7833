"""A target of a hundred lines with a disk in memory, for tests of the clients: it can be told to lie.

Source: RFC 7143 §11.  Serves one LUN to any number of connections, a thread each.  Not ours and not sound: it
believes what the initiator says."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import attrs

from tests.support.pdus import (
    COMMAND,
    DATA_IN,
    DATA_OUT,
    LOGIN,
    LOGIN_DONE,
    LOGOUT,
    LOGOUT_DONE,
    NO_TAG,
    NOP_IN,
    NOP_OUT,
    R2T,
    RESPONSE,
    digest,
    format_keys,
)

BLOCK = 512


@attrs.define(eq=False)
class TinyTarget:
    """The disk, and the dials."""

    blocks: int = 4096
    keys: dict[str, str] = attrs.Factory(
        lambda: {
            "InitialR2T": "No",
            "ImmediateData": "Yes",
            "FirstBurstLength": "8192",
            "MaxBurstLength": "262144",
            "MaxRecvDataSegmentLength": "4096",
        }
    )
    window: int = 64
    segment: int = 4096  # how it cuts Data-In
    status: int = 0  # of every READ and WRITE
    forgets: bool = False  # acknowledges writes and does not do them
    hangs_up_after: int = 0  # commands; then every connection is cut, once
    wipes: bool = False  # when it hangs up, the disk is lost
    login_status: int = 0
    pings: bool = False  # a NOP-In before every answer
    digests: bool = False  # agrees to both, and checks what it gets
    lies_about: str = ""  # "header" or "data": whose digest is wrong in everything after the login
    wrong_digests: int = 0  # that came from initiators
    disk: bytearray = attrs.field(init=False)
    commands: list[bytes] = attrs.Factory(list)  # CDBs, in order
    pongs: int = 0
    _listener: socket.socket = attrs.field(factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __attrs_post_init__(self) -> None:
        self.disk = bytearray(self.blocks * BLOCK)

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._listener.getsockname())

    @property
    def url(self) -> str:
        return f"iscsi://{self.address}/iqn.test:tiny/0"

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, EOFError):
            _Connection(self, sock).run()


@attrs.define(eq=False)
class _Connection:
    target: TinyTarget
    sock: socket.socket
    stat_sn: int = 100
    cmd_sn: int = 1
    waiting: list[tuple[bytes, bytes]] = attrs.Factory(list)
    digests: bool = False

    def run(self) -> None:
        while True:
            bhs, data = self.waiting.pop(0) if self.waiting else self._pdu()
            opcode, tag = bhs[0] & 0x3F, bhs[16:20]
            self.cmd_sn = int.from_bytes(bhs[24:28], "big") + (0 if bhs[0] & 0x40 else 1)
            if opcode == LOGIN:
                self._login(bhs)
            elif opcode == NOP_OUT and tag != b"\xff" * 4:
                self._answer(NOP_IN, 0x80, tag, data, other=NO_TAG)
            elif opcode == NOP_OUT:
                self.target.pongs += 1
            elif opcode == COMMAND:
                self._command(bhs, data)
            elif opcode == LOGOUT:
                self._answer(LOGOUT_DONE, 0x80, tag)
                return

    def _pdu(self) -> tuple[bytes, bytes]:
        head = self._summed(48)
        length = int.from_bytes(head[5:8], "big")
        return head, self._summed(length + -length % 4)[:length]

    def _summed(self, count: int) -> bytes:
        data = self._take(count)
        if count and self.digests and self._take(4) != digest(data):
            self.target.wrong_digests += 1
        return data

    def _send(self, head: bytes | bytearray, data: bytes = b"") -> None:
        parts = {"header": bytes(head), "data": data + bytes(-len(data) % 4)}
        for name, part in parts.items():
            self.sock.sendall(part)
            if part and self.digests:
                self.sock.sendall(digest(part if name != self.target.lies_about else part + b"!"))

    def _data_of(self, tag: bytes) -> tuple[bytes, bytes]:
        """The next Data-Out of one command; what else comes has to wait."""
        for pdu in self.waiting:
            if pdu[0][0] & 0x3F == DATA_OUT and pdu[0][16:20] == tag:
                self.waiting.remove(pdu)
                return pdu
        while True:
            pdu = self._pdu()
            if pdu[0][0] & 0x3F == DATA_OUT and pdu[0][16:20] == tag:
                return pdu
            self.waiting.append(pdu)

    def _take(self, count: int) -> bytes:
        data = self.sock.recv(count, socket.MSG_WAITALL) if count else b""
        if len(data) < count:
            raise EOFError
        return data

    def _login(self, bhs: bytes) -> None:
        flags = bhs[1] & 0x8F
        keys = self.target.keys
        if self.target.digests:
            keys = keys | {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
        data = b"" if self.target.login_status else format_keys(keys.items())
        head = bytearray(48)
        struct.pack_into(">BB2xI", head, 0, LOGIN_DONE, flags, len(data))
        head[8:14], head[15], head[16:20] = bhs[8:14], 1, bhs[16:20]
        struct.pack_into(">IIIH", head, 24, *self._numbers(), self.target.login_status)
        self._send(head, data)
        self.digests = self.target.digests

    def _numbers(self) -> tuple[int, int, int]:
        self.stat_sn += 1
        return self.stat_sn - 1, self.cmd_sn, self.cmd_sn + self.target.window - 1

    def _answer(
        self,
        opcode: int,
        flags: int,
        tag: bytes,
        data: bytes = b"",
        *,
        status: int = 0,
        other: int = 0,
        numbers: bool = True,
        tail: tuple[int, ...] = (),
    ) -> None:
        head = bytearray(48)
        struct.pack_into(">BBBBI", head, 0, opcode, flags, 0, status, len(data))
        head[16:20] = tag
        said = self._numbers() if numbers else (0, self.cmd_sn, self.cmd_sn + self.target.window - 1)
        struct.pack_into(">IIII", head, 20, other, *said)
        struct.pack_into(f">{len(tail)}I", head, 36, *tail)
        self._send(head, data)

    def _command(self, bhs: bytes, data: bytes) -> None:
        target, tag, cdb = self.target, bhs[16:20], bhs[32:48]
        target.commands.append(cdb)
        if target.hangs_up_after and len(target.commands) > target.hangs_up_after:
            target.hangs_up_after = 0
            if target.wipes:
                target.disk[:] = bytes(len(target.disk))
            raise EOFError
        if target.pings:
            head = bytearray(48)
            struct.pack_into(">BB", head, 0, NOP_IN, 0x80)
            struct.pack_into(">IIIII", head, 16, NO_TAG, 77, self.stat_sn, self.cmd_sn, self.cmd_sn + 31)
            self._send(head)
        code = cdb[0]
        if code in (0x28, 0x2A):
            first, count = int.from_bytes(cdb[2:6], "big"), int.from_bytes(cdb[7:9], "big")
        else:
            first, count = int.from_bytes(cdb[2:10], "big"), int.from_bytes(cdb[10:14], "big")
        if code in (0x28, 0x88):
            self._read(tag, first, count)
        elif code in (0x2A, 0x8A):
            self._write(tag, first, count, data, more=not bhs[1] & 0x80)
        elif code == 0x25:
            self._answer(DATA_IN, 0x81, tag, struct.pack(">II", target.blocks - 1, BLOCK))
        elif code == 0x9E:
            self._answer(DATA_IN, 0x81, tag, struct.pack(">QI20x", target.blocks - 1, BLOCK))
        else:
            self._answer(RESPONSE, 0x80, tag)

    def _read(self, tag: bytes, first: int, count: int) -> None:
        data, step = bytes(self.target.disk[first * BLOCK : (first + count) * BLOCK]), self.target.segment
        for number, at in enumerate(range(0, len(data), step)):
            last = at + step >= len(data) and not self.target.status
            flags = 0x81 if last else 0
            self._answer(
                DATA_IN, flags, tag, data[at : at + step], numbers=last, other=NO_TAG, tail=(number, at)
            )
        if self.target.status:
            self._answer(RESPONSE, 0x80, tag, status=self.target.status)

    def _write(self, tag: bytes, first: int, count: int, data: bytes, *, more: bool) -> None:
        got = bytearray(data)
        while more or len(got) < count * BLOCK:
            if not more:
                size = min(count * BLOCK - len(got), int(self.target.keys["MaxBurstLength"]))
                self._answer(R2T, 0x80, tag, other=5, numbers=False, tail=(0, len(got), size))
            bhs, piece = self._data_of(tag)
            got[int.from_bytes(bhs[40:44], "big") :] = piece
            more = not bhs[1] & 0x80
        if not self.target.forgets:
            self.target.disk[first * BLOCK : first * BLOCK + len(got)] = got
        self._answer(RESPONSE, 0x80, tag, status=self.target.status)


@contextlib.contextmanager
def tiny_target(**dials: object) -> Iterator[TinyTarget]:
    """A target that serves until the block is left."""
    target = TinyTarget(**dials)  # type: ignore[arg-type]
    threading.Thread(target=target.accept, daemon=True).start()
    try:
        yield target
    finally:
        target.close()
