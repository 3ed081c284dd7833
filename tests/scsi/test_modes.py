"""MODE SENSE and MODE SELECT."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import CheckCondition
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.modes import PAGES, ModeState, parse_select_untrusted
from scsipub.scsi.sense import Key
from tests.support.scsi import UUID, bench

WRITE = "2a 00 00 00 00 00 00 00 01 00"
TUR = "00 00 00 00 00 00"


def control(swp=False, d_sense=False):
    return bytes([0x0A, 10, 4 * d_sense, 0x10, 8 * swp]) + bytes(7)


def select(disk, pages, lane=None, header=bytes(4)):
    data = header + pages
    return disk(bytes([0x15, 0x10, 0, 0, len(data), 0]), data, lane=lane)


def test_all_pages_come_with_header_and_block_descriptor():
    """SPC-4 §7.5.4: MODE DATA LENGTH does not count itself."""
    data = bench()("1a 00 3f 00 ff 00").data

    assert data[0] == len(data) - 1
    assert data[2] == 0x10  # DPOFUA
    assert data[3] == 8
    assert struct.unpack(">II", data[4:12]) == (1024, 512)
    assert [data[12], data[32], data[44]] == [0x08, 0x0A, 0x1C]
    assert len(data) == 56


def test_dbd_leaves_the_block_descriptor_out():
    data = bench()("1a 08 0a 00 ff 00").data

    assert data[3] == 0
    assert data[4:6] == bytes([0x0A, 10])


def test_mode_sense_10_gives_a_long_descriptor_when_asked():
    """SPC-4 §7.5.5: LLBAA, then LONGLBA and 16 bytes."""
    short = bench()("5a 00 08 00 00 00 00 00 ff 00").data
    long = bench(block_size=4096)("5a 10 08 00 00 00 00 00 ff 00").data

    assert struct.unpack(">H", short[:2])[0] == len(short) - 2
    assert struct.unpack(">H", short[6:8])[0] == 8
    assert long[4] == 1
    assert struct.unpack(">H", long[6:8])[0] == 16
    assert struct.unpack(">Q4xI", long[8:24]) == (1024, 4096)


def test_a_unit_of_more_than_32_bits_of_blocks_says_all_ones():
    disk = bench()
    disk.unit.blocks = 1 << 33

    assert disk("1a 00 08 00 ff 00").data[4:8] == b"\xff\xff\xff\xff"


def test_write_protection_shows_in_the_header():
    """SBC-3 §6.4.1: WP is bit 7 of the device-specific parameter."""
    assert bench(read_only=True)("1a 00 3f 00 ff 00").data[2] == 0x90
    assert bench(read_only=True)("5a 00 3f 00 00 00 00 00 ff 00").data[3] == 0x90


def test_the_caching_page_tells_the_truth_about_the_cache():
    assert bench()("1a 08 08 00 ff 00").data[6] == 0x04
    assert bench(write_cache=False)("1a 08 08 00 ff 00").data[6] == 0x00


def test_changeable_values_are_swp_and_d_sense_and_nothing_else():
    """SPC-4 §6.11.3: PC=01b returns a mask."""
    data = bench()("1a 08 7f 00 ff 00").data

    assert data[4:24] == bytes([0x08, 18]) + bytes(18)
    assert data[24:36] == bytes([0x0A, 10, 0x04, 0, 0x08]) + bytes(7)
    assert data[36:] == bytes([0x1C, 10]) + bytes(10)


def test_default_values_do_not_change():
    disk = bench()
    before = disk("1a 08 bf 00 ff 00").data
    select(disk, control(swp=True))

    assert disk("1a 08 bf 00 ff 00").data[4:] == before[4:]
    assert disk("1a 08 3f 00 ff 00").data[4:] != before[4:]


def test_saved_values_do_not_exist():
    """SPC-4 §6.11.5: 05h/39h/00h."""
    assert bench()("1a 08 ff 00 ff 00").key == (Key.ILLEGAL_REQUEST, 0x39, 0x00)


@pytest.mark.parametrize(("page", "subpage", "byte"), [(0x02, 0x00, 2), (0x0A, 0x01, 3), (0x3F, 0x01, 3)])
def test_a_page_that_does_not_exist_is_refused(page, subpage, byte):
    ended = bench()(bytes([0x1A, 8, page, subpage, 255, 0]))

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field[0] == byte


@pytest.mark.parametrize("subpage", [0x00, 0xFF])
def test_all_subpages_are_the_pages_themselves(subpage):
    assert len(bench()(bytes([0x1A, 8, 0x3F, subpage, 255, 0])).data) == 48


def test_swp_protects_on_every_session_and_can_be_taken_back():
    """SPC-4 §7.5.8 and SBC-3: reads go on, writes get 07h/27h/02h; the others hear of it."""
    disk = bench()
    other = disk.another()
    assert select(disk, control(swp=True)).key is None
    assert (disk.lane.may_read, disk.lane.may_write) == (True, False)

    assert disk(WRITE, bytes(512)).key == (Key.DATA_PROTECT, 0x27, 0x02)
    assert disk(WRITE, bytes(512), lane=other).key == (Key.UNIT_ATTENTION, 0x2A, 0x01)
    assert disk(WRITE, bytes(512), lane=other).key == (Key.DATA_PROTECT, 0x27, 0x02)
    assert disk("28 00 00 00 00 00 00 00 01 00", lane=other).key is None

    assert select(disk, control()).key is None
    assert disk(WRITE, bytes(512)).key is None


def test_selecting_what_is_already_so_disturbs_nobody():
    disk = bench()
    other = disk.another()
    select(disk, control())

    assert disk(TUR, lane=other).key is None


def test_d_sense_changes_the_format_of_sense_data():
    disk = bench()
    refused = disk("ff").check
    assert disk.lane.sense_for(refused)[0] == 0x70

    select(disk, control(d_sense=True))
    assert disk.lane.sense_for(refused)[0] == 0x72


def test_wce_cannot_be_changed():
    """The changeable mask is zero, so the bit is an invalid field of the parameter list."""
    ended = select(bench(), bytes([0x08, 18]) + bytes(18))

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x26, 0x00)
    assert ended.check.field == (4 + 2, 2)
    assert ended.check.in_cdb is False


def test_nothing_is_changed_when_one_page_of_two_is_refused():
    disk = bench()
    ended = select(disk, control(swp=True) + bytes([0x08, 18]) + bytes(18))

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x26, 0x00)
    assert disk(WRITE, bytes(512)).key is None


def test_what_mode_sense_gave_mode_select_takes_back():
    disk = bench()
    six = bytearray(disk("1a 00 3f 00 ff 00").data)
    six[0] = 0
    assert disk(bytes([0x15, 0x10, 0, 0, len(six), 0]), bytes(six)).key is None

    ten = disk("5a 10 3f 00 00 00 00 00 ff 00").data
    assert disk(struct.pack(">BB5xHx", 0x55, 0x10, len(ten)), ten).key is None


def test_an_empty_list_changes_nothing_and_is_good():
    assert bench()("15 10 00 00 00 00").key is None


@pytest.mark.parametrize(("byte_1", "bit"), [(0x00, 4), (0x11, 0)])
def test_vendor_format_and_saving_are_refused(byte_1, bit):
    """PF=0 is vendor specific, SP=1 asks to save."""
    ended = bench()(bytes([0x15, byte_1, 0, 0, 16, 0]), bytes(16))

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (1, bit)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bytes(3), (0x1A, 0x00)),  # header cut
        (bytes([0, 1, 0, 0]), (0x26, 0x00)),  # medium type
        (bytes([0, 0, 0, 7]), (0x26, 0x00)),  # block descriptor length
        (bytes([0, 0, 0, 8]) + bytes(7), (0x1A, 0x00)),  # block descriptor cut
        (bytes([0, 0, 0, 8]) + struct.pack(">II", 1023, 512), (0x26, 0x00)),  # another size
        (bytes([0, 0, 0, 8]) + struct.pack(">II", 1024, 4096), (0x26, 0x00)),  # other blocks
        (bytes(4) + b"\x0a", (0x1A, 0x00)),  # page header cut
        (bytes(4) + control()[:-1], (0x1A, 0x00)),  # page cut
        (bytes(4) + bytes([0x0A, 11]) + bytes(11), (0x26, 0x00)),  # page length
        (bytes(4) + bytes([0x02, 10]) + bytes(10), (0x26, 0x00)),  # unknown page
        (bytes(4) + bytes([0x4A, 1, 0, 8]) + bytes(8), (0x26, 0x00)),  # subpage format
    ],
)
def test_a_list_that_is_not_right_is_refused_and_changes_nothing(data, code):
    disk = bench()
    ended = disk(bytes([0x15, 0x10, 0, 0, len(data), 0]), data)

    assert ended.key == (Key.ILLEGAL_REQUEST, *code)
    assert disk.unit.modes == ModeState()


@given(st.binary(max_size=80), st.booleans())
@settings(max_examples=200)
def test_noise_is_a_state_or_a_check_condition(noise, short):
    try:
        state = parse_select_untrusted(noise, short, 1024, UnitConfig(uuid=UUID), ModeState())
    except CheckCondition as check:
        assert check.asc in (0x1A, 0x26)
    else:
        assert isinstance(state, ModeState)


def test_every_page_is_as_long_as_its_mask():
    for page in PAGES.values():
        assert len(page.now(UnitConfig(uuid=UUID), ModeState())) == len(page.changeable)
