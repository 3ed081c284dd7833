"""The machine that we run, behind the words of the model: real sessions, units and a store of their own.

Source: SPC-4 §6.15, §6.16 (layouts), RFC 7143 §11.  What the initiators say is written here by hand.
Knows ``tests.support.talk``; the store is SQLite in memory, as control would use it."""

import functools
import struct
from collections.abc import Callable
from typing import Any

import attrs
import sqlalchemy as sa

from scsipub.control.rented import state_of, stored
from scsipub.iscsi.pdu import (
    DataIn,
    DataOut,
    ReadyToTransfer,
    ScsiCommand,
    ScsiResponse,
    TaskManagementRequest,
)
from scsipub.limits import Limits
from scsipub.scsi.attentions import POWER_ON_OR_RESET
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.reservations import Change
from scsipub.scsi.unit import LogicalUnit
from scsipub.store import reservations, schema
from scsipub.target.backing import Backing
from scsipub.target.keeping import change_to_json, reservations_from_json
from scsipub.target.turn import turn
from tests.models.reservations import GOOD, Answer, Call, Nexus
from tests.support.memory_disk import MemoryDisk
from tests.support.talk import Sense, Talk, Worker, ended, join, negotiated

UNIT = "0" * 32
ACTIONS = {
    "REGISTER": 0,
    "RESERVE": 1,
    "RELEASE": 2,
    "CLEAR": 3,
    "PREEMPT": 4,
    "PREEMPT AND ABORT": 5,
    "REGISTER AND IGNORE EXISTING KEY": 6,
    "REGISTER AND MOVE": 7,
    "REPLACE LOST RESERVATION": 8,
}
KEYS, RESERVATION, CAPABILITIES, FULL_STATUS = range(4)
LOGICAL_UNIT_RESET, CLEAR_TASK_SET = 5, 4
# name -> CDB, bytes of data in, bytes of data out
COMMANDS: dict[str, tuple[str, int, int]] = {
    "INQUIRY": ("12 00 00 00 24 00", 36, 0),
    "REPORT LUNS": ("a0 00 00 00 00 00 00 00 00 10 00 00", 16, 0),
    "REQUEST SENSE": ("03 00 00 00 12 00", 18, 0),
    "TEST UNIT READY": ("00 00 00 00 00 00", 0, 0),
    "READ CAPACITY(10)": ("25 00 00 00 00 00 00 00 00 00", 8, 0),
    "REPORT TARGET PORT GROUPS": ("a3 0a 00 00 00 00 00 00 00 40 00 00", 64, 0),
    "READ(10)": ("28 00 00 00 00 00 00 00 01 00", 512, 0),
    "VERIFY(10)": ("2f 00 00 00 00 00 00 00 01 00", 0, 0),
    "PRE-FETCH(10)": ("34 00 00 00 00 00 00 00 01 00", 0, 0),
    "MODE SENSE(6)": ("1a 00 08 00 40 00", 64, 0),
    "GET LBA STATUS": ("9e 12 00 00 00 00 00 00 00 00 00 00 00 20 00 00", 32, 0),
    "SYNCHRONIZE CACHE(10)": ("35 00 00 00 00 00 00 00 00 00", 0, 0),
    "MODE SELECT(6)": ("15 10 00 00 00 00", 0, 0),
    "UNMAP": ("42 00 00 00 00 00 00 00 08 00", 0, 8),
    "WRITE SAME(10)": ("41 00 00 00 00 09 00 00 01 00", 0, 512),
    "COMPARE AND WRITE": ("89 00 00 00 00 00 00 00 00 09 00 00 00 01 00 00", 0, 1024),
    "START STOP UNIT": ("1b 00 00 00 00 00", 0, 0),
    "START": ("1b 00 00 00 01 00", 0, 0),
    "PREVENT": ("1e 00 00 00 01 00", 0, 0),
    "ALLOW": ("1e 00 00 00 00 00", 0, 0),
    "RESERVE(6)": ("16 00 00 00 00 00", 0, 0),
    "RELEASE(6)": ("17 00 00 00 00 00", 0, 0),
}


@attrs.frozen
class Heard:
    """``answer`` None: nothing yet; ``asked``: for data."""

    answer: Answer | None
    data: bytes = b""
    asked: bool = False


@functools.cache
def _store() -> sa.Connection:
    """One for the process: to make a database takes longer than a life in it."""
    connection = sa.create_engine("sqlite://").connect()
    schema.reservations.create(connection)
    return connection


class Bench:
    """One logical unit that several initiators share, and the daemon's memory of it."""

    def __init__(self, *, by_port: bool, ports: int, blocks: int) -> None:
        self.by_port, self.ports, self.blocks = by_port, ports, blocks
        self.store = _store()
        self.store.execute(schema.reservations.delete())
        self.disk = MemoryDisk(blocks)
        self.boot = 1
        self.fails = self.holds = False  # the next change cannot be kept; is kept only at ``let_go``
        self.held: Callable[[], None] | None = None
        self.start()

    # -- the daemon --------------------------------------------------------------------------------------

    def start(self) -> None:
        """What a start of the daemon finds in the store."""
        self.talks: dict[int, Talk] = {}
        self.siblings: list[Any] = []
        self.worker, self.tag, self.held = Worker(), 0, None
        unit = LogicalUnit(UnitConfig(uuid=bytes(16), target_ports=self.ports), self.blocks)
        unit.keeps_reservations = True
        for row in reservations.everything(self.store):
            unit.reservations = reservations_from_json(state_of(row))
        self.backing = Backing(unit, self.disk, 512)  # type: ignore[arg-type]
        self.backing.keep = self.keep
        self.unit = unit

    def restart(self, *, power_loss: bool) -> None:
        if power_loss:
            self.boot += 1
            reservations.drop_of_other_boots(self.store, str(self.boot))
        self.start()

    def keep(self, change: Change, done: Callable[[str | None], None]) -> None:
        if self.fails:
            done("the database is away")
            return

        def commit() -> None:
            version = reservations.get(self.store, UNIT).version + 1
            reservations.replace(self.store, stored(UNIT, version, str(self.boot), change_to_json(change)))
            done(None)

        if self.holds:
            self.held = commit
        else:
            commit()

    def let_go(self) -> None:
        """What was to be kept is kept now."""
        if self.held is not None:
            commit, self.held = self.held, None
            commit()
            self.settle()

    def settle(self) -> None:
        for talk in list(self.talks.values()):
            talk.settle()

    # -- sessions ----------------------------------------------------------------------------------------

    def login(self, number: int, nexus: Nexus) -> None:
        name, isid, principal, target_port = nexus
        port = InitiatorPort(name, None, principal)
        if self.by_port:
            port = InitiatorPort(name, isid, principal, target_port)
        facts = negotiated(initiator_name=name, isid=isid, ImmediateData="Yes", InitialR2T="Yes")
        talk = join(
            {0: self.backing}, facts, Limits(), self.worker, turn, port=port, attention=POWER_ON_OR_RESET
        )
        self.siblings.append(talk.nexus)
        talk.nexus.management.siblings = self.siblings
        self.talks[number] = talk

    def logout(self, number: int) -> None:
        talk = self.talks.pop(number)
        talk.nexus.close()
        self.siblings.remove(talk.nexus)
        self.settle()

    # -- commands ----------------------------------------------------------------------------------------

    def heard(self, number: int) -> Heard:
        """What the target has said to this session since the last time."""
        talk = self.talks[number]
        said, talk.heard = talk.heard, []
        data, answer, asked = b"", None, False
        for each in said:
            if isinstance(each, DataIn):
                data += each.data
                if each.has_status:
                    answer = (GOOD, None)
            elif isinstance(each, ReadyToTransfer):
                asked = True
            elif isinstance(each, ScsiResponse):
                sense = ended(each)
                answer = (each.status, None)
                if isinstance(sense, Sense):
                    answer = (each.status, (sense.key, sense.asc, sense.ascq))
        return Heard(answer, data, asked)

    def say(self, number: int, cdb: bytes, *, read: int = 0, data: bytes = b"", expected: int = 0) -> int:
        """A command; its tag."""
        self.tag += 1
        self.talks[number].initiator(
            ScsiCommand(
                read=bool(read),
                write=bool(data or expected),
                attribute=1,
                initiator_task_tag=self.tag,
                expected_data_transfer_length=read or expected or len(data),
                cdb=cdb.ljust(16, b"\0"),
                data=data,
            )
        )
        self.settle()
        return self.tag

    def command(self, number: int, name: str) -> Heard:
        cdb, read, data = COMMANDS[name]
        self.say(number, bytes.fromhex(cdb), read=read, data=bytes(data))
        return self.heard(number)

    def begin_write(self, number: int, block: int) -> tuple[int, Heard]:
        """WRITE(10) of one block whose data is still to come."""
        tag = self.say(number, struct.pack(">BxIxHx", 0x2A, block, 1), expected=512)
        return tag, self.heard(number)

    def send_data(self, number: int, tag: int, value: int) -> Heard:
        talk = self.talks[number]
        task = talk.session.tasks[tag]
        transfer_tag = task.target_transfer_tag
        talk.initiator(
            DataOut(
                initiator_task_tag=tag,
                target_transfer_tag=0 if transfer_tag is None else transfer_tag,
                final=True,
                data=struct.pack(">Q", value) * 64,
            )
        )
        self.settle()
        return self.heard(number)

    def content(self) -> list[int]:
        """A number for each block."""
        return [struct.unpack_from(">Q", self.disk.content, 512 * block)[0] for block in range(self.blocks)]

    def manage(self, number: int, function: int) -> None:
        self.tag += 1
        self.talks[number].initiator(
            TaskManagementRequest(function=function, initiator_task_tag=self.tag, immediate=True)
        )
        self.settle()
        self.talks[number].heard.clear()

    # -- persistent reservations -------------------------------------------------------------------------

    def out(self, number: int, call: Call) -> Heard:
        data = self.parameter_list(call)
        length = len(data) + 4 * call.length_is_wrong
        cdb = struct.pack(">BBB2xIx", 0x5F, ACTIONS[call.action], call.scope << 4 | call.type, length)
        self.say(number, cdb, data=data + bytes(length - len(data)))
        return self.heard(number)

    def parameter_list(self, call: Call) -> bytes:
        if call.to is None:
            flags = 0x08 * call.spec_i_pt | 0x04 * call.all_tg_pt | 0x01 * call.aptpl
            return struct.pack(">QQ4xB3x", call.key, call.new_key, flags)
        name, isid, port = call.to
        text = name if isid is None else f"{name},i,0x{isid.hex()}"
        raw = text.encode() + b"\0"
        raw += bytes(max(20 - len(raw), -len(raw) % 4))
        transport_id = struct.pack(">BxH", 0x05 if isid is None else 0x45, len(raw)) + raw
        flags = 0x02 * call.unreg | 0x01 * call.aptpl
        header = struct.pack(">QQxBHI", call.key, call.new_key, flags, port, len(transport_id))
        return header + transport_id

    def read_in(self, number: int, action: int) -> Heard:
        self.say(number, struct.pack(">BB5xHx", 0x5E, action, 4096), read=4096)
        return self.heard(number)


def parse_full_status(data: bytes) -> list[tuple[int, bool, bool, int, int, bytes]]:
    """As ``Model.full_status`` tells it."""
    told = []
    while data:
        key, flags, kind, port, length = struct.unpack_from(">Q4xBB4xHI", data)
        told.append((key, bool(flags & 2), bool(flags & 1), kind, port, data[24 : 24 + length]))
        data = data[24 + length :]
    return sorted(told)
