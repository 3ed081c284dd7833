"""The command table: every operation code a unit answers, one row each.

Source: SPC-4 and SBC-3, annex D and clause 5; the reservation column SPC-4 §5.13.1 table 57 and SBC-3 §4.14.
Dispatch, REPORT SUPPORTED OPERATION CODES, the refusal of unknown bits and ``docs/scsi.md`` all read these
rows.

The usage map is written as the CDB would be with every bit set that we look at.  GROUP NUMBER is accepted and
means nothing; DPO is accepted as the hint it is; RDPROTECT and its kin are not there, since no unit has
protection information."""

from collections.abc import Mapping

from scsipub.scsi import blocks, inquiry, modes, provisioning, readiness, reports
from scsipub.scsi.command import Command, During, Needs, Reserved

Table = Mapping[tuple[int, int | None], Command]

_ALWAYS = During.ATTENTION | During.SANITIZE
_MEDIUM = Needs.MEDIUM
_WRITE = Needs.MEDIUM | Needs.WRITABLE

_ROWS = (
    Command(opcode=0x00, name="TEST UNIT READY", handler=readiness.test_unit_ready, reserved=Reserved.PEEKS,
            usage="00 00 00 00 00 00", needs=_MEDIUM),
    Command(opcode=0x03, name="REQUEST SENSE", handler=readiness.request_sense, reserved=Reserved.ALLOWED,
            usage="03 01 00 00 ff 00", during=_ALWAYS),
    Command(opcode=0x08, name="READ(6)", handler=blocks.read, reserved=Reserved.READS,
            usage="08 1f ff ff ff 00", needs=_MEDIUM),
    Command(opcode=0x0A, name="WRITE(6)", handler=blocks.write, reserved=Reserved.WRITES,
            usage="0a 1f ff ff ff 00", needs=_WRITE),
    Command(opcode=0x12, name="INQUIRY", handler=inquiry.inquiry, reserved=Reserved.ALLOWED,
            usage="12 01 ff ff ff 00", during=_ALWAYS),
    Command(opcode=0x15, name="MODE SELECT(6)", handler=modes.mode_select, reserved=Reserved.WRITES,
            usage="15 11 00 00 ff 00"),
    Command(opcode=0x1A, name="MODE SENSE(6)", handler=modes.mode_sense, reserved=Reserved.READS,
            usage="1a 08 ff ff ff 00"),
    Command(opcode=0x25, name="READ CAPACITY(10)", handler=provisioning.read_capacity_10,
            reserved=Reserved.PEEKS, usage="25 00 ff ff ff ff 00 00 01 00", needs=_MEDIUM),
    Command(opcode=0x28, name="READ(10)", handler=blocks.read, reserved=Reserved.READS,
            usage="28 18 ff ff ff ff 1f ff ff 00", needs=_MEDIUM),
    Command(opcode=0x2A, name="WRITE(10)", handler=blocks.write, reserved=Reserved.WRITES,
            usage="2a 18 ff ff ff ff 1f ff ff 00", needs=_WRITE),
    Command(opcode=0x34, name="PRE-FETCH(10)", handler=blocks.prefetch, reserved=Reserved.READS,
            usage="34 02 ff ff ff ff 1f ff ff 00", needs=_MEDIUM),
    Command(opcode=0x35, name="SYNCHRONIZE CACHE(10)", handler=blocks.synchronize_cache,
            reserved=Reserved.WRITES, usage="35 06 ff ff ff ff 1f ff ff 00", needs=_MEDIUM,
            recommended_seconds=60),
    Command(opcode=0x55, name="MODE SELECT(10)", handler=modes.mode_select, reserved=Reserved.WRITES,
            usage="55 11 00 00 00 00 00 ff ff 00"),
    Command(opcode=0x5A, name="MODE SENSE(10)", handler=modes.mode_sense, reserved=Reserved.READS,
            usage="5a 18 ff ff 00 00 00 ff ff 00"),
    Command(opcode=0x88, name="READ(16)", handler=blocks.read, reserved=Reserved.READS,
            usage="88 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM),
    Command(opcode=0x8A, name="WRITE(16)", handler=blocks.write, reserved=Reserved.WRITES,
            usage="8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_WRITE),
    Command(opcode=0x90, name="PRE-FETCH(16)", handler=blocks.prefetch, reserved=Reserved.READS,
            usage="90 02 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM),
    Command(opcode=0x91, name="SYNCHRONIZE CACHE(16)", handler=blocks.synchronize_cache,
            reserved=Reserved.WRITES, usage="91 06 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM,
            recommended_seconds=60),
    Command(opcode=0x9E, action=0x10, name="READ CAPACITY(16)", handler=provisioning.read_capacity_16,
            reserved=Reserved.PEEKS, usage="9e 00 ff ff ff ff ff ff ff ff ff ff ff ff 01 00", needs=_MEDIUM),
    Command(opcode=0x9E, action=0x12, name="GET LBA STATUS", handler=provisioning.get_lba_status,
            reserved=Reserved.READS, usage="9e 00 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", needs=_MEDIUM),
    Command(opcode=0xA0, name="REPORT LUNS", handler=reports.report_luns, reserved=Reserved.ALLOWED,
            usage="a0 00 ff 00 00 00 ff ff ff ff 00 00", during=_ALWAYS),
    Command(opcode=0xA8, name="READ(12)", handler=blocks.read, reserved=Reserved.READS,
            usage="a8 18 ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM),
    Command(opcode=0xAA, name="WRITE(12)", handler=blocks.write, reserved=Reserved.WRITES,
            usage="aa 18 ff ff ff ff ff ff ff ff 1f 00", needs=_WRITE),
)  # fmt: skip

COMMANDS: Table = {(row.opcode, row.action): row for row in _ROWS}
ACTION_OPCODES = frozenset(row.opcode for row in _ROWS if row.action is not None)
