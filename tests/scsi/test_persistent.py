"""PERSISTENT RESERVE IN and OUT."""

import contextlib
import struct

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import CheckCondition, CommandEnded
from scsipub.scsi import sense
from scsipub.scsi.command import Reserved
from scsipub.scsi.commands import COMMANDS
from scsipub.scsi.persistent import parse_reserve_out_untrusted
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.reservations import Action, Kind
from scsipub.scsi.sense import Key
from scsipub.scsi.unit import Reset
from tests.support.scsi import bench, cdb

IN = "5e S:1 00 00 00 00 00 N:2 00"
OUT = "5f S:1 K:1 00 00 N:4 00"
TUR = "00 00 00 00 00 00"
IFP = (Key.ILLEGAL_REQUEST, 0x26, 0x00)


def out(disk, action, key=0, new=0, kind=0, flags=0, lane=None):
    data = struct.pack(">QQ4xB3x", key, new, flags)
    return disk(cdb(OUT, S=action, K=kind, N=24), data, lane=lane)


def move(disk, key, new, port, relative_port=1, flags=0, length=None):
    name = port if isinstance(port, bytes) else port.transport_id
    data = struct.pack(">QQxBHI", key, new, flags, relative_port, len(name)) + name
    return disk(cdb(OUT, S=Action.REGISTER_AND_MOVE, K=0, N=len(data) if length is None else length), data)


def pair(kind=None):
    """A disk, and a second nexus; both registered, the first holding ``kind``."""
    disk = bench(removable=True)
    other = disk.another()
    out(disk, Action.REGISTER, new=1)
    out(disk, Action.REGISTER, new=2, lane=other)
    if kind is not None:
        assert out(disk, Action.RESERVE, key=1, kind=kind).status == sense.GOOD
    return disk, other


def test_keys_are_read_in_the_order_of_registration():
    """SPC-4 §6.15.2: generation, length, keys; a short allocation does not shorten the length."""
    disk, _ = pair()
    assert disk(cdb(IN, S=0, N=256)).data == struct.pack(">IIQQ", 2, 16, 1, 2)
    assert disk(cdb(IN, S=0, N=8)).data == struct.pack(">II", 2, 16)


@pytest.mark.parametrize("kind", Kind)
def test_the_reservation_is_read_with_the_key_of_its_holder(kind):
    """SPC-4 §6.15.3: key 0 when all registrants hold it."""
    disk, other = pair(kind)
    expected = struct.pack(">IIQ4xxB2x", 2, 16, 0 if kind.all_hold else 1, kind)
    assert disk(cdb(IN, S=1, N=256)).data == expected
    assert disk(cdb(IN, S=1, N=256), lane=other).data == expected


def test_no_reservation_is_an_empty_answer():
    assert bench()(cdb(IN, S=1, N=256)).data == struct.pack(">II", 0, 0)


def test_capabilities_say_what_is_supported():
    """SPC-4 §6.15.4: ATP_C; PTPL_C only where somebody keeps the state; TMV and all six types."""
    disk = bench()
    assert disk(cdb(IN, S=2, N=256)).data == bytes([0, 8, 0x04, 0x80, 0xEA, 0x01, 0, 0])
    disk.unit.keeps_reservations = True
    out(disk, Action.REGISTER, new=1, flags=0x01)
    assert disk(cdb(IN, S=2, N=256)).data == bytes([0, 8, 0x05, 0x81, 0xEA, 0x01, 0, 0])


def test_the_full_status_names_every_registrant():
    """SPC-4 §6.15.5."""
    disk, other = pair(5)
    data = disk(cdb(IN, S=3, N=1024)).data
    found, at = [], 8
    while at < len(data):
        key, flags, kind, port, length = struct.unpack_from(">Q4xBB4xHI", data, at)
        found.append((key, flags, kind, port, data[at + 24 : at + 24 + length]))
        at += 24 + length
    assert struct.unpack(">I", data[4:8])[0] == len(data) - 8
    assert found == [(1, 1, 5, 1, disk.lane.port.transport_id), (2, 0, 0, 1, other.port.transport_id)]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("row", COMMANDS.values(), ids=lambda row: row.name)
def test_every_command_meets_every_type_as_its_column_says(row, kind):
    """SPC-4 table 57, for holder, registrant and stranger; the flags of the hot path agree."""
    disk, registrant = pair(kind)
    stranger = disk.another("iqn.2025-01.test:three")
    raw = bytes([row.opcode, row.action or 0]) + bytes(14)
    state = disk.unit.reservations
    for lane in (disk.lane, registrant, stranger):
        expected = state.allows(lane.port, row.reserved) or (row.excused is not None and row.excused(raw))
        if row.opcode in (0x16, 0x17, 0x5F):
            continue  # these have rules of their own
        ended = disk(raw, lane=lane)
        assert (ended.status == sense.RESERVATION_CONFLICT) != expected
        while lane.attentions.take_nowait():
            pass
        disk.unit.refresh()
        disk.unit.loaded = True
    assert stranger.may_write is False
    assert stranger.may_read == (kind in (1, 5, 7))
    assert registrant.may_write == (kind >= 5)


def test_the_start_of_a_unit_and_allowing_removal_pass_every_reservation():
    disk, _ = pair(3)
    stranger = disk.another("iqn.2025-01.test:three")
    assert disk("1b 00 00 00 01 00", lane=stranger).status == sense.GOOD
    assert disk("1b 00 00 00 00 00", lane=stranger).status == sense.RESERVATION_CONFLICT
    assert disk("1e 00 00 00 00 00", lane=stranger).status == sense.GOOD
    assert disk("1e 00 00 00 01 00", lane=stranger).status == sense.RESERVATION_CONFLICT


def test_a_registration_survives_the_loss_of_its_nexus_and_every_reset():
    disk, other = pair(1)
    disk.unit.detach(disk.lane)
    for kind in Reset:
        disk.unit.reset(kind)
    back = disk.unit.attach("again", port=disk.lane.port)
    assert back.may_write
    assert not other.may_write


def test_unregistering_a_shared_reservation_is_news_for_the_others_only():
    disk, other = pair(6)
    assert out(disk, Action.REGISTER, key=1, new=0).status == sense.GOOD
    assert disk(cdb(IN, S=0, N=8)).key is None
    assert disk(TUR, lane=other).key == (Key.UNIT_ATTENTION, 0x2A, 0x04)
    assert disk(TUR, lane=other).key is None


def test_preempting_takes_the_flags_of_the_hot_path_at_once():
    disk, other = pair(1)
    assert out(disk, Action.PREEMPT, key=2, new=1, kind=1, lane=other).status == sense.GOOD
    assert (disk.lane.may_read, disk.lane.may_write) == (False, False)
    assert disk(TUR).key == (Key.UNIT_ATTENTION, 0x2A, 0x05)
    assert (disk.lane.may_read, disk.lane.may_write) == (True, False)
    assert other.may_write


def test_a_change_is_decided_then_made_durable_then_made():
    """Between ``run`` and ``after`` nothing is different, and further changes find the unit busy."""
    disk, other = pair(1)
    plan = disk.unit.begin(other, cdb(OUT, S=Action.PREEMPT_AND_ABORT, K=3, N=24).ljust(16, b"\0"), 0)
    before = disk.unit.reservations
    plan.run(disk.medium, struct.pack(">QQ8x", 2, 1))
    assert plan.commit().state.kind == 3
    assert plan.aborts() == (disk.lane.port,)
    assert disk.unit.reservations is before
    assert out(disk, Action.CLEAR, key=1).status == sense.BUSY

    plan.undo()
    assert disk.unit.reservations is before
    plan.run(disk.medium, struct.pack(">QQ8x", 2, 1))
    plan.after()
    assert disk.unit.reservations == plan.commit().state
    assert disk.unit.reserving is False


def test_a_failed_request_leaves_nothing_pending():
    disk, _ = pair()
    assert out(disk, Action.CLEAR, key=9).status == sense.RESERVATION_CONFLICT
    assert disk.unit.reserving is False


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("length", [0, 23, 25, 293, 0xFFFFFFFF])
def test_the_length_of_the_list_is_checked_before_any_of_it_is_asked_for(action, length):
    """05h/1Ah/00h; only REGISTER (for SPEC_I_PT, refused later) and MOVE may be longer than 24 bytes."""
    disk = bench()
    raw = cdb(OUT, S=action, K=1, N=length).ljust(16, b"\0")
    if length == 25 and action in (Action.REGISTER, Action.REGISTER_AND_MOVE):
        assert disk.unit.begin(disk.lane, raw, 0).data_out == 25
    else:
        with pytest.raises(CheckCondition) as refused:
            disk.unit.begin(disk.lane, raw, 0)
        assert refused.value.asc == 0x1A


def test_spec_i_pt_is_refused_and_changes_nothing():
    """SIP_C=0: 05h/26h/00h whatever TransportIDs follow."""
    disk = bench()
    for tail in (b"", b"\xff\xff\xff\xff", struct.pack(">I", 24) + InitiatorPort("iqn.a:b").transport_id):
        data = struct.pack(">QQ4xB3x", 0, 5, 0x08) + tail
        assert disk(cdb(OUT, S=0, K=0, N=len(data)), data).key == IFP
    assert disk.unit.reservations.registrations == ()


def test_a_longer_list_without_spec_i_pt_is_refused():
    data = struct.pack(">QQ4xB3x", 0, 5, 0) + bytes(4)
    assert bench()(cdb(OUT, S=0, K=0, N=28), data).key == (Key.ILLEGAL_REQUEST, 0x1A, 0x00)


def test_aptpl_is_refused_where_nothing_is_kept():
    assert out(bench(), Action.REGISTER, new=1, flags=0x01).key == IFP
    assert out(bench(), Action.REGISTER, new=1, flags=0x04).status == sense.GOOD


def test_moving_to_a_transport_id():
    disk, _ = pair(1)
    target = InitiatorPort("iqn.2025-01.test:heir")
    assert move(disk, 1, 7, target).status == sense.GOOD
    assert disk.unit.reservations.holder == target
    assert not disk.lane.may_write
    assert disk.unit.attach("heir", port=target).may_write


@pytest.mark.parametrize(
    "fields",
    [
        {"port": b"\x05\0\xff\xff" + bytes(20)},
        {"port": b"garbage!" * 3},
        {"port": InitiatorPort("iqn.2025-01.test:heir"), "relative_port": 2},
        {"port": InitiatorPort("iqn.2025-01.test:heir"), "flags": 0x01},
        {"port": InitiatorPort("iqn.2025-01.test:heir"), "length": 24},
    ],
)
def test_a_move_that_is_not_right_changes_nothing(fields):
    disk, _ = pair(1)
    before = disk.unit.reservations
    assert move(disk, 1, 7, **fields).key == IFP
    assert disk.unit.reservations is before


def test_who_is_known_by_name_is_registered_at_every_port():
    """SPC-4 §6.15.5: ALL_TG_PT says that the relative target port does not matter."""
    disk = bench(target_ports=2)
    out(disk, Action.REGISTER, new=7)
    by_name = disk(cdb(IN, S=3, N=256)).data[8 + 12]

    disk = bench(target_ports=2)
    port = InitiatorPort("iqn.2025-01.test:one", bytes(6), target_port=1)
    disk.lane = disk.unit.attach("one", port=port)
    out(disk, Action.REGISTER, new=7)
    by_port = disk(cdb(IN, S=3, N=256)).data[8 + 12]

    assert (by_name & 2, by_port & 2) == (2, 0)


def at_both_ports(disk):
    """One initiator port, seen at each of two target ports: two nexuses."""
    port = InitiatorPort("iqn.2025-01.test:one", bytes(6), target_port=1)
    other = attrs.evolve(port, target_port=2)
    disk.lane = disk.unit.attach("one", port=port, target_port=1)
    return disk.unit.attach("one", port=other, target_port=2)


def full_status(disk):
    """Of every registrant: its key, ALL_TG_PT, its relative target port."""
    data, found = disk(cdb(IN, S=3, N=512)).data[8:], []
    while data:
        key, flags, port, length = struct.unpack_from(">Q4xB5xHI", data)
        found.append((key, bool(flags & 2), port))
        data = data[24 + length :]
    return found


def test_a_registration_counts_at_the_target_port_that_it_came_through():
    """SPC-4 §6.16.3: ALL_TG_PT=0."""
    disk = bench(target_ports=2)
    other = at_both_ports(disk)
    out(disk, Action.REGISTER, new=7)
    out(disk, Action.RESERVE, key=7, kind=5)

    assert full_status(disk) == [(7, False, 1)]
    assert disk.lane.may_write
    assert not other.may_write
    out(disk, Action.REGISTER, new=8, lane=other)
    assert full_status(disk) == [(7, False, 1), (8, False, 2)]
    assert other.may_write


def test_all_target_ports_are_registered_as_if_asked_at_each():
    """SPC-4 §6.16.3: ALL_TG_PT=1; one request, one PRGENERATION."""
    disk = bench(target_ports=2)
    other = at_both_ports(disk)
    out(disk, Action.REGISTER, new=7, flags=0x04)
    assert full_status(disk) == [(7, False, 1), (7, False, 2)]
    assert disk.unit.reservations.generation == 1

    out(disk, Action.REGISTER, key=7, new=8, lane=other)
    assert out(disk, Action.REGISTER, key=7, new=9, flags=0x04).status == sense.RESERVATION_CONFLICT
    assert full_status(disk) == [(7, False, 1), (8, False, 2)]

    assert out(disk, Action.REGISTER_AND_IGNORE, new=0, flags=0x04).status == sense.GOOD
    assert full_status(disk) == []


def test_a_reservation_moves_to_the_port_that_is_named():
    """SPC-4 §5.13.8: from one path of an initiator to the other."""
    disk = bench(target_ports=2)
    other = at_both_ports(disk)
    out(disk, Action.REGISTER, new=7)
    out(disk, Action.RESERVE, key=7, kind=1)

    assert move(disk, 7, 8, disk.lane.port, relative_port=1).key == IFP
    assert move(disk, 7, 8, disk.lane.port, relative_port=2).status == sense.GOOD
    assert (disk.lane.may_write, other.may_write) == (False, True)


def test_reserve_6_and_persistent_reservations_exclude_each_other():
    """CRH=0."""
    disk, _ = pair()
    assert disk("16 00 00 00 00 00").status == sense.RESERVATION_CONFLICT
    assert disk("17 00 00 00 00 00").status == sense.RESERVATION_CONFLICT

    fresh = bench()
    fresh("16 00 00 00 00 00")
    assert out(fresh, Action.REGISTER, new=1).status == sense.RESERVATION_CONFLICT


@pytest.mark.parametrize("action", range(4, 32))
def test_other_kinds_of_persistent_reserve_in_are_an_invalid_field(action):
    assert bench()(cdb(IN, S=action, N=255)).key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def test_replace_lost_reservation_is_not_supported():
    assert bench()(cdb(OUT, S=8, K=0, N=24)).key == (Key.ILLEGAL_REQUEST, 0x24, 0x00)


def test_the_columns_of_persistent_reserve_leave_conflicts_to_the_machine():
    assert all(row.reserved is Reserved.PEEKS for row in COMMANDS.values() if row.opcode in (0x5E, 0x5F))


@given(st.sampled_from(Action), st.integers(0, 255), st.binary(max_size=120))
@settings(max_examples=200)
def test_noise_is_a_request_or_a_peer_error(action, kind, noise):
    raw = cdb(OUT, S=action, K=kind, N=len(noise)).ljust(16, b"\0")
    with contextlib.suppress(CheckCondition, CommandEnded):
        parse_reserve_out_untrusted(raw, noise, InitiatorPort("iqn.a:b"), 1, keeps=False)
