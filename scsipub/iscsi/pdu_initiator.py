"""The PDUs an initiator sends, field by field.

Source: RFC 7143 §11.3, §11.5, §11.7, §11.10, §11.12, §11.14, §11.16, §11.18.  What the fields mean and
whether their values are allowed is for ``login``, ``text_exchange`` and ``session`` to say."""

from typing import ClassVar

import attrs

from scsipub.errors import PduRejected
from scsipub.iscsi.constants import AhsType, Opcode, RejectReason
from scsipub.iscsi.pdu_base import (
    InitiatorPdu,
    additional_headers_untrusted,
    bits,
    flag,
    lun,
    number,
    raw,
    tag,
)

FINAL = 0x80


@attrs.frozen(kw_only=True)
class NopOut(InitiatorPdu):
    """Initiator pings, or answers our ping.  §11.18"""

    OPCODE: ClassVar[Opcode] = Opcode.NOP_OUT
    FIXED: ClassVar[int] = FINAL

    lun: int = lun()
    initiator_task_tag: int = tag(16)
    target_transfer_tag: int = tag(20)
    cmd_sn: int = number(24, 4)
    exp_stat_sn: int = number(28, 4)


@attrs.frozen(kw_only=True)
class ScsiCommand(InitiatorPdu):
    """A command, perhaps with the first of its write data.  §11.3"""

    OPCODE: ClassVar[Opcode] = Opcode.SCSI_COMMAND

    final: bool = flag(1, FINAL, True)
    read: bool = flag(1, 0x40)
    write: bool = flag(1, 0x20)
    attribute: int = bits(1, 0x07)
    lun: int = lun()
    initiator_task_tag: int = tag(16, 0)
    expected_data_transfer_length: int = number(20, 4)
    cmd_sn: int = number(24, 4)
    exp_stat_sn: int = number(28, 4)
    cdb: bytes = raw(32, 16)

    def full_cdb_untrusted(self) -> bytes:
        """The CDB with what an Extended CDB header adds to it.  §11.2.2.3"""
        rest = b""
        for kind, content in additional_headers_untrusted(self.ahs):
            if kind == AhsType.EXTENDED_CDB:
                if rest:
                    raise PduRejected(RejectReason.PROTOCOL_ERROR, "two extended CDBs")
                rest = content
        return self.cdb + rest


@attrs.frozen(kw_only=True)
class TaskManagementRequest(InitiatorPdu):
    """Abort, clear or reset.  §11.5"""

    OPCODE: ClassVar[Opcode] = Opcode.TASK_MANAGEMENT_REQUEST
    FIXED: ClassVar[int] = FINAL

    function: int = bits(1, 0x7F)
    lun: int = lun()
    initiator_task_tag: int = tag(16, 0)
    referenced_task_tag: int = tag(20)
    cmd_sn: int = number(24, 4)
    exp_stat_sn: int = number(28, 4)
    ref_cmd_sn: int = number(32, 4)
    exp_data_sn: int = number(36, 4)


@attrs.frozen(kw_only=True)
class LoginRequest(InitiatorPdu):
    """One step of the login.  §11.12"""

    OPCODE: ClassVar[Opcode] = Opcode.LOGIN_REQUEST
    FIXED: ClassVar[int] = 0

    transit: bool = flag(1, 0x80)
    continued: bool = flag(1, 0x40)
    current_stage: int = bits(1, 0x0C)
    next_stage: int = bits(1, 0x03)
    version_max: int = number(2, 1)
    version_min: int = number(3, 1)
    isid: bytes = raw(8, 6)
    tsih: int = number(14, 2)
    initiator_task_tag: int = tag(16, 0)
    cid: int = number(20, 2)
    cmd_sn: int = number(24, 4)
    exp_stat_sn: int = number(28, 4)


@attrs.frozen(kw_only=True)
class TextRequest(InitiatorPdu):
    """A question in keys and values after login.  §11.10"""

    OPCODE: ClassVar[Opcode] = Opcode.TEXT_REQUEST

    final: bool = flag(1, FINAL, True)
    continued: bool = flag(1, 0x40)
    lun: int = lun()
    initiator_task_tag: int = tag(16, 0)
    target_transfer_tag: int = tag(20)
    cmd_sn: int = number(24, 4)
    exp_stat_sn: int = number(28, 4)


@attrs.frozen(kw_only=True)
class DataOut(InitiatorPdu):
    """Write data.  §11.7.  Has no I bit: that bit is reserved here."""

    OPCODE: ClassVar[Opcode] = Opcode.DATA_OUT

    final: bool = flag(1, FINAL)
    lun: int = lun()
    initiator_task_tag: int = tag(16, 0)
    target_transfer_tag: int = tag(20)
    exp_stat_sn: int = number(28, 4)
    data_sn: int = number(36, 4)
    buffer_offset: int = number(40, 4)


@attrs.frozen(kw_only=True)
class LogoutRequest(InitiatorPdu):
    """Wish to close the session or a connection.  §11.14"""

    OPCODE: ClassVar[Opcode] = Opcode.LOGOUT_REQUEST
    FIXED: ClassVar[int] = FINAL

    reason: int = bits(1, 0x7F)
    initiator_task_tag: int = tag(16, 0)
    cid: int = number(20, 2)
    cmd_sn: int = number(24, 4)
    exp_stat_sn: int = number(28, 4)


@attrs.frozen(kw_only=True)
class SnackRequest(InitiatorPdu):
    """Request to send something again.  §11.16.  At ErrorRecoveryLevel 0 it is always rejected."""

    OPCODE: ClassVar[Opcode] = Opcode.SNACK_REQUEST
    FIXED: ClassVar[int] = FINAL

    type: int = bits(1, 0x0F)
    lun: int = lun()
    initiator_task_tag: int = tag(16)
    target_transfer_tag: int = tag(20)  # or the SNACK Tag, for R-Data
    exp_stat_sn: int = number(28, 4)
    beg_run: int = number(40, 4)
    run_length: int = number(44, 4)


INITIATOR_PDU_CLASSES: tuple[type[InitiatorPdu], ...] = (
    NopOut,
    ScsiCommand,
    TaskManagementRequest,
    LoginRequest,
    TextRequest,
    DataOut,
    LogoutRequest,
    SnackRequest,
)
