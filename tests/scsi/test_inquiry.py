"""INQUIRY and its vital product data pages."""

import struct

import pytest

from scsipub.scsi import inquiry, limits
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.sense import Key
from tests.support.scsi import UUID, bench


def vpd(disk, page, allocation=1024):
    return disk(struct.pack(">BBBHx", 0x12, 1, page, allocation)).data


def standard(disk, allocation=255):
    return disk(struct.pack(">BBBHx", 0x12, 0, 0, allocation)).data


def test_standard_data_is_a_disk_of_spc_4():
    """SPC-4 §6.6.2; version 6, response data format 2, additional length true."""
    data = standard(bench())

    assert data[0] == 0x00
    assert data[1] == 0x00
    assert data[2] == 6
    assert data[3] & 0x0F == 2
    assert data[4] == len(data) - 5
    assert data[8:36] == b"SCSIPUB DISK            0001"


def test_removable_units_say_so():
    assert standard(bench(removable=True))[1] == 0x80


def test_standard_data_claims_the_standards_it_keeps():
    """SPC-4 table 143: version descriptors; 04C0h is SBC-3, which a 3Ch long Block Limits page needs."""
    claimed = struct.unpack(">8H", standard(bench())[58:74])

    assert set(claimed) == {0x00A0, 0x0460, 0x04C0, 0x0960, 0}


def test_standard_data_says_what_target_port_groups_and_copy_can_do():
    data = standard(bench())

    assert data[5] == 0x10 | 0x08  # TPGS 01b, 3PC; PROTECT 0
    assert data[7] == 0x02  # CMDQUE


def test_a_page_code_without_evpd_is_refused():
    """SPC-4 §6.6.1."""
    ended = bench()("12 00 80 00 ff 00")

    assert ended.key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)
    assert ended.check.field == (2, 7)


def test_a_page_that_does_not_exist_is_refused():
    assert bench()("12 01 b7 00 ff 00").key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def test_the_supported_pages_are_listed_in_order_and_all_answer():
    """SPC-4 §7.8.14."""
    disk = bench()
    listed = list(vpd(disk, 0x00)[4:])

    assert listed == sorted(set(listed)) == sorted(inquiry.PAGES)
    for page in listed:
        data = vpd(disk, page)
        assert data[1] == page
        assert len(data) == 4 + int.from_bytes(data[2:4], "big")


def test_the_serial_number_is_the_uuid():
    assert vpd(bench(), 0x80)[4:] == UUID.hex().encode()


def split(data):
    """Designators of page 83h: association, type -> value."""
    found = {}
    at = 4
    while at < len(data):
        value = data[at + 4 : at + 4 + data[at + 3]]
        found[(data[at + 1] >> 4 & 3, data[at + 1] & 15)] = value
        at += 4 + data[at + 3]
    return found


def test_the_unit_has_every_kind_of_name():
    """SPC-4 §7.8.6: NAA 6, EUI-64, T10 and SCSI name of the unit, port number and group, names of port and
    target."""
    name = "iqn.2025-01.pub.scsipub:blank"
    found = split(vpd(bench(target_name=name), 0x83))

    assert found[(0, 3)][0] >> 4 == 6
    assert len(found[(0, 3)]) == 16
    assert len(found[(0, 2)]) == 8
    assert found[(0, 1)] == b"SCSIPUB " + UUID.hex().encode()
    assert found[(0, 8)].rstrip(b"\0") == b"naa." + found[(0, 3)].hex().upper().encode()
    assert found[(1, 4)] == b"\0\0\0\1"
    assert found[(1, 5)] == b"\0\0\0\1"
    assert found[(1, 8)].rstrip(b"\0") == name.encode() + b",t,0x0001"
    assert found[(2, 8)].rstrip(b"\0") == name.encode()


def test_a_path_says_through_which_port_it_leads():
    """SPC-4 §7.8.6.6: multipath software finds the port group of a path in page 83h of that path."""
    disk = bench(target_ports=2)
    first = split(vpd(disk, 0x83))
    disk.lane = disk.unit.attach("iqn.2025-01.test:other", target_port=2)
    second = split(vpd(disk, 0x83))

    assert (first[(1, 4)], first[(1, 5)]) == (b"\0\0\0\1", b"\0\0\0\1")
    assert (second[(1, 4)], second[(1, 5)]) == (b"\0\0\0\2", b"\0\0\0\2")
    assert second[(1, 8)].rstrip(b"\0").endswith(b",t,0x0002")
    assert [first[key] for key in first if key[0] == 0] == [second[key] for key in second if key[0] == 0]


@pytest.mark.parametrize("length", [16, 17, 18, 19, 223])
def test_name_strings_end_in_nul_and_fill_four_bytes(length):
    """SPC-4 §7.8.6.11."""
    found = split(vpd(bench(target_name="iqn.2025-01.a:".ljust(length, "x")), 0x83))

    assert found[(2, 8)][-1] == 0
    assert len(found[(2, 8)]) % 4 == 0


def test_names_stay_the_same_on_every_path_and_differ_between_units():
    one = split(vpd(bench(), 0x83))
    again = split(vpd(bench(target_name="iqn.2025-01.x:y"), 0x83))
    unit_names = [(0, 1), (0, 2), (0, 3), (0, 8)]

    assert [one[key] for key in unit_names] == [again[key] for key in unit_names]
    other = split(b"\0\0\0\0" + inquiry.device_identification(UnitConfig(uuid=bytes(16))))
    assert all(one[key] != other[key] for key in unit_names)


def test_the_company_id_is_a_locally_administered_one():
    """We own none: bit 1 of its first byte says that it was made up."""
    naa = UnitConfig(uuid=UUID).naa6

    assert int.from_bytes(naa, "big") >> 116 & 0xFF == 0x02


def test_block_limits_are_as_long_as_sbc_3_says():
    """SBC-3 §6.6.4: page length 3Ch."""
    data = vpd(bench(), 0xB0, 64)

    assert len(data) == 64
    assert data[3] == 0x3C


@pytest.mark.parametrize("size", [512, 4096])
def test_block_limits_are_counted_in_blocks(size):
    fields = struct.unpack(">4xBBHIIIIIIIQIIIII", vpd(bench(block_size=size, physical_exponent=1), 0xB0))
    (
        wsnz,
        compare,
        granularity,
        most,
        _,
        _,
        unmap,
        descriptors,
        unmap_granularity,
        alignment,
        same,
        atomic,
        *rest,
    ) = fields

    assert (wsnz, compare, granularity) == (0, 1, 2)
    assert most == 32 * 1024 * 1024 // size
    assert 2 <= unmap <= 1 << 20
    assert descriptors == 256
    assert unmap_granularity == 4096 // size
    assert alignment == 0x80000000
    assert same == 64 * 1024 * 1024 // size
    assert 256 <= atomic <= most
    assert rest == [0, 0, 0, 0]


def test_a_fully_provisioned_unit_has_no_unmap_limits():
    data = vpd(bench(thin=False), 0xB0)

    assert struct.unpack(">II", data[20:28]) == (0, 0)
    assert vpd(bench(thin=False), 0xB2)[4:] == bytes(4)


def test_thin_units_say_how_blocks_are_given_back_and_that_they_read_zero():
    """SBC-3 §6.6.7: LBPU, LBPWS, LBPWS10, LBPRZ=001b, no ANC_SUP; type 2 is thin."""
    data = vpd(bench(), 0xB2)

    assert data[5] == 0x80 | 0x40 | 0x20 | 0x04
    assert data[6] & 0x07 == 2


def test_the_disk_does_not_spin_and_can_be_read_after_an_erase():
    """SBC-3 §6.6.2: MEDIUM ROTATION RATE 0001h; WABEREQ and WACEREQ 01b."""
    data = vpd(bench(), 0xB1)

    assert data[4:6] == b"\0\1"
    assert data[7] == 0x50
    assert len(data) == 64


def test_extended_data_tell_the_task_attributes_and_the_cache():
    data = vpd(bench(), 0x86)

    assert len(data) == 64
    assert data[5] == 0x07
    assert data[6] == 0x01
    assert vpd(bench(write_cache=False), 0x86)[6] == 0x00


def test_mode_pages_are_shared_by_all_nexuses():
    """SPC-4 §7.8.11: policy 00b for page 3Fh, subpage FFh."""
    assert vpd(bench(), 0x87)[4:] == bytes([0x3F, 0xFF, 0, 0])


def test_third_party_copy_lists_the_commands_that_exist():
    """SPC-4 §7.8.17.4: RECEIVE COPY STATUS is service action 00h of 84h."""
    data = vpd(bench(), 0x8F)
    assert len(data) % 4 == 0

    at, kinds = 4, {}
    while at < len(data):
        kind, length = struct.unpack_from(">HH", data, at)
        kinds[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    assert at == len(data)
    assert kinds[1][: 1 + kinds[1][0]] == bytes([7, 0x83, 1, 0, 0x84, 2, 0, 3])
    assert kinds[4][4:8] == struct.pack(">HH", limits.COPY_TARGETS, limits.COPY_SEGMENTS)
    assert kinds[8][:4] == bytes([3, 0x02, 0x0A, 0xE4])


@pytest.mark.parametrize(
    "bad",
    [
        {"uuid": b"short"},
        {"block_size": 520},
        {"vendor": "too long!"},
        {"product": ""},
        {"revision": "\x00"},
        {"physical_exponent": 16},
    ],
)
def test_a_unit_that_could_not_be_described_is_not_made(bad):
    with pytest.raises(ValueError):
        UnitConfig(**{"uuid": UUID, **bad})
