"""REPORT LUNS and the MAINTENANCE IN reports."""

import struct

import pytest

from scsipub.scsi.commands import COMMANDS
from scsipub.scsi.sense import Key
from tests.support.scsi import bench, cdb

LUNS = "a0 00 S:1 00 00 00 N:4 00 00"
CODES = "a3 0c O:1 C:1 A:2 N:4 00 00"
GROUPS = "a3 F:1 00 00 00 00 N:4 00 00"
TASKS = "a3 0d F:1 00 00 00 N:4 00 00"
WELL_KNOWN = bytes([0xC1, 0x01, 0, 0, 0, 0, 0, 0])


def luns(answer):
    assert struct.unpack(">I4x", answer[:8])[0] == len(answer) - 8
    return [answer[at : at + 8] for at in range(8, len(answer), 8)]


def test_the_luns_are_those_of_the_session_in_order_and_once():
    """SPC-4 §6.33; SAM-5 §4.7.6: peripheral addressing below 256, flat above."""
    disk = bench()
    disk.lane.luns = lambda: [256, 1, 0, 1, 255]
    found = luns(disk(cdb(LUNS, S=0, N=256)).data)

    assert [lun[:2] for lun in found] == [b"\0\0", b"\0\1", b"\0\xff", b"\x41\0"]
    assert all(lun[2:] == bytes(6) for lun in found)


def test_well_known_units_are_listed_when_asked_for():
    """SELECT REPORT 01h: only them; 02h: all."""
    disk = bench()
    assert luns(disk(cdb(LUNS, S=1, N=256)).data) == [WELL_KNOWN]
    assert luns(disk(cdb(LUNS, S=2, N=256)).data) == [bytes(8), WELL_KNOWN]


@pytest.mark.parametrize("select", [3, 0x10, 0x11, 0x12, 0xF8])
def test_other_selections_are_refused(select):
    ended = bench()(cdb(LUNS, S=select, N=256))
    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (2, 7)


def entries(answer, size):
    assert struct.unpack(">I", answer[:4])[0] == len(answer) - 4
    return [answer[at : at + size] for at in range(4, len(answer), size)]


def test_all_commands_are_those_of_the_table():
    """SPC-4 §6.36.2."""
    found = entries(bench()(cdb(CODES, O=0, C=0, A=0, N=65535)).data, 8)
    listed = [(e[0], struct.unpack(">H", e[2:4])[0] if e[5] & 1 else None) for e in found]

    assert set(listed) == set(COMMANDS)
    assert len(listed) == len(COMMANDS)
    assert all(struct.unpack(">H", e[6:8])[0] == COMMANDS[k].size for e, k in zip(found, listed, strict=True))
    assert all(e[2:4] == b"\0\0" for e in found if not e[5] & 1)
    assert not any(e[5] & 2 for e in found)


def test_a_fully_provisioned_unit_does_not_list_unmap():
    found = entries(bench(thin=False)(cdb(CODES, O=0, C=0, A=0, N=65535)).data, 8)
    assert 0x42 not in [e[0] for e in found]


def test_timeouts_come_with_every_command_when_asked():
    """SPC-4 §6.36.4: RCTD, CTDP and a descriptor of length 0Ah."""
    found = entries(bench()(cdb(CODES, O=0x80, C=0, A=0, N=65535)).data, 20)

    assert len(found) == len(COMMANDS)
    assert all(e[5] & 2 and e[8:10] == b"\0\x0a" for e in found)
    assert all(struct.unpack(">I", e[16:20])[0] > 0 for e in found)


@pytest.mark.parametrize("row", COMMANDS.values(), ids=lambda row: row.name)
def test_one_command_is_described_with_the_option_that_fits_it(row):
    """SPC-4 §6.36.3: 001b without, 010b with service actions, 011b either; else an invalid field in byte
    2."""
    disk = bench()
    right, wrong = (1, 2) if row.action is None else (2, 1)
    for option in (right, 3):
        data = disk(cdb(CODES, O=option, C=row.opcode, A=row.action or 0, N=256)).data
        assert data[1] == 0x03
        assert struct.unpack(">H", data[2:4])[0] == row.size == len(data) - 4
        assert data[4] == row.opcode
        if row.action is not None:
            assert data[5] & 0x1F == row.action
    ended = disk(cdb(CODES, O=wrong, C=row.opcode, A=row.action or 0, N=256))
    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (2, 2)


def test_one_command_with_timeouts():
    data = bench()(cdb(CODES, O=0x81, C=0x28, A=0, N=256)).data
    assert data[1] == 0x83
    assert len(data) == 4 + 10 + 12


@pytest.mark.parametrize("option", range(8))
def test_every_opcode_and_action_gets_an_answer(option):
    """Described, not supported, or an invalid field: never anything else."""
    disk = bench()
    for opcode in range(256):
        for action in (0, 1, 0xFFFF):
            ended = disk(cdb(CODES, O=option, C=opcode, A=action, N=65535))
            if ended.key is None and option:
                assert ended.data[1] in (0x01, 0x03)
                assert len(ended.data) == 4 + struct.unpack(">H", ended.data[2:4])[0]
            elif ended.key is not None:
                assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def test_dpo_and_fua_are_claimed_by_the_commands_that_take_them():
    """The mode sense header says DPOFUA=1, so the maps must agree."""
    for row in COMMANDS.values():
        bits = row.usage[1] & 0x18
        name = row.name
        if name.startswith(("READ(", "WRITE(", "ORWRITE", "COMPARE", "WRITE ATOMIC")) and "(6)" not in name:
            assert bits == 0x18, name
        elif name.startswith(("VERIFY", "WRITE AND VERIFY")):
            assert bits == 0x10, name


def test_every_port_is_a_group_that_is_active_and_optimized():
    """SPC-4 §6.35."""
    data = bench(target_ports=2)(cdb(GROUPS, F=0x0A, N=256)).data
    assert struct.unpack(">I", data[:4])[0] == len(data) - 4 == 24
    assert data[4:16] == bytes([0x00, 0x01, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1])
    assert data[16:] == bytes([0x00, 0x01, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2])


def test_the_extended_header_of_port_groups():
    data = bench()(cdb(GROUPS, F=0x2A, N=256)).data
    assert struct.unpack(">I", data[:4])[0] == 16
    assert data[4] == 0x10


def test_other_formats_of_port_groups_are_refused():
    ended = bench()(cdb(GROUPS, F=0x4A, N=256))
    assert ended.check.field == (1, 7)


def test_task_management_functions():
    """SPC-4 §6.37: ATS ATSS CTSS LURS TRS; REPD gives 16 bytes."""
    assert bench()(cdb(TASKS, F=0, N=256)).data == bytes([0xDA, 0, 0, 0])
    extended = bench()(cdb(TASKS, F=0x80, N=256)).data
    assert extended[:4] == bytes([0xDA, 0, 0, 12])
    assert len(extended) == 16
