"""Text requests after login: SendTargets, and the few keys that may be said again.

Source: RFC 7143 §4.4 and appendix C (SendTargets), §6.4 (negotiation in full feature phase), §11.10, §11.11.
Collects texts in parts and gives long answers in parts, both bounded.  Does not know which targets there are:
it asks.  The numbers in the responses (StatSN, ExpCmdSN, MaxCmdSN) are left at 0 for the session to fill in.

RFC 7143 wants NotUnderstood for every unknown key.  A request made of nothing but unknown keys that are not
vendors' own is rejected instead: it is a typing error, and libiscsi waits for ever behind a NotUnderstood."""

import enum
from collections.abc import Sequence

import attrs

from scsipub.errors import FramingLost, LoginRefused, PduRejected
from scsipub.iscsi.constants import RESERVED_TAG, RejectReason
from scsipub.iscsi.keys import KEYS, Use, negotiate_untrusted
from scsipub.iscsi.login_records import Negotiated
from scsipub.iscsi.names import target_name_untrusted
from scsipub.iscsi.pdu import TextRequest, TextResponse
from scsipub.iscsi.text import Pair, format_text, parse_text_untrusted, printable
from scsipub.limits import Limits

ALL = "All"
_AGAIN = frozenset(name for name, key in KEYS.items() if key.use is Use.ANY)


class Scope(enum.Enum):
    """Which targets a SendTargets asks about."""

    ALL = "those this initiator may see"
    ONE = "the one it names, if this initiator may see it"


@attrs.frozen
class AskTargets:
    """Which targets may be shown?  Answer with ``targets_say``.  ``name`` is set when ``scope`` is ONE."""

    scope: Scope
    name: str | None = None


@attrs.frozen
class TargetRecord:
    """A target as SendTargets shows it.  No address: the initiator uses the portal it asked."""

    name: str
    addresses: tuple[str, ...] = ()  # "host:port,portal-group-tag"

    def pairs(self) -> list[Pair]:
        """Its keys in the order of appendix C."""
        return [("TargetName", self.name), *(("TargetAddress", address) for address in self.addresses)]


@attrs.define
class TextExchange:
    """Living: the text requests of one connection.  One exchange at a time."""

    limits: Limits
    parameters: Negotiated
    max_xmit_data_segment: int = attrs.field(init=False)  # changes when the initiator says so
    _requests: int = attrs.field(default=0, init=False)
    _next_tag: int = attrs.field(default=1, init=False)
    _tag: int | None = attrs.field(default=None, init=False)  # of the exchange under way
    _task_tag: int = attrs.field(default=0, init=False)
    _text: bytearray = attrs.field(factory=bytearray, init=False)
    _unsent: bytes = attrs.field(default=b"", init=False)
    _declared: int | None = attrs.field(default=None, init=False)
    _asked: tuple[TextRequest, list[Pair]] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.max_xmit_data_segment = self.parameters.max_xmit_data_segment

    def receive_untrusted(self, request: TextRequest) -> TextResponse | AskTargets:
        """The next Text Request.  ``PduRejected`` ends the exchange, what was declared in it is forgotten."""
        if self._asked is not None:
            raise PduRejected(RejectReason.TASK_IN_PROGRESS, "a text request behind an unanswered one")
        try:
            return self._receive_untrusted(request)
        except PduRejected:
            self._reset()
            raise

    def targets_say(self, targets: Sequence[TargetRecord]) -> TextResponse:
        """The answer to ``AskTargets``, as long as it fits ``discovery_reply_bytes``."""
        if self._asked is None:
            raise RuntimeError("nobody asked for targets")
        (request, answers), self._asked = self._asked, None
        text = bytearray(format_text(answers))
        for target in targets:
            record = format_text(target.pairs())
            if len(text) + len(record) > self.limits.discovery_reply_bytes:
                break
            text += record
        return self._respond(request, bytes(text))

    def _receive_untrusted(self, request: TextRequest) -> TextResponse | AskTargets:
        if request.continued and request.final:
            raise PduRejected(RejectReason.PROTOCOL_ERROR, "a text that goes on and is final at once")
        if request.target_transfer_tag == RESERVED_TAG:
            self._reset()  # §11.10.4: begins anew, whatever was under way
            self._task_tag = request.initiator_task_tag
        elif (request.target_transfer_tag, request.initiator_task_tag) != (self._tag, self._task_tag):
            raise PduRejected(RejectReason.PROTOCOL_ERROR, "a text request of no exchange under way")
        if self._unsent and not request.data:
            return self._respond(request, self._unsent)
        if self._unsent:
            raise PduRejected(RejectReason.PROTOCOL_ERROR, "text behind an answer not yet fetched")
        self._count(request)
        self._text += request.data
        if request.continued:
            return self._respond(request, b"")
        data = bytes(self._text)
        self._text.clear()
        return self._answer_untrusted(request, parse_text_untrusted(data, self.limits))

    def _count(self, request: TextRequest) -> None:
        self._requests += 1
        if self._requests > self.limits.discovery_pdus:
            if self.parameters.discovery:
                raise FramingLost(
                    f"more than {self.limits.discovery_pdus} text requests", "too many text requests"
                )
            raise PduRejected(RejectReason.OUT_OF_RESOURCES, "an exchange of too many text requests")
        if len(self._text) + len(request.data) > self.limits.login_text_bytes:
            raise PduRejected(RejectReason.OUT_OF_RESOURCES, "a text of too many bytes")

    def _answer_untrusted(self, request: TextRequest, pairs: Sequence[Pair]) -> TextResponse | AskTargets:
        answers: list[Pair] = []
        question: AskTargets | list[TargetRecord] | None = None
        for key, value in pairs:
            if key == "SendTargets":
                if question is not None:
                    raise PduRejected(RejectReason.PROTOCOL_ERROR, "SendTargets twice in one request")
                question = self._which_targets_untrusted(value)
            elif key in KEYS and key not in _AGAIN:
                raise PduRejected(RejectReason.PROTOCOL_ERROR, f"{key} after login")
            else:
                answer, number = negotiate_untrusted(key, value)
                if answer is not None:
                    answers.append((key, answer))
                if key == "MaxRecvDataSegmentLength" and number is not None:
                    self._declared = int(number)
        if pairs and len(answers) == len(pairs) and not any(key.startswith("X-") for key, _ in pairs):
            raise PduRejected(RejectReason.INVALID_PDU_FIELD, f"no key we know: {printable(pairs[0][0], 40)}")
        if isinstance(question, AskTargets):
            self._asked = (request, answers)
            return question
        if question is not None:
            self._asked = (request, answers)
            return self.targets_say(question)
        return self._respond(request, format_text(answers))

    def _which_targets_untrusted(self, value: str) -> AskTargets | list[TargetRecord]:
        """What to ask for; or that there is nothing to see, which needs no asking."""
        current = self.parameters.target_name
        if self.parameters.discovery:
            if value == ALL:
                return AskTargets(Scope.ALL)
            if not value:
                raise PduRejected(RejectReason.INVALID_PDU_FIELD, "SendTargets without a name in a discovery")
            return AskTargets(Scope.ONE, _name_untrusted(value))
        # In a normal session only its own target is shown.  Appendix C allows the empty value and the
        # target's own name there; All is common (libiscsi asks so) and means the same.
        if value in ("", ALL) or _name_untrusted(value) == current:
            return AskTargets(Scope.ONE, current)
        return []

    def _respond(self, request: TextRequest, text: bytes) -> TextResponse:
        part, self._unsent = text[: self.max_xmit_data_segment], text[self.max_xmit_data_segment :]
        continued = bool(self._unsent)
        final = request.final and not continued
        if final:
            tag = RESERVED_TAG
            if self._declared is not None:
                self.max_xmit_data_segment = self._declared  # §6.4: in force once the exchange is over
            self._reset()
        else:
            if self._tag is None:
                self._tag = self._next_tag
                self._next_tag = self._next_tag % 0xFFFF + 1
            tag = self._tag
        return TextResponse(
            final=final,
            continued=continued,
            initiator_task_tag=request.initiator_task_tag,
            target_transfer_tag=tag,
            data=part,
        )

    def _reset(self) -> None:
        self._tag = None
        self._text.clear()
        self._unsent = b""
        self._declared = None
        if not self.parameters.discovery:
            self._requests = 0


def _name_untrusted(value: str) -> str:
    try:
        return target_name_untrusted(value)
    except LoginRefused as refused:
        raise PduRejected(RejectReason.INVALID_PDU_FIELD, f"SendTargets: {refused.why}") from None
