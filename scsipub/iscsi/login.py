"""Login phase: which stage we are in and where the initiator may go next.

Source: RFC 7143 §6.3 (stages), §11.12, §11.13 (the PDUs), §11.13.5 (status codes).  Sans-IO: the 15 seconds a
login may take are counted by whoever owns the socket.

Everything that changes the stage is in ``MOVES``; the diagram in the docs is generated from it.  Tolerant of
where initiators begin (security or operational stage) and of what they repeat unchanged; strict about who
they say they are: names, session type, ISID, TSIH and CID are those of the first request until the end."""

from collections.abc import Callable, Sequence
from typing import NoReturn

import attrs

from scsipub.errors import FramingLost, LoginRefused, PduRejected
from scsipub.iscsi.constants import DEFAULT_MAX_RECV_DATA_SEGMENT, IsidType, LoginStage, LoginStatus
from scsipub.iscsi.keys import NAMES_OF_THE_NEXUS, SECURITY_KEYS
from scsipub.iscsi.login_identity import check_unchanged_untrusted, identify_untrusted
from scsipub.iscsi.login_records import (
    DISCOVERY,
    NORMAL,
    AskCatalogue,
    AskSecrets,
    AuthPolicy,
    LoginFinished,
    LoginRedirected,
    Negotiated,
    Outcome,
    Redirect,
    Respond,
    SecretsVerdict,
    TargetFound,
    Verdict,
)
from scsipub.iscsi.login_security import Security
from scsipub.iscsi.negotiation import Negotiation
from scsipub.iscsi.pdu import LoginRequest, LoginResponse
from scsipub.iscsi.text import Pair, format_text, parse_text_untrusted
from scsipub.limits import Limits

__all__ = [
    "MOVES",
    "AskCatalogue",
    "AskSecrets",
    "AuthPolicy",
    "LoginFinished",
    "LoginPhase",
    "LoginRedirected",
    "Negotiated",
    "Outcome",
    "Redirect",
    "Respond",
    "SecretsVerdict",
    "TargetFound",
    "Verdict",
]

# (stage the request says we are in, stage it asks for or None) -> stage we enter.
# A pair that is not here is answered with 0x0200, initiator error.
MOVES: dict[tuple[int, int | None], LoginStage] = {
    (LoginStage.SECURITY, None): LoginStage.SECURITY,
    (LoginStage.SECURITY, LoginStage.OPERATIONAL): LoginStage.OPERATIONAL,
    (LoginStage.SECURITY, LoginStage.FULL_FEATURE): LoginStage.FULL_FEATURE,
    (LoginStage.OPERATIONAL, None): LoginStage.OPERATIONAL,
    (LoginStage.OPERATIONAL, LoginStage.FULL_FEATURE): LoginStage.FULL_FEATURE,
}

VERSION = 0  # the only one there is


@attrs.define(kw_only=True)
class LoginPhase:
    """Living: one login on one connection.

    Give each Login Request to ``receive`` and do what the outcomes say, in order; answer a question with
    ``catalogue_says`` or ``secrets_say`` before the next request.  Any of them may raise ``LoginRefused``:
    send ``refusal(error)`` and close; or ``FramingLost``: close.  After that the object is spent."""

    limits: Limits
    random: Callable[[int], bytes]
    portal_group_tag: int = 1
    tsih: int = 1  # for a new session; never 0
    stat_sn: int = 0  # of the next response

    stage: LoginStage | None = attrs.field(default=None, init=False)
    identity: AskCatalogue | None = attrs.field(default=None, init=False)
    _request: LoginRequest = attrs.field(factory=LoginRequest, init=False)
    _first: LoginRequest | None = attrs.field(default=None, init=False)
    _pdus: int = attrs.field(default=0, init=False)
    _keys: int = attrs.field(default=0, init=False)
    _text_bytes: int = attrs.field(default=0, init=False)
    _text: bytearray = attrs.field(factory=bytearray, init=False)
    _answered: int = attrs.field(default=0, init=False)
    _pending: list[Pair] = attrs.field(factory=list, init=False)  # offers, or answers, behind a question
    _question: type[AskCatalogue] | type[AskSecrets] | None = attrs.field(default=None, init=False)
    _spent: bool = attrs.field(default=False, init=False)
    _found: TargetFound | None = attrs.field(default=None, init=False)
    _security: Security = attrs.field(init=False)
    _negotiation: Negotiation = attrs.field(init=False)
    _declared: bool = attrs.field(default=False, init=False)
    _tag_said: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._negotiation = Negotiation.begin(self.limits)
        self._security = Security(AuthPolicy(required=True), self.random)  # until the catalogue has spoken

    @property
    def principal(self) -> str | None:
        """Who has authenticated, if anybody."""
        return self._security.principal

    # -- what the owner calls ----------------------------------------------------------------------------

    def receive(self, request: LoginRequest) -> list[Outcome]:
        """The next Login Request."""
        self._request = request
        if self._question is not None:
            return self._guarded(lambda: self._refuse("a request before the answer to the last one"))
        return self._guarded(lambda: self._receive_untrusted(request))

    def catalogue_says(self, verdict: Verdict) -> list[Outcome]:
        """The answer to ``AskCatalogue``.  To refuse, do not call this but send ``refusal``."""
        self._expect(AskCatalogue)
        if isinstance(verdict, Redirect):
            self._spent = True
            response = self._response(
                status=LoginStatus.TARGET_MOVED_TEMPORARILY,
                data=format_text([("TargetAddress", verdict.address)]),
            )
            return [LoginRedirected(response=response, address=verdict.address)]
        self._found = verdict
        pairs, self._pending = self._pending, []
        return self._guarded(lambda: self._found_untrusted(verdict, pairs))

    def secrets_say(self, verdict: SecretsVerdict) -> list[Outcome]:
        """The answer to ``AskSecrets``."""
        self._expect(AskSecrets)
        answers, self._pending = self._pending, []
        return self._guarded(lambda: self._respond(answers + self._security.judged(verdict)))

    def refusal(self, error: LoginRefused) -> LoginResponse:
        """The last response: why there is no session.  Close after it."""
        self._spent = True
        return self._response(status=error.status)

    # -- one request -------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], list[Outcome]]) -> list[Outcome]:
        if self._spent:
            raise FramingLost("a login request after the login had ended", "login after its end")
        try:
            return step()
        except PduRejected as rejected:
            # §7, negotiation failures: a negotiation that fails during login ends the login.
            self._spent = True
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, rejected.why) from None
        except (LoginRefused, FramingLost):
            self._spent = True
            raise

    def _expect(self, question: type[AskCatalogue] | type[AskSecrets]) -> None:
        if self._question is not question:
            raise RuntimeError(f"nobody asked: {question.__name__}")
        self._question = None

    def _refuse(self, why: str) -> NoReturn:
        raise LoginRefused(LoginStatus.INITIATOR_ERROR, why)

    def _receive_untrusted(self, request: LoginRequest) -> list[Outcome]:
        self._count(request)
        self._check_header(request)
        if request.continued:
            self._text += request.data
            return self._respond([], moving=False)
        data = bytes(self._text) + request.data
        self._text.clear()
        try:
            pairs = parse_text_untrusted(data, self.limits)
        except PduRejected as rejected:
            # A user name may hold a NUL or half a character: that user does not exist.
            challenged = self._security.challenged
            status = LoginStatus.AUTHENTICATION_FAILURE if challenged else LoginStatus.INITIATOR_ERROR
            raise LoginRefused(status, rejected.why) from None
        self._keys += len(pairs)
        if self._keys > self.limits.login_keys:
            self._refuse(f"more than {self.limits.login_keys} keys in one login")
        if self.identity is None:
            self.identity = identify_untrusted(request, pairs, self._answered)
            self._pending = pairs
            self._question = AskCatalogue
            return [self.identity]
        return self._answer_untrusted(pairs)

    def _count(self, request: LoginRequest) -> None:
        """The bounds of a login: PDUs, bytes in one, bytes in all."""
        self._pdus += 1
        self._text_bytes += len(request.data)
        if self._pdus > self.limits.login_pdus:
            self._refuse(f"more than {self.limits.login_pdus} login requests")
        if len(request.data) > self.limits.login_pdu_bytes:
            self._refuse(f"a login request of {len(request.data)} bytes")
        if self._text_bytes > self.limits.login_text_bytes:
            self._refuse(f"more than {self.limits.login_text_bytes} bytes of login text")

    def _check_header(self, request: LoginRequest) -> None:
        if request.version_min > VERSION:
            raise LoginRefused(LoginStatus.UNSUPPORTED_VERSION, f"version {request.version_min} at least")
        if request.continued and request.transit:
            self._refuse("a request that goes on and moves on at once")
        if self.stage is not None and request.current_stage != self.stage:
            self._refuse(f"stage {request.current_stage} while in {self.stage.name}")
        if (request.current_stage, request.next_stage if request.transit else None) not in MOVES:
            self._refuse(f"no way from stage {request.current_stage} to {request.next_stage}")
        if request.isid[0] >> 6 not in set(IsidType):
            self._refuse("an ISID of a reserved type")
        if self._first is None:
            self._first = request
            self.stage = LoginStage(request.current_stage)
        first = self._first
        if (request.isid, request.tsih, request.cid) != (first.isid, first.tsih, first.cid):
            self._refuse("another ISID, TSIH or CID than at first")

    def _found_untrusted(self, found: TargetFound, pairs: Sequence[Pair]) -> list[Outcome]:
        if self._request.tsih and found.tsih != self._request.tsih:
            raise LoginRefused(LoginStatus.SESSION_DOES_NOT_EXIST, f"TSIH {self._request.tsih}")
        self._security = Security(found.auth, self.random)
        self._negotiation.discovery = self._identity().session_type == DISCOVERY
        return self._answer_untrusted(pairs)

    # -- offers and answers ------------------------------------------------------------------------------

    def _identity(self) -> AskCatalogue:
        if self.identity is None:
            raise RuntimeError("the initiator has not said who it is")
        return self.identity

    def _answer_untrusted(self, pairs: Sequence[Pair]) -> list[Outcome]:
        security: dict[str, str] = {}
        offers: list[Pair] = []
        for key, value in pairs:
            if key in SECURITY_KEYS:
                if key in security:
                    self._refuse(f"{key} twice in one request")
                security[key] = value
            elif key in NAMES_OF_THE_NEXUS:
                check_unchanged_untrusted(self._identity(), key, value)
            else:
                offers.append((key, value))
        in_stage = self.stage is LoginStage.SECURITY
        if not in_stage:
            self._security.check_may_negotiate()
        answers = self._negotiation.answer_untrusted(offers)
        more, question = self._security.receive_untrusted(security, in_stage=in_stage)
        answers += more
        if question is not None:
            self._pending = answers
            self._question = AskSecrets
            return [question]
        return self._respond(answers)

    # -- responses ---------------------------------------------------------------------------------------

    def _respond(self, answers: Sequence[Pair], *, moving: bool = True) -> list[Outcome]:
        request = self._request
        said = list(answers)
        next_stage: LoginStage | None = None
        if moving:
            if not self._tag_said and self._identity().session_type == NORMAL and not request.tsih:
                said.insert(0, ("TargetPortalGroupTag", str(self._tag())))
            self._tag_said = True
            if self.stage is LoginStage.OPERATIONAL and not self._declared:
                self._declared = True
                said.append(("MaxRecvDataSegmentLength", str(self.limits.max_recv_data_segment)))
            if request.transit and self._may_leave():
                next_stage = MOVES[request.current_stage, request.next_stage]
        last = next_stage is LoginStage.FULL_FEATURE
        response = self._response(
            transit=next_stage is not None,
            next_stage=0 if next_stage is None else next_stage,
            tsih=self._session_handle() if last else request.tsih,
            data=format_text(said),
        )
        if next_stage is not None:
            self.stage = next_stage
        if not last:
            self._answered += 1
            return [Respond(response)]
        self._spent = True
        return [LoginFinished(response=response, parameters=self._parameters(), principal=self.principal)]

    def _may_leave(self) -> bool:
        """Whether the current stage has done its work."""
        return self.stage is not LoginStage.SECURITY or self._security.may_leave_stage()

    def _tag(self) -> int:
        tag = None if self._found is None else self._found.portal_group_tag
        return self.portal_group_tag if tag is None else tag

    def _session_handle(self) -> int:
        handle = None if self._found is None else self._found.tsih
        return self._request.tsih or handle or self.tsih

    def _response(
        self,
        *,
        transit: bool = False,
        next_stage: int = 0,
        tsih: int | None = None,
        status: int = LoginStatus.SUCCESS,
        data: bytes = b"",
    ) -> LoginResponse:
        request = self._request
        opens = transit and next_stage == LoginStage.FULL_FEATURE
        response = LoginResponse(
            transit=transit,
            current_stage=request.current_stage,
            next_stage=next_stage,
            version_max=VERSION,
            version_active=VERSION,
            isid=request.isid,
            tsih=request.tsih if tsih is None else tsih,
            initiator_task_tag=request.initiator_task_tag,
            stat_sn=self.stat_sn,
            exp_cmd_sn=request.cmd_sn,  # a login request is immediate: it uses up no number
            # The window opens with the last response: how far depends on what the target is.
            max_cmd_sn=(request.cmd_sn + (self.limits.command_window - 1 if opens else 0)) & 0xFFFFFFFF,
            status=status,
            data=data,
        )
        self.stat_sn = (self.stat_sn + 1) & 0xFFFFFFFF
        return response

    def _parameters(self) -> Negotiated:
        identity, values = self._identity(), self._negotiation.values
        return Negotiated(
            session_type=identity.session_type,
            initiator_name=identity.initiator_name,
            initiator_alias=identity.initiator_alias,
            target_name=identity.target_name,
            isid=identity.isid,
            tsih=self._session_handle(),
            cid=identity.cid,
            cmd_sn=self._request.cmd_sn,
            stat_sn=self.stat_sn,
            portal_group_tag=self._tag(),
            principal=self.principal,
            header_digest=values["HeaderDigest"] == "CRC32C",
            data_digest=values["DataDigest"] == "CRC32C",
            # Before we declare ours, the initiator goes by the default.
            max_recv_data_segment=(
                self.limits.max_recv_data_segment if self._declared else DEFAULT_MAX_RECV_DATA_SEGMENT
            ),
            max_xmit_data_segment=int(values["MaxRecvDataSegmentLength"]),
            first_burst=int(values["FirstBurstLength"]),
            max_burst=int(values["MaxBurstLength"]),
            initial_r2t=bool(values["InitialR2T"]),
            immediate_data=bool(values["ImmediateData"]),
            max_connections=int(values["MaxConnections"]),
            max_outstanding_r2t=int(values["MaxOutstandingR2T"]),
            data_pdu_in_order=bool(values["DataPDUInOrder"]),
            data_sequence_in_order=bool(values["DataSequenceInOrder"]),
            error_recovery_level=int(values["ErrorRecoveryLevel"]),
            time2wait=int(values["DefaultTime2Wait"]),
            time2retain=int(values["DefaultTime2Retain"]),
        )
