"""Hot PDUs by offset: SCSI Command and Data-Out read, Data-In, R2T and SCSI Response written.

Source: RFC 7143 §11.3, §11.4, §11.7, §11.8.  Sans-IO.  The plain versions, one attrs class a PDU, are in
``pdu``; ``tests/reference`` holds the two against each other.

Everything here works on one memoryview and a position, because a header in an attrs class costs more than
the rest of a cached read."""

import struct

# §11.3 SCSI Command: opcode, flags, AHS length and data length in one word, LUN, initiator task tag,
# expected data transfer length, CmdSN, ExpStatSN; then the CDB read as if it were READ(10): operation code,
# flags, LBA, group number, transfer length, control.
COMMAND_AS_10 = struct.Struct(">BBxxIQIIIIBBIBHB6x")
# The same CDB read as if it were READ(16), from byte 34 of the header: LBA, transfer length, group, control.
CDB_AS_16 = struct.Struct(">QIBB")
CDB = 32  # where the CDB begins in the header

# §11.7.1 SCSI Data-Out: opcode, flags, lengths, LUN, ITT, TTT, ExpStatSN, DataSN, buffer offset.
DATA_OUT = struct.Struct(">BBxxIQII4xI4xII4x")

# §11.7 SCSI Data-In: opcode, flags, status, lengths, LUN, ITT, TTT, StatSN, ExpCmdSN, MaxCmdSN, DataSN,
# buffer offset, residual count.
DATA_IN = struct.Struct(">BBxBIQIIIIIIII")

# §11.4 SCSI Response: opcode, flags, response, status, lengths, (reserved), ITT, SNACK tag, StatSN, ExpCmdSN,
# MaxCmdSN, ExpDataSN, bidirectional residual, residual count.
RESPONSE = struct.Struct(">BBBBIQIIIIIIII")

# §11.8 Ready To Transfer: opcode, flags, lengths, LUN, ITT, TTT, StatSN, ExpCmdSN, MaxCmdSN, R2TSN,
# buffer offset, desired data transfer length.
R2T = struct.Struct(">BBxxIQIIIIIIII")

OP_COMMAND, OP_DATA_OUT = 0x01, 0x05
OP_RESPONSE, OP_DATA_IN, OP_R2T = 0x21, 0x25, 0x31

FINAL, READ, WRITE = 0x80, 0x40, 0x20  # SCSI Command flags
ATTRIBUTE = 0x07
STATUS_HERE, UNDERFLOW, OVERFLOW = 0x01, 0x02, 0x04  # Data-In flags; the last two in SCSI Response as well

NO_TAG = 0xFFFFFFFF


def residual(expected: int, actual: int) -> tuple[int, int]:
    """(flag, count) for a transfer that was ``expected`` by the initiator and ``actual`` by the CDB."""
    if actual > expected:
        return OVERFLOW, actual - expected
    if actual < expected:
        return UNDERFLOW, expected - actual
    return 0, 0
