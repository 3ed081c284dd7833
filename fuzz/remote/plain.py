"""An honest initiator: the witness who lives beside the liar, and who looks after the unit between cases.

One command at a time, every wait bounded.  ``Silent`` is an answer that did not come, ``Gone`` a target that
is not there, ``Refused`` a login it did not want."""

import struct
import time

import attrs

from fuzz.hearing import HEADER, NO_TAG
from fuzz.remote.address import Address
from fuzz.remote.entry import Entry
from fuzz.remote.link import Answer, Link

NAME = "iqn.1993-08.org.debian:01:witness"
TERMS = {"HeaderDigest": "None", "DataDigest": "None", "InitialR2T": "Yes", "ImmediateData": "No",
         "MaxBurstLength": "65536", "FirstBurstLength": "65536", "MaxRecvDataSegmentLength": "65536",
         "DefaultTime2Wait": "2", "DefaultTime2Retain": "0", "MaxOutstandingR2T": "1", "MaxConnections": "1",
         "ErrorRecoveryLevel": "0", "DataPDUInOrder": "Yes", "DataSequenceInOrder": "Yes"}  # fmt: skip


class Silent(Exception):
    """No answer in time."""


class Gone(Exception):
    """The connection was closed, or there is nobody to connect to."""


class Refused(Exception):
    """The login was refused; ``status`` is class << 8 | detail."""

    def __init__(self, status: int) -> None:
        super().__init__(f"login status {status:04x}h")
        self.status = status


@attrs.frozen
class Ended:
    """How a command ended."""

    status: int
    data: bytes
    sense: bytes

    @property
    def attention(self) -> bool:
        return self.status == 2 and len(self.sense) > 2 and self.sense[2] & 15 == 6


class Plain:
    """One session.  ``seconds``: how long it waits for an answer."""

    def __init__(self, address: Address, *, seconds: float = 5.0, name: str = NAME, isid: int = 1) -> None:
        self.address = address
        self.seconds = seconds
        self.tag = 0
        self.cmd_sn = 1
        self.stat_sn = 0
        self.isid = bytes((0x80, 0, 0)) + isid.to_bytes(3)
        self.names = {"InitiatorName": name, "SessionType": "Normal", "TargetName": address.target}
        self.entry = Entry(address.secret)
        try:
            self.link = Link(address.host, address.port, seconds=seconds)
        except TimeoutError as error:
            raise Silent("to a connect") from error
        except OSError as error:
            raise Gone(str(error)) from error
        try:
            self._login()
        except BaseException:
            self.link.close()
            raise

    # -- login -------------------------------------------------------------------------------------------

    def _login(self) -> None:
        if not self.address.user:
            self._step(1, 3, self.names | TERMS)
        else:
            self._step(0, None, self.names | {"AuthMethod": "CHAP"})
            self._step(0, None, {"CHAP_A": "7,5"})
            self._step(0, 1, {"CHAP_N": self.address.user, "CHAP_R": "@R@"})
            self._step(1, 3, TERMS)
        for _ in range(8):  # a target may want to talk before it moves on
            if self.done:
                return
            self._step(1, 3, {})
        raise Silent("to the login: it comes to no end")

    def _step(self, stage: int, to: int | None, keys: dict[str, str]) -> None:
        text = b"".join(f"{key}={value}".encode() + b"\0" for key, value in keys.items())
        text = self.entry.proved(text)
        flags = stage << 2 | (0 if to is None else 0x80 | to)
        header = struct.pack(
            ">BBxxI6sHIH2xII16x", 0x43, flags, len(text), self.isid, 0, 0, 0, self.cmd_sn, self.stat_sn
        )
        self.entry.said(header + text)
        self.link.send(header + text + bytes(-len(text) % 4))
        answer = self._wait("the login")
        facts = self.entry.heard(answer)
        self.stat_sn = (answer.word(24) + 1) & 0xFFFFFFFF
        if self.entry.over:
            raise Refused(self.entry.status)
        self.done = facts is not None

    done = False

    def _wait(self, what: str, seconds: float | None = None) -> Answer:
        until = time.monotonic() + (self.seconds if seconds is None else seconds)
        while True:
            for answer in self.link.answers():
                self._late.append(answer)
            if self._late:
                return self._late.pop(0)
            if self.link.closed:
                raise Gone(f"while waiting for {what}: {self.link.closed}")
            left = until - time.monotonic()
            if left <= 0:
                raise Silent(f"to {what}")
            self.link.pump(left)

    @property
    def _late(self) -> list[Answer]:
        if not hasattr(self, "_queue"):
            self._queue: list[Answer] = []
        return self._queue

    # -- commands ----------------------------------------------------------------------------------------

    def command(self, cdb: bytes, *, read: int = 0, write: bytes = b"", lun: int | None = None) -> Ended:
        """Sent, and waited for."""
        self.tag = (self.tag + 1) & 0x7FFFFFFF
        where = (self.address.lun if lun is None else lun) << 48
        flags = 0x81 | (0x40 if read else 0) | (0x20 if write else 0)
        numbers = (self.tag, read or len(write), self.cmd_sn, self.stat_sn)
        header = HEADER.pack(1, flags, 0, 0, 0, where, *numbers, 0, 0, 0, 0)[:32] + cdb.ljust(16, b"\0")
        self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        self.link.send(header)
        data = bytearray()
        while True:
            answer = self._wait(f"CDB {cdb.hex()}")
            if answer.opcode == 0x20 and answer.tag == NO_TAG:
                self._pong(answer)
            if answer.tag != self.tag:
                continue
            if answer.opcode == 0x31:
                self._write(answer, write, where)
            if answer.opcode == 0x25:
                data += answer.data
            if answer.opcode == 0x21 or (answer.opcode == 0x25 and answer.header[1] & 1):
                self.stat_sn = (answer.word(24) + 1) & 0xFFFFFFFF
                return Ended(answer.header[3], bytes(data), answer.data[2:] if answer.opcode == 0x21 else b"")

    def _write(self, asked: Answer, data: bytes, where: int) -> None:
        ttt, at, length = (asked.word(n) for n in (20, 40, 44))
        most = min(65536, int(self.entry.answered.get("MaxRecvDataSegmentLength", "8192")))
        for number, start in enumerate(range(at, at + length, most)):
            piece = data[start : min(start + most, at + length)]
            final = 0x80 if start + len(piece) == at + length else 0
            header = HEADER.pack(
                5, final, 0, 0, len(piece), where, self.tag, ttt, 0, self.stat_sn, 0, number, start, 0
            )
            self.link.send(header + piece + bytes(-len(piece) % 4))

    def _pong(self, asked: Answer) -> None:
        ttt = asked.word(20)
        if ttt != NO_TAG:
            lun = int.from_bytes(asked.header[8:16])
            self.link.send(
                HEADER.pack(0x40, 0x80, 0, 0, 0, lun, NO_TAG, ttt, self.cmd_sn, self.stat_sn, 0, 0, 0, 0)
            )

    def settle(self, seconds: float = 5.0) -> Ended:
        """TEST UNIT READY until no unit attention is left."""
        until = time.monotonic() + seconds
        while True:
            ended = self.command(bytes(6))
            if not ended.attention or time.monotonic() > until:
                return ended

    def close(self) -> None:
        """With a logout, so that nothing of us is left."""
        if not self.link.closed:
            header = HEADER.pack(0x46, 0x80, 0, 0, 0, 0, 0x7FFFFFF0, 0, self.cmd_sn, self.stat_sn, 0, 0, 0, 0)
            self.link.send(header)
            self.link.pump(0.2)
        self.link.close()
