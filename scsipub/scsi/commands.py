"""The command table: every operation code a unit answers, one row each.

Source: SPC-4 and SBC-3, annex D and clause 5; the reservation column SPC-4 §5.13.1 table 57 and SBC-3 §4.14.
Dispatch, REPORT SUPPORTED OPERATION CODES, the refusal of unknown bits and ``docs/scsi.md`` all read these
rows.

The usage map is written as the CDB would be with every bit set that we look at.  GROUP NUMBER is accepted and
means nothing; DPO is accepted as the hint it is; RDPROTECT and its kin are not there, since no unit has
protection information."""

from collections.abc import Mapping

from scsipub.scsi import (
    blocks,
    combine,
    copy,
    inquiry,
    media,
    modes,
    persistent,
    provisioning,
    readiness,
    reports,
    reserve6,
    sanitize,
    verify,
    write_same,
)
from scsipub.scsi.command import Command, During, Needs, Reserved
from scsipub.scsi.reservations import Action

Table = Mapping[tuple[int, int | None], Command]

_ALWAYS = During.ATTENTION | During.SANITIZE
_MEDIUM = Needs.MEDIUM
_WRITE = Needs.MEDIUM | Needs.WRITABLE


def _starts(it: bytes) -> bool:
    """START STOP UNIT that starts and does nothing else.  SPC-4 table 57."""
    return it[4] & 0xF1 == 0x01


def _allows_removal(it: bytes) -> bool:
    return not it[4] & 0x03


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
    Command(opcode=0x16, name="RESERVE(6)", handler=reserve6.reserve, reserved=Reserved.WRITES,
            usage="16 00 00 00 00 00"),
    Command(opcode=0x17, name="RELEASE(6)", handler=reserve6.release, reserved=Reserved.ALLOWED,
            usage="17 00 00 00 00 00"),
    Command(opcode=0x1A, name="MODE SENSE(6)", handler=modes.mode_sense, reserved=Reserved.READS,
            usage="1a 08 ff ff ff 00"),
    Command(opcode=0x1B, name="START STOP UNIT", handler=media.start_stop_unit, reserved=Reserved.WRITES,
            usage="1b 01 00 0f f7 00", excused=_starts, recommended_seconds=60),
    Command(opcode=0x1E, name="PREVENT ALLOW MEDIUM REMOVAL", handler=media.prevent_allow,
            reserved=Reserved.WRITES, usage="1e 00 00 00 01 00", excused=_allows_removal),
    Command(opcode=0x25, name="READ CAPACITY(10)", handler=provisioning.read_capacity_10,
            reserved=Reserved.PEEKS, usage="25 00 ff ff ff ff 00 00 01 00", needs=_MEDIUM),
    Command(opcode=0x28, name="READ(10)", handler=blocks.read, reserved=Reserved.READS,
            usage="28 18 ff ff ff ff 1f ff ff 00", needs=_MEDIUM),
    Command(opcode=0x2A, name="WRITE(10)", handler=blocks.write, reserved=Reserved.WRITES,
            usage="2a 18 ff ff ff ff 1f ff ff 00", needs=_WRITE),
    Command(opcode=0x2E, name="WRITE AND VERIFY(10)", handler=verify.write_and_verify,
            reserved=Reserved.WRITES, usage="2e 16 ff ff ff ff 1f ff ff 00", needs=_WRITE),
    Command(opcode=0x2F, name="VERIFY(10)", handler=verify.verify, reserved=Reserved.READS,
            usage="2f 16 ff ff ff ff 1f ff ff 00", needs=_MEDIUM),
    Command(opcode=0x34, name="PRE-FETCH(10)", handler=blocks.prefetch, reserved=Reserved.READS,
            usage="34 02 ff ff ff ff 1f ff ff 00", needs=_MEDIUM),
    Command(opcode=0x35, name="SYNCHRONIZE CACHE(10)", handler=blocks.synchronize_cache,
            reserved=Reserved.WRITES, usage="35 06 ff ff ff ff 1f ff ff 00", needs=_MEDIUM,
            recommended_seconds=60),
    Command(opcode=0x37, name="READ DEFECT DATA(10)", handler=media.read_defect_data_10,
            reserved=Reserved.READS, usage="37 00 1f 00 00 00 00 ff ff 00", needs=_MEDIUM),
    Command(opcode=0x41, name="WRITE SAME(10)", handler=write_same.write_same, reserved=Reserved.WRITES,
            usage="41 08 ff ff ff ff 1f ff ff 00", needs=_WRITE, recommended_seconds=60),
    Command(opcode=0x42, name="UNMAP", handler=provisioning.unmap, reserved=Reserved.WRITES,
            usage="42 01 00 00 00 00 1f ff ff 00", needs=_WRITE, thin_only=True, recommended_seconds=60),
    Command(opcode=0x48, action=0x01, name="SANITIZE OVERWRITE", handler=sanitize.overwrite,
            reserved=Reserved.WRITES, usage="48 a0 00 00 00 00 00 ff ff 00", needs=_WRITE,
            recommended_seconds=3600),
    Command(opcode=0x48, action=0x02, name="SANITIZE BLOCK ERASE", handler=sanitize.erase,
            reserved=Reserved.WRITES, usage="48 a0 00 00 00 00 00 ff ff 00", needs=_WRITE,
            recommended_seconds=600),
    Command(opcode=0x48, action=0x03, name="SANITIZE CRYPTOGRAPHIC ERASE", handler=sanitize.erase,
            reserved=Reserved.WRITES, usage="48 a0 00 00 00 00 00 ff ff 00", needs=_WRITE,
            recommended_seconds=600),
    Command(opcode=0x48, action=0x1F, name="SANITIZE EXIT FAILURE MODE", handler=sanitize.exit_failure_mode,
            reserved=Reserved.WRITES, usage="48 a0 00 00 00 00 00 ff ff 00", needs=_WRITE),
    Command(opcode=0x55, name="MODE SELECT(10)", handler=modes.mode_select, reserved=Reserved.WRITES,
            usage="55 11 00 00 00 00 00 ff ff 00"),
    Command(opcode=0x5A, name="MODE SENSE(10)", handler=modes.mode_sense, reserved=Reserved.READS,
            usage="5a 18 ff ff 00 00 00 ff ff 00"),
    Command(opcode=0x5E, action=0x00, name="PERSISTENT RESERVE IN READ KEYS", handler=persistent.read_keys,
            reserved=Reserved.PEEKS, usage="5e 00 00 00 00 00 00 ff ff 00", during=During.SANITIZE),
    Command(opcode=0x5E, action=0x01, name="PERSISTENT RESERVE IN READ RESERVATION",
            handler=persistent.read_reservation, reserved=Reserved.PEEKS,
            usage="5e 00 00 00 00 00 00 ff ff 00", during=During.SANITIZE),
    Command(opcode=0x5E, action=0x02, name="PERSISTENT RESERVE IN REPORT CAPABILITIES",
            handler=persistent.report_capabilities, reserved=Reserved.PEEKS,
            usage="5e 00 00 00 00 00 00 ff ff 00", during=During.SANITIZE),
    Command(opcode=0x5E, action=0x03, name="PERSISTENT RESERVE IN READ FULL STATUS",
            handler=persistent.read_full_status, reserved=Reserved.PEEKS,
            usage="5e 00 00 00 00 00 00 ff ff 00", during=During.SANITIZE),
    *(
        Command(opcode=0x5F, action=action, name="PERSISTENT RESERVE OUT " + action.name.replace("_", " "),
                handler=persistent.reserve_out, reserved=Reserved.PEEKS,
                usage="5f 00 ff 00 00 ff ff ff ff 00", during=During.SANITIZE)
        for action in Action
    ),
    Command(opcode=0x83, action=0x00, name="EXTENDED COPY(LID1)", handler=copy.extended_copy,
            reserved=Reserved.WRITES, usage="83 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00", needs=_MEDIUM,
            recommended_seconds=120),
    Command(opcode=0x84, action=0x00, name="RECEIVE COPY STATUS(LID1)", handler=copy.copy_status,
            reserved=Reserved.PEEKS, usage="84 00 ff 00 00 00 00 00 00 00 ff ff ff ff 00 00"),
    Command(opcode=0x84, action=0x03, name="RECEIVE COPY OPERATING PARAMETERS",
            handler=copy.operating_parameters, reserved=Reserved.PEEKS,
            usage="84 00 00 00 00 00 00 00 00 00 ff ff ff ff 00 00"),
    Command(opcode=0x88, name="READ(16)", handler=blocks.read, reserved=Reserved.READS,
            usage="88 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM),
    Command(opcode=0x89, name="COMPARE AND WRITE", handler=combine.compare_and_write,
            reserved=Reserved.WRITES, usage="89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 1f 00", needs=_WRITE),
    Command(opcode=0x8A, name="WRITE(16)", handler=blocks.write, reserved=Reserved.WRITES,
            usage="8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_WRITE),
    Command(opcode=0x8B, name="ORWRITE(16)", handler=combine.orwrite, reserved=Reserved.WRITES,
            usage="8b 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_WRITE),
    Command(opcode=0x8E, name="WRITE AND VERIFY(16)", handler=verify.write_and_verify,
            reserved=Reserved.WRITES, usage="8e 16 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_WRITE),
    Command(opcode=0x8F, name="VERIFY(16)", handler=verify.verify, reserved=Reserved.READS,
            usage="8f 16 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM),
    Command(opcode=0x90, name="PRE-FETCH(16)", handler=blocks.prefetch, reserved=Reserved.READS,
            usage="90 02 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM),
    Command(opcode=0x91, name="SYNCHRONIZE CACHE(16)", handler=blocks.synchronize_cache,
            reserved=Reserved.WRITES, usage="91 06 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM,
            recommended_seconds=60),
    Command(opcode=0x93, name="WRITE SAME(16)", handler=write_same.write_same, reserved=Reserved.WRITES,
            usage="93 09 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00", needs=_WRITE, recommended_seconds=60),
    Command(opcode=0x9C, name="WRITE ATOMIC(16)", handler=combine.write_atomic, reserved=Reserved.WRITES,
            usage="9c 18 ff ff ff ff ff ff ff ff 00 00 ff ff 1f 00", needs=_WRITE),
    Command(opcode=0x9E, action=0x10, name="READ CAPACITY(16)", handler=provisioning.read_capacity_16,
            reserved=Reserved.PEEKS, usage="9e 00 ff ff ff ff ff ff ff ff ff ff ff ff 01 00", needs=_MEDIUM),
    Command(opcode=0x9E, action=0x12, name="GET LBA STATUS", handler=provisioning.get_lba_status,
            reserved=Reserved.READS, usage="9e 00 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", needs=_MEDIUM),
    Command(opcode=0xA0, name="REPORT LUNS", handler=reports.report_luns, reserved=Reserved.ALLOWED,
            usage="a0 00 ff 00 00 00 ff ff ff ff 00 00", during=_ALWAYS),
    Command(opcode=0xA3, action=0x0A, name="REPORT TARGET PORT GROUPS", handler=reports.target_port_groups,
            reserved=Reserved.PEEKS, usage="a3 e0 00 00 00 00 ff ff ff ff 00 00", during=During.SANITIZE),
    Command(opcode=0xA3, action=0x0C, name="REPORT SUPPORTED OPERATION CODES",
            handler=reports.supported_operation_codes, reserved=Reserved.PEEKS,
            usage="a3 00 87 ff ff ff ff ff ff ff 00 00", during=During.SANITIZE),
    Command(opcode=0xA3, action=0x0D, name="REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
            handler=reports.supported_task_functions, reserved=Reserved.PEEKS,
            usage="a3 00 80 00 00 00 ff ff ff ff 00 00", during=During.SANITIZE),
    Command(opcode=0xA8, name="READ(12)", handler=blocks.read, reserved=Reserved.READS,
            usage="a8 18 ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM),
    Command(opcode=0xAA, name="WRITE(12)", handler=blocks.write, reserved=Reserved.WRITES,
            usage="aa 18 ff ff ff ff ff ff ff ff 1f 00", needs=_WRITE),
    Command(opcode=0xAE, name="WRITE AND VERIFY(12)", handler=verify.write_and_verify,
            reserved=Reserved.WRITES, usage="ae 16 ff ff ff ff ff ff ff ff 1f 00", needs=_WRITE),
    Command(opcode=0xAF, name="VERIFY(12)", handler=verify.verify, reserved=Reserved.READS,
            usage="af 16 ff ff ff ff ff ff ff ff 1f 00", needs=_MEDIUM),
    Command(opcode=0xB7, name="READ DEFECT DATA(12)", handler=media.read_defect_data_12,
            reserved=Reserved.READS, usage="b7 1f ff ff ff ff ff ff ff ff 00 00", needs=_MEDIUM),
)  # fmt: skip

COMMANDS: Table = {(row.opcode, row.action): row for row in _ROWS}
ACTION_OPCODES = frozenset(row.opcode for row in _ROWS if row.action is not None)
