"""Text keys: what may be negotiated, and how two offers become one value.

Source: RFC 7143 §6.2 (negotiation), §12 (security keys), §13 (the rest).  Pure: no PDUs, no stages; ``login``
and ``text_exchange`` decide which keys they let through here.  ``docs/protocol.md`` shows this table."""

import enum
import functools
import re
from collections.abc import Mapping

import attrs

from scsipub.errors import PduRejected
from scsipub.iscsi.constants import DEFAULT_MAX_RECV_DATA_SEGMENT, RejectReason
from scsipub.iscsi.text import printable
from scsipub.limits import Limits

Value = int | bool | str

NOT_UNDERSTOOD = "NotUnderstood"
IRRELEVANT = "Irrelevant"
REJECT = "Reject"
RESERVED_VALUES = frozenset({NOT_UNDERSTOOD, IRRELEVANT, REJECT})  # §6.2: answers, never offers

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}")


class Combine(enum.Enum):
    """How what the initiator offers and what we want become one value.  §6.2"""

    MIN = "the smaller"
    MAX = "the larger"
    AND = "Yes if both say so"
    OR = "Yes if one says so"
    FIRST = "the first of the initiator's list that we support"
    DECLARED = "declared: no answer"
    OBSOLETE = "obsolete: a fixed answer"
    ELSEWHERE = "not negotiated here"


class Use(enum.Enum):
    """When a key may be sent: the ``Use`` line of its section."""

    INITIAL = "the first request"
    LEADING = "login of a new session"
    LOGIN = "login"
    FULL_FEATURE = "full feature phase"
    ANY = "any phase"


class Sender(enum.Enum):
    """Who may say it."""

    INITIATOR = "initiator"
    TARGET = "target"
    BOTH = "both"


@functools.lru_cache(maxsize=256)
def _number(text: str) -> int:
    """Initiators ask for the same few numbers: ten thousand sessions need not have each its own."""
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)


@attrs.frozen
class Number:
    """A number between two bounds, written in decimal or 0x form."""

    low: int
    high: int

    def parse_untrusted(self, key: str, text: str) -> int:
        """The number, if it is one.  May lie outside the bounds; combining sees to that."""
        if not _NUMBER.fullmatch(text):
            raise inadmissible(key, text)
        return _number(text)


@attrs.frozen
class Boolean:
    """Yes or No."""

    def parse_untrusted(self, key: str, text: str) -> bool:
        """True for Yes."""
        if text not in ("Yes", "No"):
            raise inadmissible(key, text)
        return text == "Yes"


@attrs.frozen
class Choice:
    """A list in the initiator's order of preference; ``supported`` is what we would take of it."""

    supported: tuple[str, ...]


@attrs.frozen
class Text:
    """A name or free text."""


@attrs.frozen
class Key:
    """One row of the RFC's chapters 12 and 13."""

    section: str
    type: Number | Boolean | Choice | Text
    combine: Combine
    default: Value | None = None
    use: Use = Use.LEADING
    sender: Sender = Sender.BOTH
    irrelevant_in_discovery: bool = False
    answer: str = ""  # of an obsolete key


_SEGMENT = Number(512, 2**24 - 1)
_DIGESTS = Choice(("CRC32C", "None"))


def _normal(section: str, kind: Number | Boolean | Choice, combine: Combine, default: Value) -> Key:
    """A key that only sessions with SCSI commands need."""
    return Key(section, kind, combine, default, irrelevant_in_discovery=True)


def _said(section: str, use: Use, sender: Sender) -> Key:
    """A key that states something and is not answered."""
    return Key(section, Text(), Combine.DECLARED, use=use, sender=sender)


def _security(section: str) -> Key:
    """A key of the security stage; ``chap_exchange`` and ``login`` look after these."""
    return Key(section, Text(), Combine.ELSEWHERE, use=Use.LOGIN)


KEYS: Mapping[str, Key] = {
    # -- who talks to whom -------------------------------------------------------------------------------
    "InitiatorName": _said("13.5", Use.INITIAL, Sender.INITIATOR),
    "InitiatorAlias": _said("13.7", Use.ANY, Sender.INITIATOR),
    "TargetName": _said("13.4", Use.INITIAL, Sender.BOTH),
    "SessionType": Key("13.21", Text(), Combine.DECLARED, "Normal", Use.INITIAL, Sender.INITIATOR),
    "TargetAlias": _said("13.6", Use.ANY, Sender.TARGET),
    "TargetAddress": _said("13.8", Use.ANY, Sender.TARGET),
    "TargetPortalGroupTag": Key(
        "13.9", Number(0, 65535), Combine.DECLARED, use=Use.INITIAL, sender=Sender.TARGET
    ),
    "SendTargets": Key("13.3", Text(), Combine.ELSEWHERE, use=Use.FULL_FEATURE, sender=Sender.INITIATOR),
    "X#NodeArchitecture": _said("13.26", Use.LOGIN, Sender.BOTH),
    # -- security ----------------------------------------------------------------------------------------
    "AuthMethod": Key("12", Choice(("CHAP", "None")), Combine.ELSEWHERE, use=Use.LOGIN),
    "CHAP_A": _security("12.1.3"),
    "CHAP_I": _security("12.1.3"),
    "CHAP_C": _security("12.1.3"),
    "CHAP_N": _security("12.1.3"),
    "CHAP_R": _security("12.1.3"),
    # -- the connection ----------------------------------------------------------------------------------
    "HeaderDigest": Key("13.1", _DIGESTS, Combine.FIRST, "None", Use.LOGIN),
    "DataDigest": Key("13.1", _DIGESTS, Combine.FIRST, "None", Use.LOGIN),
    "MaxRecvDataSegmentLength": Key(
        "13.12", _SEGMENT, Combine.DECLARED, DEFAULT_MAX_RECV_DATA_SEGMENT, Use.ANY
    ),
    # -- the session -------------------------------------------------------------------------------------
    "MaxConnections": _normal("13.2", Number(1, 65535), Combine.MIN, 1),
    "InitialR2T": _normal("13.10", Boolean(), Combine.OR, True),
    "ImmediateData": _normal("13.11", Boolean(), Combine.AND, True),
    "MaxBurstLength": _normal("13.13", _SEGMENT, Combine.MIN, 262144),
    "FirstBurstLength": _normal("13.14", _SEGMENT, Combine.MIN, 65536),
    "DefaultTime2Wait": Key("13.15", Number(0, 3600), Combine.MAX, 2),
    "DefaultTime2Retain": Key("13.16", Number(0, 3600), Combine.MIN, 20),
    "MaxOutstandingR2T": _normal("13.17", Number(1, 65535), Combine.MIN, 1),
    "DataPDUInOrder": _normal("13.18", Boolean(), Combine.OR, True),
    "DataSequenceInOrder": _normal("13.19", Boolean(), Combine.OR, True),
    "ErrorRecoveryLevel": Key("13.20", Number(0, 2), Combine.MIN, 0),
    "TaskReporting": _normal("13.23", Choice(("RFC3720",)), Combine.FIRST, "RFC3720"),
    "iSCSIProtocolLevel": _normal("13.24", Number(0, 31), Combine.MIN, 1),
    # -- obsolete: §13.25 forbids NotUnderstood; for the markers it allows No, which every initiator takes -
    "IFMarker": Key("13.25", Boolean(), Combine.OBSOLETE, False, Use.LOGIN, answer="No"),
    "OFMarker": Key("13.25", Boolean(), Combine.OBSOLETE, False, Use.LOGIN, answer="No"),
    "IFMarkInt": Key("13.25", Text(), Combine.OBSOLETE, None, Use.LOGIN, answer=REJECT),
    "OFMarkInt": Key("13.25", Text(), Combine.OBSOLETE, None, Use.LOGIN, answer=REJECT),
}

NAMES_OF_THE_NEXUS = frozenset({"InitiatorName", "TargetName", "SessionType"})
SECURITY_KEYS = frozenset(name for name, key in KEYS.items() if key.section.startswith("12"))
DEFAULTS: Mapping[str, Value] = {
    name: key.default
    for name, key in KEYS.items()
    if key.default is not None and key.combine not in (Combine.OBSOLETE, Combine.ELSEWHERE)
}


def wanted(limits: Limits) -> Mapping[str, Value]:
    """What we would choose alone.  Against an initiator's offer it can only become less."""
    return {
        "MaxConnections": 1,
        "InitialR2T": False,  # one round trip less for every write, if the initiator likes
        "ImmediateData": True,
        "MaxBurstLength": limits.max_burst,
        "FirstBurstLength": min(limits.first_burst, limits.max_burst),
        "DefaultTime2Wait": 0,  # at ErrorRecoveryLevel 0 there is nothing to wait for ...
        "DefaultTime2Retain": 0,  # ... and nothing is kept
        "MaxOutstandingR2T": 1,
        "DataPDUInOrder": True,
        "DataSequenceInOrder": True,
        "ErrorRecoveryLevel": 0,
        "iSCSIProtocolLevel": 1,  # RFC 7143 itself
    }


def negotiate_untrusted(key: str, text: str, ours: Value | None = None) -> tuple[str | None, Value | None]:
    """The answer we owe to an offer (None: none), and the value now in force (None: as before).

    ``ours`` is our side of a number or a boolean.  An offer with a legal meaning is brought into bounds,
    never refused; one without is ``PduRejected``, which ends a login (§7, negotiation failures)."""
    row = KEYS.get(key)
    if row is None:
        # §6.2: the answer to an answer is none.
        return (None if text in RESERVED_VALUES else NOT_UNDERSTOOD), None
    if row.sender is Sender.TARGET:
        raise PduRejected(RejectReason.PROTOCOL_ERROR, f"{key} is for targets to say")
    kind = row.type
    match row.combine:
        case Combine.OBSOLETE:
            return row.answer, row.default
        case Combine.FIRST:
            supported = kind.supported if isinstance(kind, Choice) else ()
            chosen = next((option for option in text.split(",") if option in supported), None)
            if chosen is None:
                raise inadmissible(key, text)
            return chosen, chosen
        case Combine.DECLARED if isinstance(kind, Number):
            declared = kind.parse_untrusted(key, text)
            if declared < kind.low:
                raise inadmissible(key, text)
            return None, min(declared, kind.high)
        case Combine.DECLARED:
            return None, text
        case Combine.AND | Combine.OR if isinstance(kind, Boolean):
            offered = kind.parse_untrusted(key, text)
            agreed = (offered and bool(ours)) if row.combine is Combine.AND else (offered or bool(ours))
            return ("Yes" if agreed else "No"), agreed
        case Combine.MIN | Combine.MAX if isinstance(kind, Number):
            number = kind.parse_untrusted(key, text)
            if number < kind.low:
                raise inadmissible(key, text)
            own = kind.high if ours is None else int(ours)
            value = min(number, own) if row.combine is Combine.MIN else min(max(number, own), kind.high)
            return str(value), value
    raise PduRejected(RejectReason.PROTOCOL_ERROR, f"{key} has no place here")


def inadmissible(key: str, text: str) -> PduRejected:
    """An offer without a legal meaning.  §7"""
    return PduRejected(RejectReason.PROTOCOL_ERROR, f"{key}={printable(text, 40)} is not admissible")
