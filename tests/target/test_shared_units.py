"""One unit, two sessions: who answers whom, and what a session that ends leaves behind."""

import socket
import types

import attrs
import pytest
import trio
import trio.testing

from scsipub.iscsi import pdu
from scsipub.iscsi.constants import TaskFunction
from scsipub.iscsi.login_records import Negotiated
from scsipub.iscsi.outbox import Outbox
from scsipub.iscsi.session import Session
from scsipub.limits import DEFAULT
from scsipub.scsi.ports import InitiatorPort
from scsipub.target.descriptor import LunDescriptor, TargetDescriptor
from scsipub.target.nexus import Nexus
from scsipub.worker.blackbox import BlackBox
from scsipub.worker.connection import Connection
from scsipub.worker.latency import Latency
from scsipub.worker.slices import Slices
from scsipub.worker.units import OpenTarget, Units

NEGOTIATED = Negotiated(
    session_type="Normal", initiator_name="iqn.2000-01.test:a", initiator_alias=None, target_name="t",
    isid=bytes(6), tsih=1, cid=0, cmd_sn=1, stat_sn=1, portal_group_tag=1, max_recv_data_segment=262144,
    max_xmit_data_segment=262144, first_burst=262144, max_burst=262144, initial_r2t=False,
    immediate_data=True, max_connections=1, max_outstanding_r2t=1, data_pdu_in_order=True,
    data_sequence_in_order=True, error_recovery_level=0, time2wait=2, time2retain=0,
)  # fmt: skip
RESPONSE, TASK_RESPONSE = 0x21, 0x22
SYNCHRONIZE = bytes.fromhex("35").ljust(16, b"\0")
TEST_UNIT_READY = bytes(16)
SANITIZE = bytes.fromhex("48 02").ljust(16, b"\0")


@attrs.define(eq=False)
class Shared:
    """A target with one disk, and as many sessions as one likes.  They share an outbox, as in a worker."""

    units: Units
    opened: OpenTarget
    out: Outbox = attrs.field(factory=Outbox)

    def session(self) -> Nexus:
        nexus = self.units.connect(self.opened, InitiatorPort("iqn.2000-01.test:a"))
        nexus.session = Session(
            NEGOTIATED, DEFAULT, self.out, nexus, stat_sn=1, now=0.0, targets=lambda _: []
        )
        nexus.management.siblings.append(nexus)
        self.say(nexus, TEST_UNIT_READY)  # takes the attention of a new nexus away
        return nexus

    def say(self, nexus: Nexus, cdb: bytes, tag: int = 1) -> list[int]:
        session = nexus.session
        return self.hear(nexus, pdu.ScsiCommand(
            final=True, read=False, write=False, attribute=1, lun=0, initiator_task_tag=tag,
            expected_data_transfer_length=0, cmd_sn=session.exp_cmd_sn, exp_stat_sn=1, cdb=cdb,
        ))  # fmt: skip

    def reset(self, nexus: Nexus, tag: int = 9) -> list[int]:
        return self.hear(nexus, pdu.TaskManagementRequest(
            immediate=True, function=TaskFunction.LOGICAL_UNIT_RESET, lun=0, initiator_task_tag=tag,
            referenced_task_tag=0xFFFFFFFF, cmd_sn=nexus.session.exp_cmd_sn, exp_stat_sn=1, ref_cmd_sn=0,
            exp_data_sn=0,
        ))  # fmt: skip

    def hear(self, nexus: Nexus, request: pdu.InitiatorPdu) -> list[int]:
        """The opcodes that are in the outbox at the end of this session's turn."""
        data = pdu.wire(request)
        nexus.session.receive(memoryview(data), 0, len(data), 0.0)
        return self.turn_ends(nexus)

    def turn_ends(self, nexus: Nexus) -> list[int]:
        nexus.deliver()
        return self.taken()

    def taken(self) -> list[int]:
        data = b"".join(bytes(segment) for segment in self.out.take())
        opcodes = []
        while data:
            opcodes.append(data[0])
            data = data[48 + (int.from_bytes(data[5:8]) + 3 & ~3) :]
        return opcodes


@pytest.fixture
def shared(tmp_path):
    units = Units(str(tmp_path), DEFAULT, 1)
    lun = LunDescriptor(lun=0, uuid="00" * 16, overlay="d-0123456789abcdef-0", size=1 << 20, budget=1 << 20)
    opened = units.open(TargetDescriptor(name="t", session="s", luns=(lun,), shared=True))
    yield Shared(units, opened)
    units.close(opened)


def test_a_reset_that_waits_for_another_sessions_thread_is_answered_in_a_turn_of_its_own(shared):
    """RFC 7143 §11.6: the response goes to who asked, whatever session the last thread worked for."""
    asking, working = shared.session(), shared.session()
    assert shared.say(working, SYNCHRONIZE, tag=5) == []
    (job,) = working.jobs
    working.jobs = ()

    assert shared.reset(asking) == []
    working.finished(job, None, None, 0.0)

    assert shared.turn_ends(working) == []
    assert shared.turn_ends(asking) == [TASK_RESPONSE]


def test_a_reset_with_nothing_to_wait_for_is_answered_at_once(shared):
    asking = shared.session()

    assert shared.reset(asking) == [TASK_RESPONSE]


def test_a_sanitize_that_was_waited_for_is_answered_in_a_turn_of_its_own(shared):
    """The work belongs to no session, so its end falls into anybody's turn."""
    asking = shared.session()
    assert shared.say(asking, SANITIZE) == []
    ((background, backing, over),) = asking.backgrounds
    now = 0.0
    while (pause := background.step(backing.medium, now)) is not None:
        now += pause

    over(None)

    assert shared.taken() == []
    assert shared.turn_ends(asking) == [RESPONSE]


def test_a_job_that_nobody_started_holds_nothing_when_its_session_ends(shared):
    """Otherwise whatever touches the same blocks would wait for ever."""
    leaving, staying = shared.session(), shared.session()
    shared.say(leaving, SYNCHRONIZE)
    assert shared.reset(staying) == []

    leaving.close()

    assert shared.opened.backings[0].quiet
    assert shared.turn_ends(staying) == [TASK_RESPONSE]


async def test_a_session_that_has_ended_may_still_be_woken_by_others(shared):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    nexus = shared.session()
    worker = types.SimpleNamespace(
        limits=DEFAULT,
        out=shared.out,
        buffer=memoryview(bytearray(1 << 20)),
        threads=trio.CapacityLimiter(1),
        hot_connections=0,
        slices=Slices(DEFAULT, 1 << 20),
        latency=Latency(),
        serving=BlackBox(),
    )
    connection = Connection(worker, ours, nexus, b"")
    with ours, theirs, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            await trio.testing.wait_all_tasks_blocked()
            theirs.close()

        nexus.post(nexus.settle)

    assert not nexus.paths[0].lane.attached
