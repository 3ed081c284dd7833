"""The PDUs a target sends, field by field.

Source: RFC 7143 §11.4, §11.6, §11.7, §11.8, §11.9, §11.11, §11.13, §11.15, §11.17, §11.19."""

from typing import ClassVar

import attrs

from scsipub.iscsi.constants import RESERVED_TAG, Opcode
from scsipub.iscsi.pdu_base import TargetPdu, bits, flag, lun, number, raw, tag

FINAL = 0x80


@attrs.frozen(kw_only=True)
class NopIn(TargetPdu):
    """Answer to a ping, or a ping of ours.  §11.19"""

    OPCODE: ClassVar[Opcode] = Opcode.NOP_IN
    FIXED: ClassVar[int] = FINAL

    lun: int = lun()
    initiator_task_tag: int = tag(16)
    target_transfer_tag: int = tag(20)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)


@attrs.frozen(kw_only=True)
class ScsiResponse(TargetPdu):
    """A command has ended.  §11.4.  Data is two bytes of length and the sense."""

    OPCODE: ClassVar[Opcode] = Opcode.SCSI_RESPONSE
    FIXED: ClassVar[int] = FINAL

    bidi_overflow: bool = flag(1, 0x10)
    bidi_underflow: bool = flag(1, 0x08)
    overflow: bool = flag(1, 0x04)
    underflow: bool = flag(1, 0x02)
    response: int = number(2, 1)
    status: int = number(3, 1)
    initiator_task_tag: int = tag(16, 0)
    snack_tag: int = tag(20, 0)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)
    exp_data_sn: int = number(36, 4)
    bidi_residual_count: int = number(40, 4)
    residual_count: int = number(44, 4)


@attrs.frozen(kw_only=True)
class TaskManagementResponse(TargetPdu):
    """What became of an abort, clear or reset.  §11.6"""

    OPCODE: ClassVar[Opcode] = Opcode.TASK_MANAGEMENT_RESPONSE
    FIXED: ClassVar[int] = FINAL

    response: int = number(2, 1)
    initiator_task_tag: int = tag(16, 0)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)


@attrs.frozen(kw_only=True)
class LoginResponse(TargetPdu):
    """One step of the login.  §11.13"""

    OPCODE: ClassVar[Opcode] = Opcode.LOGIN_RESPONSE

    transit: bool = flag(1, 0x80)
    continued: bool = flag(1, 0x40)
    current_stage: int = bits(1, 0x0C)
    next_stage: int = bits(1, 0x03)
    version_max: int = number(2, 1)
    version_active: int = number(3, 1)
    isid: bytes = raw(8, 6)
    tsih: int = number(14, 2)
    initiator_task_tag: int = tag(16, 0)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)
    status: int = number(36, 2)  # Status-Class << 8 | Status-Detail


@attrs.frozen(kw_only=True)
class TextResponse(TargetPdu):
    """Answer in keys and values after login.  §11.11"""

    OPCODE: ClassVar[Opcode] = Opcode.TEXT_RESPONSE

    final: bool = flag(1, FINAL, True)
    continued: bool = flag(1, 0x40)
    lun: int = lun()
    initiator_task_tag: int = tag(16, 0)
    target_transfer_tag: int = tag(20)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)


@attrs.frozen(kw_only=True)
class DataIn(TargetPdu):
    """Read data, the last of it perhaps with GOOD status.  §11.7"""

    OPCODE: ClassVar[Opcode] = Opcode.DATA_IN

    final: bool = flag(1, FINAL)
    acknowledge: bool = flag(1, 0x40)
    overflow: bool = flag(1, 0x04)
    underflow: bool = flag(1, 0x02)
    has_status: bool = flag(1, 0x01)
    status: int = number(3, 1)
    lun: int = lun()
    initiator_task_tag: int = tag(16, 0)
    target_transfer_tag: int = tag(20)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)
    data_sn: int = number(36, 4)
    buffer_offset: int = number(40, 4)
    residual_count: int = number(44, 4)


@attrs.frozen(kw_only=True)
class LogoutResponse(TargetPdu):
    """What became of a logout.  §11.15"""

    OPCODE: ClassVar[Opcode] = Opcode.LOGOUT_RESPONSE
    FIXED: ClassVar[int] = FINAL

    response: int = number(2, 1)
    initiator_task_tag: int = tag(16, 0)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)
    time2wait: int = number(40, 2)
    time2retain: int = number(42, 2)


@attrs.frozen(kw_only=True)
class ReadyToTransfer(TargetPdu):
    """Target asks for one burst of write data.  §11.8"""

    OPCODE: ClassVar[Opcode] = Opcode.READY_TO_TRANSFER
    FIXED: ClassVar[int] = FINAL

    lun: int = lun()
    initiator_task_tag: int = tag(16, 0)
    target_transfer_tag: int = tag(20, 0)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)
    r2t_sn: int = number(36, 4)
    buffer_offset: int = number(40, 4)
    desired_data_transfer_length: int = number(44, 4)


@attrs.frozen(kw_only=True)
class AsyncMessage(TargetPdu):
    """Something happened that no request asked about.  §11.9"""

    OPCODE: ClassVar[Opcode] = Opcode.ASYNC_MESSAGE
    FIXED: ClassVar[int] = FINAL

    lun: int = lun()
    initiator_task_tag: int = tag(16, RESERVED_TAG)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)
    async_event: int = number(36, 1)
    async_vcode: int = number(37, 1)
    parameter1: int = number(38, 2)
    parameter2: int = number(40, 2)
    parameter3: int = number(42, 2)


@attrs.frozen(kw_only=True)
class Reject(TargetPdu):
    """A PDU is thrown back; data is the header of the offending one.  §11.17"""

    OPCODE: ClassVar[Opcode] = Opcode.REJECT
    FIXED: ClassVar[int] = FINAL

    reason: int = number(2, 1)
    initiator_task_tag: int = tag(16, RESERVED_TAG)
    stat_sn: int = number(24, 4)
    exp_cmd_sn: int = number(28, 4)
    max_cmd_sn: int = number(32, 4)
    data_sn: int = number(36, 4)


TARGET_PDU_CLASSES: tuple[type[TargetPdu], ...] = (
    NopIn,
    ScsiResponse,
    TaskManagementResponse,
    LoginResponse,
    TextResponse,
    DataIn,
    LogoutResponse,
    ReadyToTransfer,
    AsyncMessage,
    Reject,
)
