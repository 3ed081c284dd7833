"""All PDUs of both directions, and the door from an opcode to its class.

Source: RFC 7143 §11.  The classes live in ``pdu_initiator`` and ``pdu_target``, their codec in ``pdu_base``;
everybody else imports them from here."""

from collections.abc import Mapping

from scsipub.errors import FramingLost, PduRejected
from scsipub.iscsi.constants import BHS_LENGTH, RejectReason
from scsipub.iscsi.pdu_base import (
    Buffer,
    InitiatorPdu,
    Pdu,
    Place,
    TargetPdu,
    additional_headers_untrusted,
    extended_cdb,
    padding,
    places,
    wire,
)
from scsipub.iscsi.pdu_initiator import (
    INITIATOR_PDU_CLASSES,
    DataOut,
    LoginRequest,
    LogoutRequest,
    NopOut,
    ScsiCommand,
    SnackRequest,
    TaskManagementRequest,
    TextRequest,
)
from scsipub.iscsi.pdu_target import (
    TARGET_PDU_CLASSES,
    AsyncMessage,
    DataIn,
    LoginResponse,
    LogoutResponse,
    NopIn,
    ReadyToTransfer,
    Reject,
    ScsiResponse,
    TaskManagementResponse,
    TextResponse,
)

__all__ = [
    "INITIATOR_PDUS",
    "TARGET_PDUS",
    "AsyncMessage",
    "Buffer",
    "DataIn",
    "DataOut",
    "InitiatorPdu",
    "LoginRequest",
    "LoginResponse",
    "LogoutRequest",
    "LogoutResponse",
    "NopIn",
    "NopOut",
    "Pdu",
    "Place",
    "ReadyToTransfer",
    "Reject",
    "ScsiCommand",
    "ScsiResponse",
    "SnackRequest",
    "TargetPdu",
    "TaskManagementRequest",
    "TaskManagementResponse",
    "TextRequest",
    "TextResponse",
    "additional_headers_untrusted",
    "extended_cdb",
    "padding",
    "parse_untrusted",
    "places",
    "wire",
]

INITIATOR_PDUS: Mapping[int, type[InitiatorPdu]] = {int(c.OPCODE): c for c in INITIATOR_PDU_CLASSES}
TARGET_PDUS: Mapping[int, type[TargetPdu]] = {int(c.OPCODE): c for c in TARGET_PDU_CLASSES}


def parse_untrusted(
    bhs: Buffer, ahs: Buffer = b"", data: Buffer = b"", *, from_initiator: bool = True
) -> Pdu:
    """Read a header and what came with it, as framing cut them.

    An opcode that this side may not send is rejected as a command not supported: the length fields of an
    unknown PDU lie where they lie in every other, so nothing is lost but that PDU."""
    if len(bhs) != BHS_LENGTH:
        raise FramingLost(f"a header of {len(bhs)} bytes")
    opcode = bhs[0] & 0x3F
    known: Mapping[int, type[Pdu]] = INITIATOR_PDUS if from_initiator else TARGET_PDUS
    if opcode not in known:
        raise PduRejected(RejectReason.COMMAND_NOT_SUPPORTED, f"opcode 0x{opcode:02x}")
    return known[opcode].unpack_untrusted(bhs, data, ahs)
