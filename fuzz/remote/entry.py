"""The login phase from the initiator's side: what was offered, what came back, what that means.

Source: RFC 7143 §6.2 (negotiation), §6.3 (stages), §11.13, §12.1.3 (CHAP).  No sockets."""

import base64
import hashlib

from fuzz.entry import PROOF
from fuzz.find import Find
from fuzz.hearing import Facts
from fuzz.remote.link import Answer

LOGIN_RESPONSE = 0x23
ALGORITHMS = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}
DEFAULTS = {"MaxBurstLength": 262144, "FirstBurstLength": 65536, "MaxRecvDataSegmentLength": 8192}
STAGES = {0: (1, 3), 1: (3,)}


class Entry:
    """``said`` each request, ``heard`` each answer, until ``over`` or until that gives back facts."""

    def __init__(self, secret: str = "") -> None:
        self.secret = secret.encode()
        self.over = False
        self.status = 0
        self.odd = False  # something was said that no honest initiator says
        self.offered: dict[str, str] = {}
        self.answered: dict[str, str] = {}
        self.request = bytes(48)
        self.stat_sn: int | None = None
        self.max_cmd_sn = 0
        self.facts: Facts | None = None

    def said(self, wire: bytes) -> None:
        """The whole Login Request that is about to go out."""
        self.request = wire[:48].ljust(48, b"\0")
        self.offered |= pairs(wire[48 + self.request[4] * 4 :])

    def heard(self, answer: Answer) -> Facts | None:
        """Judge one answer; the session's facts when it has begun."""
        if answer.opcode != LOGIN_RESPONSE:
            if not self.odd:
                raise Find("login: no Login Response", f"opcode {answer.opcode:02x}h instead")
            self.over = answer.opcode != 0x3F
            return None
        self.status = int.from_bytes(answer.header[36:38])
        self._numbers(answer)
        self.answered |= pairs(answer.data)
        if self.status:
            self.over = True
            return None
        asked, told = self.request[1], answer.header[1]
        if not self.odd:
            self._stages(asked, told)
        if asked & told & 0x80 and told & 3 == 3:
            self.facts = self._agreed(answer)
            self.max_cmd_sn = answer.word(32)
        return self.facts

    def _numbers(self, answer: Answer) -> None:
        stat_sn = answer.word(24)
        if self.odd:
            return
        if answer.tag != int.from_bytes(self.request[16:20]):
            raise Find("login: other task tag", f"{answer.tag:08x} answers {self.request[16:20].hex()}")
        if answer.header[8:14] != self.request[8:14]:
            raise Find("login: other ISID", answer.header.hex())
        if not self.status and self.stat_sn is not None and stat_sn != (self.stat_sn + 1) & 0xFFFFFFFF:
            raise Find("login: StatSN", f"{stat_sn:08x} after {self.stat_sn:08x}")
        self.stat_sn = stat_sn

    def _stages(self, asked: int, told: int) -> None:
        if told & 0x80 and not asked & 0x80:
            raise Find("login: T without being asked", f"flags {told:02x}h to {asked:02x}h")
        if told >> 2 & 3 != asked >> 2 & 3 or (told & 0x80 and told & 3 > asked & 3):
            raise Find("login: stage", f"flags {told:02x}h to {asked:02x}h")

    def _agreed(self, answer: Answer) -> Facts:
        mine, theirs = self.offered, self.answered

        def least(key: str) -> int:
            return min(_number(mine.get(key), DEFAULTS[key]), _number(theirs.get(key), (1 << 24) - 1))

        def yes(key: str) -> list[bool]:
            default = mine.get(key, "Yes")
            return [default == "Yes", theirs.get(key, default) == "Yes"]

        burst = least("MaxBurstLength")
        return Facts(
            header_digest=theirs.get("HeaderDigest") == "CRC32C" and "HeaderDigest" in mine,
            data_digest=theirs.get("DataDigest") == "CRC32C" and "DataDigest" in mine,
            max_send=_number(theirs.get("MaxRecvDataSegmentLength"), 8192),
            max_receive=_number(mine.get("MaxRecvDataSegmentLength"), 8192),
            first_burst=min(burst, least("FirstBurstLength")),
            max_burst=burst,
            initial_r2t=any(yes("InitialR2T")),
            immediate_data=all(yes("ImmediateData")),
            cid=int.from_bytes(self.request[20:22]),
            cmd_sn=int.from_bytes(self.request[24:28]),
            stat_sn=(answer.word(24) + 1) & 0xFFFFFFFF,
            discovery=mine.get("SessionType") == "Discovery",
        )

    def proved(self, text: bytes) -> bytes:
        """``text`` with the right response to the target's challenge in it."""
        asked = self.answered
        if PROOF not in text or not {"CHAP_A", "CHAP_I", "CHAP_C"} <= set(asked):
            return text
        challenge = asked["CHAP_C"]
        raw = bytes.fromhex(challenge[2:]) if challenge[1:2] in "xX" else base64.b64decode(challenge[2:])
        hashed = hashlib.new(ALGORITHMS.get(asked["CHAP_A"], "md5"), usedforsecurity=False)
        hashed.update(bytes((int(asked["CHAP_I"], 0) & 255,)) + self.secret + raw)
        return text.replace(PROOF, b"0x" + hashed.hexdigest().encode())


def pairs(text: bytes) -> dict[str, str]:
    """Text keys as they come, whatever is in them."""
    lines = [line.decode("latin-1").partition("=") for line in text.split(b"\0") if line]
    return {key: value for key, equals, value in lines if equals}


def _number(value: str | None, default: int) -> int:
    """Inside the bounds that all sizes have: beyond them anything might have been agreed on."""
    try:
        number = int(value, 0) if value is not None else default
    except ValueError:
        return default
    return number if 512 <= number < 1 << 24 else default
