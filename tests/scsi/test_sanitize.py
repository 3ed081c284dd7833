"""SANITIZE: what it accepts, what it leaves, and what goes on meanwhile."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import CheckCondition
from scsipub.scsi.command import During
from scsipub.scsi.commands import COMMANDS
from scsipub.scsi.sanitize import parse_overwrite_untrusted
from scsipub.scsi.sense import Key
from scsipub.scsi.unit import Reset
from tests.support.scsi import bench, cdb

SANITIZE = "48 S:1 00 00 00 00 00 N:2 00"
OVERWRITE, BLOCK, CRYPTO, EXIT = 0x01, 0x02, 0x03, 0x1F
IMMED, AUSE = 0x80, 0x20
TUR = "00 00 00 00 00 00"
READ = "88 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00"
IN_PROGRESS = (Key.NOT_READY, 0x04, 0x1B)
FAILED = (Key.MEDIUM_ERROR, 0x31, 0x03)
IFC = (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def pattern(data, count=1, flags=0):
    return bytes([flags | count, 0]) + len(data).to_bytes(2, "big") + data


def overwrite(disk, data, flags=0):
    return disk(cdb(SANITIZE, S=OVERWRITE | flags, N=len(data)), data)


@pytest.mark.parametrize("block_size", [512, 4096])
@pytest.mark.parametrize("size", [1, 4, 5, 256, 512])
def test_overwriting_leaves_the_pattern_in_every_block(size, block_size):
    """SBC-3 §5.22.2: the pattern begins again in each block."""
    disk = bench(blocks=40, block_size=block_size)
    assert overwrite(disk, pattern(bytes(range(1, 256))[:size].ljust(size, b"."))).key is None
    block = (bytes(range(1, 256))[:size].ljust(size, b".") * block_size)[:block_size]
    assert disk.medium.read(0, 40) == block * 40
    assert disk.medium.flushes == 1
    assert disk(TUR).key is None


@pytest.mark.parametrize(
    ("count", "flags", "inverted"), [(1, 0x80, False), (2, 0x80, True), (2, 0, False), (31, 0, False)]
)
def test_with_invert_every_second_pass_is_the_complement(count, flags, inverted):
    """Only the last pass is written."""
    disk = bench(blocks=4)
    assert overwrite(disk, pattern(b"\x0f" * 512, count, flags)).key is None
    assert disk.medium.read(0, 4) == (b"\xf0" if inverted else b"\x0f") * 2048


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 517])
def test_a_parameter_list_is_longer_than_its_header_and_holds_one_block_at_most(length):
    """The length in the CDB decides, however much data the transport announces."""
    ended = bench()(cdb(SANITIZE, S=OVERWRITE, N=length), bytes(520))
    assert ended.key == IFC
    assert ended.check.field == (7, 7)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (pattern(b"x" * 512, count=0), (0, 4)),
        (b"\x01\x00\x00\x00" + bytes(512), (2, 7)),
        (b"\x01\x00\x02\x04" + bytes(512), (2, 7)),
        (pattern(b"x", flags=0x20), (0, 6)),
        (b"\x01\x01\x00\x01x", (1, 7)),
    ],
)
def test_a_parameter_list_that_is_not_right_starts_nothing(data, field):
    disk = bench()
    ended = overwrite(disk, data)
    assert ended.key == (Key.ILLEGAL_REQUEST, 0x26, 0x00)
    assert ended.check.field == field
    assert disk(TUR).key is None


def test_a_pattern_that_was_cut_is_refused():
    disk = bench()
    assert disk(cdb(SANITIZE, S=OVERWRITE, N=516), pattern(bytes(512))[:100]).key == (
        Key.ILLEGAL_REQUEST,
        0x1A,
        0,
    )
    assert disk(TUR).key is None


@pytest.mark.parametrize("kind", [BLOCK, CRYPTO])
def test_an_erase_unmaps_every_block(kind):
    """SBC-3 §4.11.2: afterwards nothing is mapped, and reads are good (WABEREQ, WACEREQ 01b) and zero."""
    disk = bench(blocks=100)
    disk.medium.write_same(0, 100, b"x" * 512)
    assert disk(cdb(SANITIZE, S=kind, N=0)).key is None
    assert list(disk.medium.mapped_runs(0, 100)) == [(False, 0, 100)]
    assert disk(READ).data == bytes(512)


@pytest.mark.parametrize("kind", [BLOCK, CRYPTO, EXIT])
def test_only_an_overwrite_has_a_parameter_list(kind):
    assert bench()(cdb(SANITIZE, S=kind, N=8), bytes(8)).key == IFC


@pytest.mark.parametrize("action", [a for a in range(32) if a not in (OVERWRITE, BLOCK, CRYPTO, EXIT)])
def test_other_service_actions_do_not_exist(action):
    assert bench()(cdb(SANITIZE, S=action, N=0)).key == IFC


@pytest.mark.parametrize("kind", [OVERWRITE, BLOCK, CRYPTO])
def test_reserved_bits_are_refused(kind):
    for byte, bits in [(1, 0x40), *((byte, 1) for byte in range(2, 7))]:
        raw = bytearray(cdb(SANITIZE, S=kind, N=5 if kind == OVERWRITE else 0))
        raw[byte] |= bits
        assert bench()(bytes(raw), pattern(b"x")).key == IFC


def test_a_write_protected_unit_is_not_sanitized():
    assert bench(read_only=True)(cdb(SANITIZE, S=BLOCK, N=0)).key == (Key.DATA_PROTECT, 0x27, 0x00)


def running(seconds=6.0, flags=0):
    """A unit in the middle of a block erase that takes its time."""
    disk = bench(sanitize_seconds=seconds)
    plan = disk.unit.begin(disk.lane, cdb(SANITIZE, S=BLOCK | flags, N=0), 0.0)
    plan.background.start(0.0)
    return disk, plan.background


def test_while_it_runs_almost_nothing_else_works():
    """SBC-3 §4.11.1: NOT READY, SANITIZE IN PROGRESS with its progress; the exceptions are in the table."""
    disk, work = running()
    assert (disk.lane.may_read, disk.lane.may_write) == (False, False)
    work.step(disk.medium, 3.0)

    for row in COMMANDS.values():
        ended = disk(bytes([row.opcode, row.action or 0]) + bytes(14))
        if During.SANITIZE in row.during:
            assert ended.key != IN_PROGRESS, row.name
        else:
            assert ended.key == IN_PROGRESS, row.name
            assert ended.check.progress == 32768, row.name


def test_request_sense_tells_the_progress():
    disk, work = running()
    work.step(disk.medium, 1.5)
    data = disk("03 00 00 00 ff 00").data

    assert (data[2], data[12], data[13]) == IN_PROGRESS
    assert data[15:18] == b"\x80\x40\x00"


def test_it_goes_on_over_resets_and_the_loss_of_its_session():
    """SBC-3 §4.11.1."""
    disk, work = running()
    for kind in Reset:
        disk.unit.reset(kind)
    disk.unit.detach(disk.lane)
    back = disk.another()

    assert disk(TUR, lane=back).key == IN_PROGRESS
    assert not back.may_read
    work.finish()
    assert disk(TUR, lane=back).key is None
    assert back.may_read


def test_it_lasts_as_long_as_it_is_paced_and_no_step_waits_long():
    disk, work = running(seconds=6.0)
    now, waits = 0.0, []
    while (wait := work.step(disk.medium, now)) is not None:
        waits.append(wait)
        now += wait

    assert now == pytest.approx(6.0)
    assert max(waits) <= 1.0


def test_unpaced_work_is_cut_into_steps_that_do_not_wait():
    disk = bench(blocks=20_000)
    plan = disk.unit.begin(disk.lane, cdb(SANITIZE, S=OVERWRITE, N=5), 0.0)
    plan.run(disk.medium, pattern(b"x"))
    work = plan.background
    work.start(0.0)

    assert work.step(disk.medium, 0.0) == 0.0
    assert work.progress == 8192 * 65536 // 20_000
    assert work.step(disk.medium, 0.0) == 0.0
    assert work.step(disk.medium, 0.0) is None
    assert work.progress == 65535


def test_the_status_waits_for_the_end_unless_immed():
    assert running()[1].waits is True
    assert running(flags=IMMED)[1].waits is False


def test_a_failure_closes_the_unit_until_sanitize_succeeds():
    """SBC-3 §4.11.1: MEDIUM ERROR, SANITIZE COMMAND FAILED; without AUSE there is no exit."""
    disk = bench()
    disk.medium.next_errors.append(errno.EIO)
    assert disk(cdb(SANITIZE, S=BLOCK, N=0)).key == (Key.MEDIUM_ERROR, 0x0C, 0x00)
    assert disk(TUR).key == disk(READ).key == FAILED
    assert disk("03 00 00 00 12 00").data[12:14] == b"\x31\x03"
    assert not disk.lane.may_read
    assert disk(cdb(SANITIZE, S=EXIT, N=0)).key == FAILED

    assert disk(cdb(SANITIZE, S=BLOCK, N=0)).key is None
    assert disk(READ).key is None


def test_with_ause_the_failure_may_be_left():
    disk = bench()
    disk.medium.next_errors.append(errno.EIO)
    disk(cdb(SANITIZE, S=BLOCK | AUSE, N=0))
    assert disk(cdb(SANITIZE, S=EXIT, N=0)).key is None
    assert disk(READ).key is None
    assert disk.lane.may_read


def test_leaving_a_failure_that_is_not_there_is_good():
    assert bench()(cdb(SANITIZE, S=EXIT, N=0)).key is None


@given(st.binary(max_size=600))
@settings(max_examples=150)
def test_noise_is_a_block_or_a_check_condition(noise):
    try:
        assert len(parse_overwrite_untrusted(noise, 512)) == 512
    except CheckCondition as check:
        assert check.asc in (0x1A, 0x26)
