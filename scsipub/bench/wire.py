"""Just enough iSCSI to measure a target: an address, a login, the layout of the four hot PDUs.

Source: RFC 7143 §6 (login), §11.3, §11.4, §11.7, §11.8, §12.1.3 (CHAP), §13.1 (digests).  A client of any
target, so it uses none of the target's own code.  Blocking sockets; knows no threads and no event loop."""

import hashlib
import socket
import struct
from typing import Self

import attrs
from crc32c import crc32c

NO_TAG = 0xFFFFFFFF
NOP_OUT, COMMAND, LOGIN, DATA_OUT, LOGOUT = 0x00, 0x01, 0x03, 0x05, 0x06
NOP_IN, RESPONSE, LOGIN_DONE, DATA_IN, LOGOUT_DONE = 0x20, 0x21, 0x23, 0x25, 0x26
R2T, ASYNC, REJECT = 0x31, 0x32, 0x3F

# (opcode, flags, response, status, AHS and data length, tag, StatSN) of anything a target sends.
HEAD = struct.Struct(">BBBBI8xI4xI")
DATA_LENGTH = 0xFFFFFF  # mask: the byte above is TotalAHSLength

OFFER = {
    "HeaderDigest": "None",
    "DataDigest": "None",
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxBurstLength": "1048576",
    "FirstBurstLength": "262144",
    "MaxRecvDataSegmentLength": "262144",
    "MaxOutstandingR2T": "1",
    "MaxConnections": "1",
    "ErrorRecoveryLevel": "0",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0",
}
DIGESTS = ("HeaderDigest", "DataDigest")
# CHAP_A and what it means, the strongest first; targets of every age know the last.
ALGORITHMS = {"8": "sha3_256", "7": "sha256", "6": "sha1", "5": "md5"}
SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3
MOST_ANSWERS = 16  # of one login; a sane one takes six at most


class TargetError(Exception):
    """The target answered with an error, or with something a target never sends."""


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """CRC32C as it stands on the wire, lowest byte first."""
    return crc32c(data, 0, 0).to_bytes(4, "little")


@attrs.frozen
class Url:
    """iscsi://[USER[%SECRET]@]HOST[:PORT]/TARGET/LUN, as libiscsi and QEMU write it."""

    host: str
    port: int
    target: str
    lun: int
    user: str = ""
    secret: str = attrs.field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        scheme, _, rest = text.partition("://")
        parts = rest.split("/")
        if scheme != "iscsi" or len(parts) != 3 or not parts[2].isdecimal():
            raise ValueError("the address is not iscsi://[USER[%SECRET]@]HOST[:PORT]/TARGET/LUN")
        account, _, place = parts[0].rpartition("@")
        user, _, secret = account.partition("%")
        host, colon, port = place.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = place, "3260"
        if not host or not port.isdecimal():
            raise ValueError(f"{place!r} is not HOST[:PORT]")
        return cls(host.strip("[]"), int(port), parts[1], int(parts[2]), user, secret)


@attrs.define(eq=False)
class Session:
    """One logged-in connection, used while nothing is in flight: login, small commands, logout."""

    url: Url
    name: str
    sock: socket.socket
    cmd_sn: int = 1
    exp_stat_sn: int = 0
    max_cmd_sn: int = 1
    agreed: dict[str, str] = attrs.Factory(dict)
    digests: bool = False  # both of them travel, once logged in

    @classmethod
    def open(
        cls,
        url: Url,
        name: str,
        *,
        isid: int = 1,
        timeout: float = 15.0,
        source: str | None = None,
        settle: bool = True,
        digests: bool = False,
    ) -> Self:
        """Connects, logs in, and takes the unit attentions that wait for a newcomer.

        ``digests``: ask for both, CRC32C, and take nothing less."""
        origin = (source, 0) if source else None
        sock = socket.create_connection((url.host, url.port), timeout, origin)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = cls(url, name, sock)
            session._login(isid, digests)
            for _ in range(10 if settle else 0):
                if session.command(bytes(6))[0] == 0:
                    break
        except BaseException:
            sock.close()
            raise
        return session

    def _login(self, isid: int, digests: bool) -> None:
        keys = {"InitiatorName": self.name, "SessionType": "Normal", "TargetName": self.url.target}
        offer = OFFER | (dict.fromkeys(DIGESTS, "CRC32C") if digests else {})
        isid_field = b"\x80" + isid.to_bytes(5, "big")
        if self.url.user:
            said = self._say(isid_field, SECURITY, None, keys | {"AuthMethod": "CHAP,None"})
            if said.get("AuthMethod") != "CHAP":
                raise TargetError("the target does not ask for CHAP: leave user and secret away")
            said = self._say(isid_field, SECURITY, None, {"CHAP_A": ",".join(ALGORITHMS)})
            self._say(isid_field, SECURITY, OPERATIONAL, self._answer(said))
            keys = {}
        # Without a password from stage 1 to stage 3 at once, as open-iscsi does.
        self._say(isid_field, OPERATIONAL, FULL_FEATURE, keys | offer)
        if digests and any(self.agreed.get(key) != "CRC32C" for key in DIGESTS):
            raise TargetError("the target does not agree to both digests")
        self.digests = digests

    def _answer(self, said: dict[str, str]) -> dict[str, str]:
        """What CHAP wants to hear; §12.1.3."""
        if said.get("CHAP_A") not in ALGORITHMS or not {"CHAP_I", "CHAP_C"} <= said.keys():
            raise TargetError("the target's CHAP challenge is not whole")
        try:
            challenge = bytes.fromhex(said["CHAP_C"].removeprefix("0x").removeprefix("0X"))
            summed = bytes((int(said["CHAP_I"], 0),)) + self.url.secret.encode() + challenge
        except ValueError as error:
            raise TargetError(f"the target's CHAP challenge cannot be read: {error}") from None
        proof = hashlib.new(ALGORITHMS[said["CHAP_A"]], summed, usedforsecurity=False).hexdigest()
        return {"CHAP_N": self.url.user, "CHAP_R": f"0x{proof}"}

    def _say(self, isid: bytes, stage: int, then: int | None, pairs: dict[str, str]) -> dict[str, str]:
        """Login Requests until the target has gone to stage ``then`` (None: one), and its answers' keys."""
        said: dict[str, str] = {}
        bits = stage << 2 | (0 if then is None else 0x80 | then)
        for _ in range(MOST_ANSWERS):
            data = b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs.items())
            numbers = (self.cmd_sn, self.exp_stat_sn)
            head = struct.pack(">BBHI6sHI HHII", 0x43, bits, 0, len(data), isid, 0, 0, 0, 0, *numbers)
            self.sock.sendall(head.ljust(48, b"\0") + data + bytes(-len(data) % 4))
            bhs, answer = self.receive()
            if bhs[0] & 0x3F != LOGIN_DONE:
                raise TargetError(f"opcode {bhs[0]:02x}h in answer to a login")
            if bhs[36]:
                raise TargetError(f"login refused, status {bhs[36]:02x}{bhs[37]:02x}h")
            for line in answer.split(b"\0"):
                key, _, value = line.decode().partition("=")
                self.agreed[key] = said[key] = value
            if then is None or bhs[1] & 0x80:
                return said
            pairs = {}
        raise TargetError("the login does not come to an end")

    def send(self, head: bytes | bytearray) -> None:
        """A PDU without data."""
        self.sock.sendall(head + digest(head) if self.digests else head)

    def receive(self) -> tuple[bytes, bytes]:
        """The next PDU: header and data, its digests checked.  Waits."""
        bhs = self._take(48)
        length = int.from_bytes(bhs[5:8], "big")
        ahs = self._take(bhs[4] * 4)
        if self.digests and self._take(4) != digest(bhs + ahs):
            raise TargetError(f"wrong header digest: {bhs.hex()}")
        data = self._take(length + -length % 4)
        if self.digests and data and self._take(4) != digest(data):
            raise TargetError(f"wrong data digest: {bhs.hex()}")
        opcode = bhs[0] & 0x3F
        if opcode != R2T and (opcode != DATA_IN or bhs[1] & 1):  # those two carry none of their own
            self.exp_stat_sn = int.from_bytes(bhs[24:28], "big") + 1 & 0xFFFFFFFF
        self.max_cmd_sn = int.from_bytes(bhs[32:36], "big")
        return bhs, data[:length]

    def _take(self, count: int) -> bytes:
        if not count:
            return b""
        data = self.sock.recv(count, socket.MSG_WAITALL)
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise ConnectionError("the target closed the connection")
            data += more
        return data

    def command(self, cdb: bytes, read: int = 0) -> tuple[int, bytes]:
        """A command that reads at most one PDU of data; returns (status, data)."""
        head = bytearray(48)
        struct.pack_into(">BB6xQ", head, 0, COMMAND, 0xC1 if read else 0x81, self.url.lun << 48)
        struct.pack_into(">IIII", head, 16, 0xFFFF, read, self.cmd_sn, self.exp_stat_sn)
        head[32 : 32 + len(cdb)] = cdb
        self.cmd_sn += 1
        self.send(head)
        got = b""
        while True:
            bhs, data = self.receive()
            opcode = bhs[0] & 0x3F
            if opcode == DATA_IN:
                got += data
            if opcode == RESPONSE or (opcode == DATA_IN and bhs[1] & 1):
                return bhs[3], got

    def capacity(self) -> tuple[int, int]:
        """READ CAPACITY(10): (blocks, bytes in a block)."""
        status, data = self.command(bytes([0x25]) + bytes(9), read=8)
        if status or len(data) != 8:
            raise TargetError(f"READ CAPACITY(10) ended with status {status:02x}h")
        last, size = struct.unpack(">II", data)
        return last + 1, size

    def close(self) -> None:
        """Logs out when the target still listens, and closes."""
        try:
            self.sock.settimeout(2)
            head = bytearray(48)
            struct.pack_into(">BB", head, 0, LOGOUT | 0x40, 0x80)
            struct.pack_into(">IIII", head, 16, 0xFFFE, 0, self.cmd_sn, self.exp_stat_sn)
            self.send(head)
            while self.receive()[0][0] & 0x3F != LOGOUT_DONE:
                pass
        except (OSError, TargetError):
            pass
        finally:
            self.sock.close()

    def number(self, key: str, default: int) -> int:
        return int(self.agreed.get(key, default))

    def says(self, key: str, default: str) -> bool:
        return self.agreed.get(key, default) == "Yes"
