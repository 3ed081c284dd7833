"""What can go wrong, and what the other side must be told.

A ``PeerError`` is the initiator's doing and carries the answer it is owed; each kind is caught in exactly
one place.  An ``OperatorError`` is for the person at the command line or the API.  Any other exception that
leaves a session is our own bug.

Knows nobody: numbers are the wire's numbers, their names live in ``iscsi.constants`` and ``scsi.sense``."""

import attrs

# A note of this beginning, with 48 bytes in hex behind it, says on which PDU a crash of ours happened.
HEADER_NOTE = "PDU header "


class PeerError(Exception):
    """The initiator did something we must answer.  Never raised directly."""


@attrs.define(eq=False)
class LoginRefused(PeerError):
    """Answer with a Login Response carrying this status, then close.  RFC 7143 §11.13.5."""

    status: int  # class << 8 | detail, e.g. 0x0201
    why: str  # for our log, never for the wire

    def __str__(self) -> str:
        return f"login refused 0x{self.status:04x}: {self.why}"


@attrs.define(eq=False)
class PduRejected(PeerError):
    """Answer with a Reject PDU that quotes the header, and stay connected.  RFC 7143 §11.17."""

    reason: int
    why: str

    def __str__(self) -> str:
        return f"PDU rejected 0x{self.reason:02x}: {self.why}"


@attrs.define(eq=False)
class FramingLost(PeerError):
    """We no longer know where PDUs start, or nothing we may say would help: say nothing, close."""

    why: str
    kind: str = "malformed"  # what it is counted as: a few words of ours, never the peer's

    def __str__(self) -> str:
        return f"connection dropped: {self.why}"


@attrs.define(eq=False)
class CommandEnded(PeerError):
    """A SCSI command ends with this status and no sense data.  SAM-5 §5.3.1."""

    status: int  # 0x18 RESERVATION CONFLICT, 0x08 BUSY, 0x28 TASK SET FULL, 0x40 TASK ABORTED
    why: str = ""

    def __str__(self) -> str:
        return f"command ended with status 0x{self.status:02x}: {self.why}"


@attrs.define(eq=False)
class CheckCondition(PeerError):
    """A SCSI command ends in CHECK CONDITION with this sense.  SPC-4 §4.5."""

    key: int
    asc: int
    ascq: int
    # Where in the CDB (or, with in_cdb False, in the parameter list) the offending field starts: byte, bit.
    # None: no sense-key-specific field pointer.  SPC-4 §4.5.2.4.2.
    field: tuple[int, int | None] | None = None
    in_cdb: bool = True
    information: int | None = None  # e.g. offset of a miscompare; sets VALID
    progress: int | None = None  # 0..65535, for NOT READY / sanitize in progress
    why: str = ""

    def __str__(self) -> str:
        return f"CHECK CONDITION {self.key:X}/{self.asc:02X}{self.ascq:02X}: {self.why}"


@attrs.define(eq=False)
class OperatorError(Exception):
    """Something the operator can mend.  Says what was wrong and what to do; never a traceback."""

    what: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.what}  {self.do}".strip()
