"""Hot PDUs by offset: the same bytes as the plain classes, field by field."""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.strategies import pdus_of
from scsipub.iscsi.data import (
    CDB,
    CDB_AS_16,
    COMMAND_AS_10,
    DATA_IN,
    DATA_OUT,
    FINAL,
    OP_COMMAND,
    OP_DATA_IN,
    OP_DATA_OUT,
    OP_R2T,
    OP_RESPONSE,
    R2T,
    RESPONSE,
)
from scsipub.iscsi.pdu import DataIn, DataOut, ReadyToTransfer, ScsiCommand, ScsiResponse

NUMBER = st.integers(0, 2**32 - 1)
BYTE = st.integers(0, 255)


@given(pdus_of(ScsiCommand))
def test_a_command_read_by_offset_is_the_command(it):
    header = it.pack()
    (
        opcode, flags, lengths, lun, tag, expected, cmd_sn, exp_stat_sn,
        operation, bits, lba, group, count, control,
    ) = COMMAND_AS_10.unpack_from(header)  # fmt: skip

    assert (opcode & 0x3F, bool(opcode & 0x40)) == (OP_COMMAND, it.immediate)
    assert (bool(flags & 0x80), bool(flags & 0x40), bool(flags & 0x20), flags & 7) == (
        it.final, it.read, it.write, it.attribute,
    )  # fmt: skip
    assert lengths == len(it.ahs) // 4 << 24 | len(it.data)
    assert (lun, tag, expected) == (it.lun, it.initiator_task_tag, it.expected_data_transfer_length)
    assert (cmd_sn, exp_stat_sn) == (it.cmd_sn, it.exp_stat_sn)
    assert header[CDB:] == it.cdb
    assert (operation, bits, group, control) == (it.cdb[0], it.cdb[1], it.cdb[6], it.cdb[9])
    assert (lba, count) == (int.from_bytes(it.cdb[2:6]), int.from_bytes(it.cdb[7:9]))
    wide = CDB_AS_16.unpack_from(header, CDB + 2)
    assert wide == (int.from_bytes(it.cdb[2:10]), int.from_bytes(it.cdb[10:14]), it.cdb[14], it.cdb[15])


@given(pdus_of(DataOut))
def test_a_data_out_read_by_offset_is_the_data_out(it):
    opcode, flags, lengths, lun, itt, ttt, exp_stat_sn, data_sn, offset = DATA_OUT.unpack_from(it.pack())

    assert opcode & 0x3F == OP_DATA_OUT
    assert bool(flags & FINAL) == it.final
    assert lengths == len(it.ahs) // 4 << 24 | len(it.data)
    assert (lun, itt, ttt) == (it.lun, it.initiator_task_tag, it.target_transfer_tag)
    assert (exp_stat_sn, data_sn, offset) == (it.exp_stat_sn, it.data_sn, it.buffer_offset)


@given(pdus_of(DataIn, max_data=0).filter(lambda it: not it.ahs))
def test_a_data_in_packed_by_offset_is_the_data_in(it):
    flags = it.final << 7 | it.acknowledge << 6 | it.overflow << 2 | it.underflow << 1 | it.has_status

    assert it.pack() == DATA_IN.pack(
        OP_DATA_IN, flags, it.status, 0, it.lun, it.initiator_task_tag, it.target_transfer_tag, it.stat_sn,
        it.exp_cmd_sn, it.max_cmd_sn, it.data_sn, it.buffer_offset, it.residual_count,
    )  # fmt: skip


@given(pdus_of(ScsiResponse, max_data=0).filter(lambda it: not it.ahs))
def test_a_response_packed_by_offset_is_the_response(it):
    flags = FINAL | it.bidi_overflow << 4 | it.bidi_underflow << 3 | it.overflow << 2 | it.underflow << 1

    assert it.pack() == RESPONSE.pack(
        OP_RESPONSE, flags, it.response, it.status, 0, 0, it.initiator_task_tag, it.snack_tag, it.stat_sn,
        it.exp_cmd_sn, it.max_cmd_sn, it.exp_data_sn, it.bidi_residual_count, it.residual_count,
    )  # fmt: skip


@given(pdus_of(ReadyToTransfer, max_data=0).filter(lambda it: not it.ahs))
def test_an_r2t_packed_by_offset_is_the_r2t(it):
    assert it.pack() == R2T.pack(
        OP_R2T, FINAL, 0, it.lun, it.initiator_task_tag, it.target_transfer_tag, it.stat_sn, it.exp_cmd_sn,
        it.max_cmd_sn, it.r2t_sn, it.buffer_offset, it.desired_data_transfer_length,
    )  # fmt: skip
