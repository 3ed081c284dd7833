"""Entry: the login phase of one connection, as ``scsipub.worker.login`` runs it, and its referee.

Source: RFC 7143 §6.3, §11.13.  The catalogue knows four targets: one for everybody, one that wants CHAP,
one that has moved, one for discovery; the rest do not exist."""

import random
from collections import Counter

from fuzz.find import Find
from scsipub.errors import FramingLost, LoginRefused, PeerError
from scsipub.iscsi import chap
from scsipub.iscsi.constants import ChapAlgorithm
from scsipub.iscsi.keys import KEYS
from scsipub.iscsi.login import LoginPhase
from scsipub.iscsi.login_records import (
    AskCatalogue,
    AskSecrets,
    AuthPolicy,
    LoginFinished,
    LoginRedirected,
    Outcome,
    Redirect,
    Respond,
    TargetFound,
)
from scsipub.iscsi.pdu import LoginRequest, LoginResponse
from scsipub.limits import Limits

TARGET = "iqn.2025-01.pub.scsipub:blank"
LOCKED = "iqn.2025-01.pub.scsipub:locked"
MOVED = "iqn.2025-01.pub.scsipub:moved"
USER = "alice"
ALICE = chap.Account(
    principal="tenant-1", secret=b"correct horse ba", mutual_name="scsipub", mutual_secret=b"battery staple 1"
)
PROOF = b"@R@"  # in the text of a step: replaced by the right response to the last challenge
# Keys that a target may say without having been asked.
UNASKED = {"TargetPortalGroupTag", "MaxRecvDataSegmentLength", "TargetAddress", "AuthMethod", "CHAP_A",
           "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"}  # fmt: skip


class Entry:
    """``receive`` until it is ``over``, or has given back how the login finished."""

    def __init__(self, limits: Limits, number: int, seen: Counter[tuple[str, str]]) -> None:
        self.limits = limits
        self.seen = seen
        self.phase = LoginPhase(limits=limits, random=random.Random(number).randbytes, tsih=number)
        self.over = False
        self.answers = 0
        self.stat_sn = 0
        self.locked = False  # the target wants CHAP
        self.trusted = False  # and has had it
        self.offered: set[str] = set()
        self.challenge: dict[str, str] = {}

    def receive(self, data: bytes) -> tuple[int, LoginFinished | None]:
        """Bytes of the first PDU, 0 when it is not whole; and the end of the login, if this was it."""
        if data and data[0] != 0x43:
            return self._refused("not a login")
        if len(data) < 48:
            return 0, None
        ahs, length = data[4] * 4, int.from_bytes(data[5:8])
        if length > self.limits.login_pdu_bytes:
            return self._refused("too long")
        size = 48 + ahs + length + -length % 4
        if len(data) < size:
            return 0, None
        text = data[48 + ahs : 48 + ahs + length]
        self.offered |= {pair.split(b"=")[0].decode("latin-1") for pair in text.split(b"\0")}
        try:
            request = LoginRequest.unpack_untrusted(data[:48], data=text, ahs=data[48 : 48 + ahs])
            finished = self._follow(request, self.phase.receive(request))
        except LoginRefused as refused:
            self._heard(self.phase.refusal(refused), refused.status)
            return self._refused(f"{refused.status:04x}h")[0] or size, None
        except FramingLost as lost:
            return self._refused(lost.why)
        except Find:
            raise
        except PeerError as error:
            raise Find("escaped", f"{error!r} from a login") from error
        except Exception as error:
            raise Find("exception", f"{error!r} in a login") from error
        if finished is not None and self.locked and not self.trusted:
            raise Find("login", "into a target that wants CHAP, without it")
        return size, finished

    def _refused(self, why: str) -> tuple[int, None]:
        self.over = True
        self.seen["Login Request", f"refused: {why}"] += 1
        return 0, None

    def _follow(self, request: LoginRequest, outcomes: list[Outcome]) -> LoginFinished | None:
        while outcomes:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Respond | LoginFinished | LoginRedirected):
                status = 0x0101 if isinstance(outcome, LoginRedirected) else 0
                self._heard(outcome.response, status, request)
                if isinstance(outcome, LoginFinished):
                    self._bounds(outcome)
                    self.seen["Login Request", "finished"] += 1
                    return outcome
                if status:
                    self._refused("moved")
            elif isinstance(outcome, AskCatalogue):
                outcomes += self.phase.catalogue_says(self._resolve(outcome))
            elif isinstance(outcome, AskSecrets):
                account = ALICE if outcome.chap_name == USER else None
                verdict = chap.judge(outcome, account)
                self.trusted = verdict.ok
                outcomes += self.phase.secrets_say(verdict)
        return None

    def _resolve(self, asked: AskCatalogue) -> TargetFound | Redirect:
        if asked.session_type == "Discovery" or asked.target_name == TARGET:
            return TargetFound()
        if asked.target_name == LOCKED:
            self.locked = True
            policy = AuthPolicy(required=True, algorithms=chap.at_least(ChapAlgorithm.MD5), mutual=True)
            return TargetFound(auth=policy)
        if asked.target_name == MOVED:
            return Redirect("192.0.2.1:3260")
        raise LoginRefused(0x0203, "no such target")

    # -- the referee of logins ---------------------------------------------------------------------------

    def _heard(self, it: LoginResponse, status: int, request: LoginRequest | None = None) -> None:
        self.answers += 1
        if self.answers > self.limits.login_pdus + 1:
            raise Find("login", f"{self.answers} answers")
        if it.status != status or it.stat_sn != self.stat_sn or len(it.data) > 8192:
            raise Find("login", f"{it!r}")
        self.stat_sn += 1
        if request is not None:
            mine = (it.initiator_task_tag, it.isid, it.exp_cmd_sn, it.current_stage)
            theirs = (request.initiator_task_tag, request.isid, request.cmd_sn, request.current_stage)
            if mine != theirs or (it.transit and not request.transit):
                raise Find("login", f"{it!r} to {request!r}")
        pairs: dict[str, str] = {}
        for line in it.data.split(b"\0")[:-1]:
            key, equals, value = line.decode("ascii").partition("=")
            if not equals or (key in pairs and key in KEYS) or key not in self.offered | UNASKED:
                raise Find("login", f"{line!r} in an answer, offered were {sorted(self.offered)}")
            pairs[key] = value
        self.challenge |= {k: v for k, v in pairs.items() if k.startswith("CHAP_")}
        self.seen["Login Request", "answered"] += 1

    def _bounds(self, finished: LoginFinished) -> None:
        n, low, high = finished.parameters, 512, 2**24 - 1
        sizes = (n.first_burst, n.max_burst, n.max_xmit_data_segment)
        if not all(low <= size <= high for size in sizes) or n.first_burst > n.max_burst:
            raise Find("login", f"agreed on {n!r}")
        if (n.max_connections, n.max_outstanding_r2t, n.error_recovery_level) != (1, 1, 0):
            raise Find("login", f"agreed on {n!r}")
        if not finished.response.tsih or not finished.response.transit:
            raise Find("login", f"{finished.response!r}")

    def proved(self, text: bytes) -> bytes:
        """``text`` with the right response to the target's challenge in it."""
        if PROOF not in text or not {"CHAP_I", "CHAP_C", "CHAP_A"} <= set(self.challenge):
            return text
        algorithm = ChapAlgorithm(int(self.challenge["CHAP_A"]))
        challenge = chap.decode_binary_untrusted(self.challenge["CHAP_C"], 1024)
        proof = chap.digest(algorithm, int(self.challenge["CHAP_I"]), ALICE.secret, challenge)
        return text.replace(PROOF, chap.encode_binary(proof).encode())
