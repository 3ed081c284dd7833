"""Fencing: what PREEMPT AND ABORT promises, while threads are at work.

Two nexuses, one unit.  A holds a Write Exclusive reservation for registrants, B is registered; then A
preempts B."""

import struct
from collections.abc import Callable

import attrs
import pytest

from scsipub.iscsi.pdu import ScsiCommand, ScsiResponse
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.reservations import Action, Kind, Registration, Reservations
from scsipub.target.keeping import reservations_from_json, reservations_to_json
from tests.support.talk import (
    RESERVATION_CONFLICT,
    Sense,
    Talk,
    full_feature,
    good,
    pattern,
    read,
    write,
)

A, B = "iqn.2000-01.test:a", "iqn.2000-01.test:b"
REGISTER, RESERVE, PREEMPT, PREEMPT_AND_ABORT = 0, 1, 4, 5
WRITE_EXCLUSIVE_REGISTRANTS = 5
NOT_KEPT = (0x04, 0x44, 0x00)
COMMANDS_CLEARED = (0x06, 0x2F, 0x00)
REGISTRATIONS_PREEMPTED = (0x06, 0x2A, 0x05)


def reserve_out(tag: int, action: int, key: int = 0, new_key: int = 0, kind: int = 0) -> ScsiCommand:
    """PERSISTENT RESERVE OUT with its 24 bytes as immediate data.  SPC-4 §6.16."""
    cdb = struct.pack(">BBB2xIB", 0x5F, action, kind, 24, 0).ljust(16, b"\0")
    data = struct.pack(">QQ8x", key, new_key)
    return ScsiCommand(
        write=True, attribute=1, initiator_task_tag=tag, expected_data_transfer_length=24, cdb=cdb, data=data
    )


def write_through(tag: int) -> ScsiCommand:
    """A WRITE(10) with FUA: it goes to a thread."""
    plain = write(tag, 0, data=pattern(512))
    return attrs.evolve(plain, cdb=plain.cdb[:1] + b"\x08" + plain.cdb[2:])


def conflict(tag: int, length: int = 512) -> ScsiResponse:
    return good(tag, status=RESERVATION_CONFLICT, underflow=True, residual_count=length)


@attrs.frozen
class Cluster:
    a: Talk
    b: Talk


@pytest.fixture
def cluster() -> Cluster:
    a = full_feature(initiator_name=A)
    b = a.another(initiator_name=B)
    a.initiator(reserve_out(1, REGISTER, new_key=0xA))
    b.initiator(reserve_out(1, REGISTER, new_key=0xB))
    a.initiator(reserve_out(2, RESERVE, key=0xA, kind=WRITE_EXCLUSIVE_REGISTRANTS))
    a.target(good(1), good(2))
    b.target(good(1))
    return Cluster(a, b)


def preempt(action: int = PREEMPT_AND_ABORT) -> ScsiCommand:
    return reserve_out(7, action, key=0xA, new_key=0xB, kind=WRITE_EXCLUSIVE_REGISTRANTS)


def test_a_preempted_registrant_may_not_write_any_more(cluster: Cluster) -> None:
    cluster.a.initiator(preempt())
    cluster.a.target(good(7))

    cluster.b.initiator(write(8, 0, data=pattern(512)))
    cluster.b.target(Sense(8, *REGISTRATIONS_PREEMPTED))
    cluster.b.initiator(write(9, 0, data=pattern(512)))
    cluster.b.target(conflict(9))
    cluster.b.initiator(read(10))
    cluster.b.expect_data(10, bytes(512))


def test_preempt_and_abort_is_not_good_while_a_write_is_in_a_thread(cluster: Cluster) -> None:
    """SPC-4 §5.13.11.2.6: the tasks are gone before the command ends."""
    a, b = cluster.a, cluster.b
    b.held = True
    b.initiator(write_through(8))
    assert len(b.threads) == 1

    a.initiator(preempt())
    a.target()
    b.thread()
    a.settle()

    a.target(good(7))
    b.target()


def test_while_the_fence_waits_for_a_thread_nothing_new_of_the_fenced_begins(cluster: Cluster) -> None:
    a, b = cluster.a, cluster.b
    b.held = True
    b.initiator(write_through(8))
    a.initiator(preempt())

    b.initiator(write(9, 8, data=pattern(512)))
    b.target(conflict(9))
    b.initiator(read(10, 8))
    b.target(conflict(10))

    b.thread()
    a.settle()
    a.target(good(7))


def test_whose_tasks_were_aborted_hears_of_it(cluster: Cluster) -> None:
    """SAM-5 §5.6, TAS=0: no answer for the tasks, a unit attention for the next command."""
    a, b = cluster.a, cluster.b
    b.held = True
    b.initiator(write_through(8))
    a.initiator(preempt())
    b.thread()
    a.settle()
    a.target(good(7))

    b.initiator(read(20))
    b.initiator(read(21))
    b.target(Sense(20, *REGISTRATIONS_PREEMPTED), Sense(21, *COMMANDS_CLEARED))


def test_preempt_and_abort_waits_for_a_thread_of_a_session_that_has_ended(cluster: Cluster) -> None:
    """The connection is lost, the write that it brought is still on its way to the disk."""
    a, b = cluster.a, cluster.b
    b.held = True
    b.initiator(write_through(8))
    b.do(b.nexus.close)

    a.initiator(preempt())
    a.target()
    b.thread()
    a.settle()
    a.target(good(7))


def test_a_new_session_of_the_fenced_is_fenced(cluster: Cluster) -> None:
    """Otherwise what it writes while the new state is being kept could arrive after GOOD."""
    a, b = cluster.a, cluster.b
    asked: list[Callable[[str | None], None]] = []
    a.backings[0].keep = lambda change, done: asked.append(done)
    b.do(b.nexus.close)
    a.initiator(preempt())

    again = a.another(initiator_name=B)
    again.initiator(write(9, 0, data=pattern(512)))
    again.target(conflict(9))

    a.do(lambda: asked[0](None))
    a.target(good(7))
    again.initiator(read(10))
    again.target(Sense(10, *REGISTRATIONS_PREEMPTED))


def test_preempt_and_abort_waits_for_a_thread_of_the_fenced_at_another_unit() -> None:
    """It may be an EXTENDED COPY, whose destination is this unit."""

    def at_lun_1(command: ScsiCommand) -> ScsiCommand:
        return attrs.evolve(command, lun=1 << 48)

    a = full_feature(initiator_name=A, luns=(0, 1))
    b = a.another(initiator_name=B)
    a.initiator(at_lun_1(reserve_out(1, REGISTER, new_key=0xA)))
    b.initiator(at_lun_1(reserve_out(1, REGISTER, new_key=0xB)))
    a.target(good(1))
    b.target(good(1))
    b.held = True
    b.initiator(write_through(8))

    a.initiator(at_lun_1(preempt()))
    a.target()
    b.thread()
    a.settle()
    a.target(good(7))


def test_plain_preempt_waits_for_nobody(cluster: Cluster) -> None:
    a, b = cluster.a, cluster.b
    b.held = True
    b.initiator(write_through(8))

    a.initiator(preempt(PREEMPT))

    a.target(good(7))


def test_a_change_is_kept_before_it_is_in_force_and_answered(cluster: Cluster) -> None:
    a, asked = cluster.a, []
    a.backings[0].keep = lambda change, done: asked.append((change, done))

    a.initiator(preempt())
    a.target()
    ((change, done),) = asked
    state = change.state
    assert (change.action, change.by) == (Action.PREEMPT_AND_ABORT, InitiatorPort(A))
    assert [r.key for r in state.registrations] == [0xA]
    assert len(a.unit.reservations.registrations) == 2

    a.do(lambda: done(None))
    a.target(good(7))
    assert a.unit.reservations == state


def test_what_could_not_be_kept_changes_nothing(cluster: Cluster) -> None:
    """The old state holds on, the fence is lifted, and the initiator knows that it has to ask again."""
    a, b = cluster.a, cluster.b
    before = a.unit.reservations
    a.backings[0].keep = lambda state, done: done("the database is away")

    a.initiator(preempt())

    a.target(Sense(7, *NOT_KEPT))
    assert a.unit.reservations == before
    b.initiator(write(9, 0, data=pattern(512)))
    b.target(good(9))


def test_reservations_come_back_from_json_as_they_were() -> None:
    port = InitiatorPort(A, bytes.fromhex("00023d000001"), "alice", 2)
    state = Reservations(
        generation=0xFFFFFFFF, kind=Kind(5), holder=port, aptpl=True,
        registrations=(Registration(port, 2**64 - 1, True), Registration(InitiatorPort(B), 1)),
    )  # fmt: skip

    assert reservations_from_json(reservations_to_json(state)) == state
    assert reservations_from_json(reservations_to_json(Reservations())) == Reservations()
