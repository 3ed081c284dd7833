"""The numbers of iSCSI under the names the RFC gives them.

Source: RFC 7143 §11 (opcodes, codes inside PDUs), §11.13.5 (login status), §12.1.3 (CHAP algorithms) with
the later entries of IANA's registry.  Knows nobody; says nothing about when a number may be used."""

import enum

BHS_LENGTH = 48
PORT = 3260

# "No tag": an Initiator or Target Task Tag that names no task.  §11.2.1.8, §11.7.4
RESERVED_TAG = 0xFFFFFFFF

# What a side may send before the other has declared anything.  §13.12
DEFAULT_MAX_RECV_DATA_SEGMENT = 8192

MAX_NAME_BYTES = 223  # §4.2.7.1
MAX_KEY_BYTES = 63  # §6.1
MAX_VALUE_BYTES = 255  # §6.1, "unless otherwise specified"
MAX_LARGE_BINARY_BYTES = 1024  # §6.1 large-binary-value: CHAP_C


class Opcode(enum.IntEnum):
    """The low six bits of the first byte.  §11.2.1.2"""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_MANAGEMENT_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    DATA_OUT = 0x05
    LOGOUT_REQUEST = 0x06
    SNACK_REQUEST = 0x10

    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    READY_TO_TRANSFER = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class LoginStage(enum.IntEnum):
    """CSG and NSG.  §11.12.3; 2 is not used."""

    SECURITY = 0
    OPERATIONAL = 1
    FULL_FEATURE = 3


class LoginStatus(enum.IntEnum):
    """Status-Class << 8 | Status-Detail.  §11.13.5"""

    SUCCESS = 0x0000
    TARGET_MOVED_TEMPORARILY = 0x0101
    TARGET_MOVED_PERMANENTLY = 0x0102
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILURE = 0x0201
    AUTHORIZATION_FAILURE = 0x0202
    NOT_FOUND = 0x0203
    TARGET_REMOVED = 0x0204
    UNSUPPORTED_VERSION = 0x0205
    TOO_MANY_CONNECTIONS = 0x0206
    MISSING_PARAMETER = 0x0207
    CANNOT_INCLUDE_IN_SESSION = 0x0208
    SESSION_TYPE_NOT_SUPPORTED = 0x0209
    SESSION_DOES_NOT_EXIST = 0x020A
    INVALID_DURING_LOGIN = 0x020B
    TARGET_ERROR = 0x0300
    SERVICE_UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


class RejectReason(enum.IntEnum):
    """Why a PDU is thrown back.  §11.17.1"""

    DATA_DIGEST_ERROR = 0x02
    SNACK_REJECT = 0x03
    PROTOCOL_ERROR = 0x04
    COMMAND_NOT_SUPPORTED = 0x05
    TOO_MANY_IMMEDIATE_COMMANDS = 0x06
    TASK_IN_PROGRESS = 0x07
    INVALID_DATA_ACK = 0x08
    INVALID_PDU_FIELD = 0x09
    OUT_OF_RESOURCES = 0x0A
    NEGOTIATION_RESET = 0x0B
    WAITING_FOR_LOGOUT = 0x0C


class TaskAttribute(enum.IntEnum):
    """ATTR of a SCSI Command.  §11.3.1"""

    UNTAGGED = 0
    SIMPLE = 1
    ORDERED = 2
    HEAD_OF_QUEUE = 3
    ACA = 4


class ScsiServiceResponse(enum.IntEnum):
    """Response of a SCSI Response PDU.  §11.4.3"""

    COMMAND_COMPLETED_AT_TARGET = 0x00
    TARGET_FAILURE = 0x01


class TaskFunction(enum.IntEnum):
    """Function of a Task Management Function Request.  §11.5.1"""

    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LOGICAL_UNIT_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    TASK_REASSIGN = 8


class TaskResponse(enum.IntEnum):
    """Response of a Task Management Function Response.  §11.6.1"""

    FUNCTION_COMPLETE = 0
    TASK_DOES_NOT_EXIST = 1
    LUN_DOES_NOT_EXIST = 2
    TASK_STILL_ALLEGIANT = 3
    TASK_ALLEGIANCE_REASSIGNMENT_NOT_SUPPORTED = 4
    FUNCTION_NOT_SUPPORTED = 5
    FUNCTION_AUTHORIZATION_FAILED = 6
    FUNCTION_REJECTED = 255


class LogoutReason(enum.IntEnum):
    """Reason Code of a Logout Request.  §11.14.1"""

    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1
    REMOVE_CONNECTION_FOR_RECOVERY = 2


class LogoutResponseCode(enum.IntEnum):
    """Response of a Logout Response.  §11.15.1"""

    CLOSED = 0
    CID_NOT_FOUND = 1
    RECOVERY_NOT_SUPPORTED = 2
    CLEANUP_FAILED = 3


class AsyncEvent(enum.IntEnum):
    """AsyncEvent of an Asynchronous Message.  §11.9.1"""

    SCSI_ASYNC_EVENT = 0
    LOGOUT_REQUEST = 1
    DROP_CONNECTION = 2
    DROP_SESSION = 3
    NEGOTIATION_REQUEST = 4
    TASK_TERMINATION = 5
    VENDOR_SPECIFIC = 255


class SnackType(enum.IntEnum):
    """Type of a SNACK Request.  §11.16.1"""

    DATA_R2T = 0
    STATUS = 1
    DATA_ACK = 2
    R_DATA = 3


class AhsType(enum.IntEnum):
    """AHSType of an Additional Header Segment.  §11.2.2.1"""

    EXTENDED_CDB = 1
    BIDIRECTIONAL_READ_LENGTH = 2


class IsidType(enum.IntEnum):
    """The two high bits of an ISID.  §11.12.5; 3 is reserved."""

    OUI = 0
    ENTERPRISE_NUMBER = 1
    RANDOM = 2


class ChapAlgorithm(enum.IntEnum):
    """CHAP_A.  §12.1.3 defines MD5 only; the others are IANA's ppp-numbers registry."""

    MD5 = 5
    SHA1 = 6
    SHA256 = 7
    SHA3_256 = 8
