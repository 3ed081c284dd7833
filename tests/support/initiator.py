"""A small, plain initiator for tests: one connection, blocking, every byte in the test's hands.

Source: RFC 7143 §11 (PDU layouts), §6 (login), §4.2.3 (Data-Out).  Builds and reads PDUs with ``struct``
alone and imports nothing of ``scsipub``, so that a mistake in our codec cannot be made twice and cancel out.

It keeps CmdSN and ExpStatSN, answers R2Ts (unless told not to), and checks nothing else: what came is what
the test sees.  ``send_raw`` is for bytes no decent initiator would send."""

import select
import socket
import struct
from collections import deque
from collections.abc import Mapping
from typing import Self

import attrs

from tests.support.pdus import (
    COMMAND,
    DATA_IN,
    DATA_OUT,
    LOGIN,
    LOGIN_DONE,
    LOGOUT,
    NO_TAG,
    NOP_IN,
    NOP_OUT,
    R2T,
    RESPONSE,
    TASK,
    TEXT,
    Pdu,
    Result,
    digest,
    format_keys,
)

SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3

NOBODY: Mapping[str, str] = {}
# What open-iscsi offers (its compiled-in defaults), names and SessionType apart.
KEYS = {
    "HeaderDigest": "None",
    "DataDigest": "None",
    "ErrorRecoveryLevel": "0",
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxBurstLength": "16776192",
    "FirstBurstLength": "262144",
    "MaxOutstandingR2T": "1",
    "MaxConnections": "1",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0",
    "MaxRecvDataSegmentLength": "262144",
}


class Closed(ConnectionError):
    """The target closed the connection."""


class LoginFailed(Exception):
    """The target refused; ``status`` is class << 8 | detail."""

    def __init__(self, status: int) -> None:
        super().__init__(f"login status {status:04x}")
        self.status = status


@attrs.define(eq=False)
class Initiator:
    """One connection to ``address`` ("host:port").  Also a context manager; leaving closes without logout."""

    address: str
    name: str = "iqn.1993-08.org.debian:01:tests"
    timeout: float = 10.0
    source: str | None = None  # local address to bind, to look like another peer
    isid: bytes = b"\x80\x12\x34\x56\x00\x01"
    lun: int = 0
    auto_r2t: bool = True
    sock: socket.socket = attrs.field(init=False)
    negotiated: dict[str, str] = attrs.Factory(dict)
    tsih: int = 0
    cid: int = 0
    cmd_sn: int = 1
    exp_stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    digests: tuple[bool, bool] = (False, False)  # header, data
    max_send: int = 8192  # the target's MaxRecvDataSegmentLength
    unasked: deque[Pdu] = attrs.Factory(deque)  # NOP-In pings, async messages, rejects met on the way
    _tag: int = 0
    _buffer: bytearray = attrs.Factory(bytearray)
    _running: dict[int, tuple[Result, bytes]] = attrs.Factory(dict)
    _other: dict[int, Pdu] = attrs.Factory(dict)

    def __attrs_post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        origin = (self.source, 0) if self.source else None
        self.sock = socket.create_connection((host.strip("[]"), int(port)), self.timeout, origin)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # -- bytes -------------------------------------------------------------------------------------------

    def send_raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_pdu(self, bhs: bytes | bytearray, data: bytes = b"", ahs: bytes = b"") -> None:
        """Fills in the lengths, pads, adds the digests in force, and sends."""
        head = bytearray(bhs)
        head[4] = len(ahs) // 4
        head[5:8] = len(data).to_bytes(3, "big")
        out = bytes(head) + ahs
        if self.digests[0]:
            out += digest(out)
        if data:
            padded = data + bytes(-len(data) % 4)
            out += padded + (digest(padded) if self.digests[1] else b"")
        self.send_raw(out)

    def recv_pdu(self) -> Pdu:
        """The next PDU, whatever it is.  Closed at the end of the stream, TimeoutError after ``timeout``."""
        head = self._take(48)
        ahs = self._take(head[4] * 4)
        if self.digests[0]:
            assert self._take(4) == digest(head + ahs), "header digest"
        length = int.from_bytes(head[5:8], "big")
        data = self._take(length + -length % 4)
        if length and self.digests[1]:
            assert self._take(4) == digest(data), "data digest"
        pdu = Pdu(head, data[:length], ahs)
        carries_stat_sn = pdu.opcode != R2T and not (pdu.opcode == DATA_IN and not pdu.flags & 1)
        if carries_stat_sn and not (pdu.opcode == NOP_IN and pdu.tag == NO_TAG):
            self.exp_stat_sn = (pdu.stat_sn + 1) & 0xFFFFFFFF
        self.exp_cmd_sn, self.max_cmd_sn = pdu.exp_cmd_sn, pdu.max_cmd_sn
        return pdu

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = self.sock.recv(1 << 18)
            if not piece:
                raise Closed(f"with {len(self._buffer)} bytes of a PDU" if self._buffer else "between PDUs")
            self._buffer += piece
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def closed_by_target(self) -> bool:
        """Reads on until the target closes (True) or ``timeout`` passes (False)."""
        try:
            while True:
                self.unasked.append(self.recv_pdu())
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def next_tag(self) -> int:
        self._tag += 1
        return self._tag

    def header(
        self, opcode: int, flags: int, tag: int, *, immediate: bool = False, lun: int | None = None
    ) -> bytearray:
        """A 48-byte header up to ExpStatSN; uses a CmdSN unless immediate."""
        lun_field = (self.lun if lun is None else lun) << 48
        head = bytearray(48)
        struct.pack_into(">BB6xQI", head, 0, opcode | (0x40 if immediate else 0), flags, lun_field, tag)
        struct.pack_into(">II", head, 24, self.cmd_sn, self.exp_stat_sn)
        if not immediate:
            self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        return head

    # -- login and text ----------------------------------------------------------------------------------

    def login_header(self, csg: int, nsg: int | None, more: bool = False) -> bytearray:
        flags = csg << 2 | (0x40 if more else 0) | (0 if nsg is None else 0x80 | nsg)
        head = bytearray(48)
        struct.pack_into(
            ">BB6x6sHIH2xII",
            head,
            0,
            0x40 | LOGIN,
            flags,
            self.isid,
            self.tsih,
            0,
            self.cid,
            self.cmd_sn,
            self.exp_stat_sn,
        )
        return head

    def login_step(
        self, csg: int, nsg: int | None, pairs: Mapping[str, str] | bytes, *, more: bool = False
    ) -> Pdu:
        """One Login Request and its answer.  ``nsg`` None leaves the T bit clear."""
        data = pairs if isinstance(pairs, bytes) else format_keys(pairs.items())
        self.send_pdu(self.login_header(csg, nsg, more), data)
        answer = self.recv_pdu()
        if answer.opcode == LOGIN_DONE:
            self.negotiated |= answer.keys()
            self.tsih = int.from_bytes(answer.bhs[14:16], "big")
            if answer.login_status >> 8:
                raise LoginFailed(answer.login_status)
        return answer

    def login(self, target: str | None = None, *, security_first: bool = False, **keys: str | None) -> Self:
        """Logs in to ``target`` (None: discovery), open-iscsi's offer changed by ``keys``."""
        who = {"InitiatorName": self.name, "SessionType": "Normal" if target else "Discovery"}
        if target:
            who["TargetName"] = target
        if security_first:
            self.login_step(SECURITY, OPERATIONAL, who | {"AuthMethod": "None"})
            who = {}
        return self.finish_login(who, **keys)

    def finish_login(self, who: Mapping[str, str] = NOBODY, /, **keys: str | None) -> Self:
        """The operational stage, and what it agreed on; ``who`` are names not sent before."""
        offer = {key: value for key, value in (KEYS | keys).items() if value is not None}
        answer = self.login_step(OPERATIONAL, FULL_FEATURE, dict(who) | offer)
        while not answer.final:
            answer = self.login_step(OPERATIONAL, FULL_FEATURE, {})
        said = self.negotiated
        self.digests = tuple(said.get(key) == "CRC32C" for key in ("HeaderDigest", "DataDigest"))  # type: ignore[assignment]
        self.max_send = int(said.get("MaxRecvDataSegmentLength", 8192))
        return self

    def text(self, pairs: Mapping[str, str], *, transfer_tag: int = NO_TAG) -> Pdu:
        """One Text Request and its answer."""
        head = self.header(TEXT, 0x80, self.next_tag(), lun=0)
        struct.pack_into(">I", head, 20, transfer_tag)
        self.send_pdu(head, format_keys(pairs.items()))
        return self.wait_other(self._tag)

    def send_targets(self, which: str = "All") -> list[tuple[str, str]]:
        """Discovery: the answer's lines, in order."""
        lines = self.text({"SendTargets": which}).data.split(b"\0")
        pairs = [line.decode().partition("=") for line in lines if line]
        return [(key, value) for key, _, value in pairs]

    # -- SCSI commands -----------------------------------------------------------------------------------

    def start(
        self,
        cdb: bytes,
        *,
        read: int = 0,
        write: bytes = b"",
        lun: int | None = None,
        length: int | None = None,
        immediate: bool = False,
        attribute: int = 1,
    ) -> int:
        """Sends a SCSI Command with immediate and unsolicited data as negotiated; returns its tag.

        ``length`` overrides Expected Data Transfer Length.  Ask for the end with ``finish(tag)``."""
        tag = self.next_tag()
        first = min(len(write), self.number("FirstBurstLength", 65536))
        at_once = min(first, self.max_send) if self.negotiated.get("ImmediateData", "Yes") == "Yes" else 0
        rest = first - at_once if self.negotiated.get("InitialR2T", "Yes") == "No" else 0
        flags = (0 if rest else 0x80) | (0x40 if read else 0) | (0x20 if write else 0) | attribute
        head = self.header(COMMAND, flags, tag, immediate=immediate, lun=lun)
        struct.pack_into(">I", head, 20, (read or len(write)) if length is None else length)
        head[32:48] = cdb[:16].ljust(16, b"\0")
        ahs = b""
        if len(cdb) > 16:  # §11.2.2.3: Extended CDB
            extra = cdb[16:]
            ahs = struct.pack(">HBx", len(extra) + 1, 1) + extra + bytes(-len(extra) % 4)
        self._running[tag] = (Result(), write)
        self.send_pdu(head, write[:at_once], ahs)
        if rest:
            self.data_out(tag, write, at_once, rest)
        return tag

    def data_out(
        self,
        tag: int,
        write: bytes,
        offset: int,
        count: int,
        *,
        transfer_tag: int = NO_TAG,
        lun: int | None = None,
    ) -> None:
        """One sequence of Data-Outs: ``count`` bytes of ``write`` from ``offset``."""
        for number, start in enumerate(range(offset, offset + count, self.max_send)):
            end = min(start + self.max_send, offset + count)
            head = bytearray(48)
            final = 0x80 if end == offset + count else 0
            lun_field = (self.lun if lun is None else lun) << 48
            struct.pack_into(">BB6xQII", head, 0, DATA_OUT, final, lun_field, tag, transfer_tag)
            struct.pack_into(">I4xII", head, 28, self.exp_stat_sn, number, start)
            self.send_pdu(head, write[start:end])

    def finish(self, tag: int) -> Result:
        """Waits for the end of the command ``tag``."""
        while tag in self._running:
            if self._running[tag][0].status != -1:
                return self._running.pop(tag)[0]
            self._sort(self.recv_pdu())
        raise KeyError(tag)

    def hear(self, seconds: float) -> bool:
        """Takes in one PDU, whosever it is; False: none came in ``seconds``."""
        pending = getattr(self.sock, "pending", int)()  # what TLS has read already
        if not self._buffer and not pending and not select.select([self.sock], [], [], seconds)[0]:
            return False
        self._sort(self.recv_pdu())
        return True

    def over(self, tag: int) -> Result | None:
        """How the command ended, if it has; asked once."""
        return self._running.pop(tag)[0] if self._running[tag][0].status != -1 else None

    def command(self, cdb: bytes, **how: object) -> Result:
        """``start`` and ``finish``."""
        return self.finish(self.start(cdb, **how))  # type: ignore[arg-type]

    def _sort(self, pdu: Pdu) -> None:
        """Gives one PDU to whom it belongs."""
        tag = pdu.tag
        if pdu.opcode == NOP_IN and tag == NO_TAG and pdu.word(20) != NO_TAG:  # a ping: answer it
            head = self.header(NOP_OUT, 0x80, NO_TAG, immediate=True)
            head[8:16], head[20:24] = pdu.bhs[8:16], pdu.bhs[20:24]
            self.send_pdu(head)
            self.unasked.append(pdu)
        elif tag not in self._running or pdu.opcode not in (RESPONSE, DATA_IN, R2T):
            if tag == NO_TAG:
                self.unasked.append(pdu)
            else:
                self._other[tag] = pdu
        else:
            result, write = self._running[tag]
            result.pdus.append(pdu)
            if pdu.opcode == R2T and self.auto_r2t:
                offset, count = struct.unpack_from(">II", pdu.bhs, 40)
                lun = struct.unpack_from(">Q", pdu.bhs, 8)[0] >> 48
                self.data_out(tag, write, offset, count, transfer_tag=pdu.word(20), lun=lun)
            elif pdu.opcode == DATA_IN:
                offset, end = pdu.word(40), pdu.word(40) + len(pdu.data)
                result.data.extend(bytes(max(0, end - len(result.data))))
                result.data[offset:end] = pdu.data
            if pdu.opcode == RESPONSE or (pdu.opcode == DATA_IN and pdu.flags & 1):
                result.status, result.flags, result.residual = pdu.bhs[3], pdu.flags & 6, pdu.word(44)
            if pdu.opcode == RESPONSE:
                result.response = pdu.bhs[2]
                if len(pdu.data) > 2:
                    result.sense = pdu.data[2 : 2 + int.from_bytes(pdu.data[:2], "big")]

    def wait_other(self, tag: int) -> Pdu:
        """The answer to a NOP, Text, Task Management or Logout request."""
        while tag not in self._other:
            self._sort(self.recv_pdu())
        return self._other.pop(tag)

    def wait_unasked(self) -> Pdu:
        """The next Reject, asynchronous message or ping."""
        while not self.unasked:
            self._sort(self.recv_pdu())
        return self.unasked.popleft()

    def number(self, key: str, default: int) -> int:
        """A numeric key in force: the smaller of what was offered and what came back."""
        return int(self.negotiated.get(key, default))

    # -- everyday commands -------------------------------------------------------------------------------

    def read(self, lba: int, blocks: int, *, block_size: int = 512, lun: int | None = None) -> bytes:
        """READ(16), which must end well."""
        cdb = struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)
        return bytes(self.command(cdb, read=blocks * block_size, lun=lun).good().data)

    def write(self, lba: int, data: bytes, *, block_size: int = 512, lun: int | None = None) -> None:
        """WRITE(16), which must end well."""
        cdb = struct.pack(">BBQIBB", 0x8A, 0, lba, len(data) // block_size, 0, 0)
        self.command(cdb, write=data, lun=lun).good()

    def settle(self, lun: int | None = None) -> Self:
        """TEST UNIT READY until no unit attention is left, as every real initiator begins."""
        while self.command(bytes(6), lun=lun).status == 2:
            pass
        return self

    def capacity(self, lun: int | None = None) -> tuple[int, int]:
        """READ CAPACITY(16): (blocks, block size)."""
        cdb = struct.pack(">BBQIBB", 0x9E, 0x10, 0, 32, 0, 0)
        last, size = struct.unpack_from(">QI", self.command(cdb, read=32, lun=lun).good().data)
        return last + 1, size

    # -- the rest ----------------------------------------------------------------------------------------

    def ping(self, data: bytes = b"") -> Pdu:
        """NOP-Out with its answer."""
        head = self.header(NOP_OUT, 0x80, self.next_tag(), immediate=True)
        struct.pack_into(">I", head, 20, NO_TAG)
        self.send_pdu(head, data)
        return self.wait_other(self._tag)

    def task_management(
        self,
        function: int,
        *,
        task: int = NO_TAG,
        ref_cmd_sn: int = 0,
        lun: int | None = None,
        immediate: bool = True,
    ) -> int:
        """Task Management Function Request; returns the response code."""
        head = self.header(TASK, 0x80 | function, self.next_tag(), immediate=immediate, lun=lun)
        struct.pack_into(">I", head, 20, task)
        struct.pack_into(">I", head, 32, ref_cmd_sn)
        self.send_pdu(head)
        return self.wait_other(self._tag).bhs[2]

    def logout(self, reason: int = 0) -> int:
        """Logout Request; returns the response code.  The target closes afterwards."""
        head = self.header(LOGOUT, 0x80 | reason, self.next_tag(), immediate=True, lun=0)
        struct.pack_into(">H", head, 20, self.cid)
        self.send_pdu(head)
        return self.wait_other(self._tag).bhs[2]
