"""The full feature phase as a dialogue: what the initiator says, what the target answers, no socket between.

``full_feature()`` joins real parts, Session, Nexus, LogicalUnit and Backing, over a disk in memory (or any
disk that it is given).  Threads are a dial: ``inline`` runs them at once, ``held`` keeps them until the test
says ``thread()``.  All talks that ``another()`` makes share one outbox, as the sessions of a worker do.

Whatever the target says is parsed back by the codec and held against the rules that hold for every answer:
StatSN, ExpCmdSN and MaxCmdSN, DataSN, segment and burst lengths, digests.  A test therefore writes
``stat_sn=0`` and means "whatever is right"."""

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from scsipub.errors import CheckCondition, CommandEnded
from scsipub.iscsi import pdu
from scsipub.iscsi.constants import RESERVED_TAG
from scsipub.iscsi.digest import crc32c
from scsipub.iscsi.login_records import Negotiated
from scsipub.iscsi.numbering import serial_add, serial_distance
from scsipub.iscsi.outbox import Outbox
from scsipub.iscsi.pdu import DataIn, DataOut, NopIn, Pdu, ReadyToTransfer, ScsiCommand, ScsiResponse
from scsipub.iscsi.session import Session
from scsipub.iscsi.text_exchange import TargetRecord
from scsipub.limits import Limits
from scsipub.scsi.attentions import Attention
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.sense import sense_for_oserror
from scsipub.scsi.unit import LogicalUnit
from scsipub.target.backing import Backing, Job
from scsipub.target.nexus import Nexus
from scsipub.target.running import Path
from scsipub.target.turn import turn
from tests.support.memory_disk import MemoryDisk

TARGET = "iqn.2025-01.pub.scsipub:blank"
GOOD, CHECK, RESERVATION_CONFLICT = 0x00, 0x02, 0x18

Way = Callable[[Nexus, memoryview, int, int, float], int]


def pattern(length: int, seed: int = 1) -> bytes:
    """Bytes in which no two sectors are alike."""
    words = (seed.to_bytes(2) + n.to_bytes(6) for n in range(-(-length // 8)))
    return b"".join(words)[:length]


# -- what initiators say -------------------------------------------------------------------------------------


def read_10(lba: int, blocks: int) -> bytes:
    return (b"\x28\0" + lba.to_bytes(4) + b"\0" + blocks.to_bytes(2)).ljust(16, b"\0")


def write_10(lba: int, blocks: int) -> bytes:
    return (b"\x2a\0" + lba.to_bytes(4) + b"\0" + blocks.to_bytes(2)).ljust(16, b"\0")


def read_16(lba: int, blocks: int) -> bytes:
    return (b"\x88\0" + lba.to_bytes(8) + blocks.to_bytes(4)).ljust(16, b"\0")


def write_16(lba: int, blocks: int) -> bytes:
    return (b"\x8a\0" + lba.to_bytes(8) + blocks.to_bytes(4)).ljust(16, b"\0")


def cdb(text: str) -> bytes:
    return bytes.fromhex(text).ljust(16, b"\0")


TEST_UNIT_READY = cdb("00")
SYNCHRONIZE_CACHE = cdb("35")


def command(tag: int, cdb: bytes = TEST_UNIT_READY, **fields: Any) -> ScsiCommand:
    """A command without data, unless the fields say otherwise."""
    return ScsiCommand(initiator_task_tag=tag, **{"attribute": 1, "cdb": cdb, **fields})


def read(tag: int, lba: int = 0, blocks: int = 1, *, block_size: int = 512, **fields: Any) -> ScsiCommand:
    known = {"cdb": read_10(lba, blocks), "expected_data_transfer_length": blocks * block_size}
    return command(tag, **{"read": True, **known, **fields})


def write(
    tag: int, lba: int = 0, blocks: int = 1, data: bytes = b"", *, block_size: int = 512, **fields: Any
) -> ScsiCommand:
    known = {"cdb": write_10(lba, blocks), "expected_data_transfer_length": blocks * block_size}
    return command(tag, **{"write": True, "data": data, **known, **fields})


def data_out(tag: int, offset: int, data: bytes, *, ttt: int = RESERVED_TAG, **fields: Any) -> DataOut:
    """F is set unless the fields say otherwise."""
    return DataOut(
        initiator_task_tag=tag, target_transfer_tag=ttt, buffer_offset=offset, data=data,
        **{"final": True, **fields},
    )  # fmt: skip


# -- what targets answer -------------------------------------------------------------------------------------


def good(tag: int, **fields: Any) -> ScsiResponse:
    return ScsiResponse(initiator_task_tag=tag, **fields)


def data_in(tag: int, data: bytes, offset: int = 0, **fields: Any) -> DataIn:
    """The last Data-In of a read, carrying GOOD, unless the fields say otherwise."""
    return DataIn(
        initiator_task_tag=tag, data=data, buffer_offset=offset,
        **{"final": True, "has_status": True, **fields},
    )  # fmt: skip


def r2t(tag: int, offset: int, length: int, sn: int = 0) -> ReadyToTransfer:
    return ReadyToTransfer(
        initiator_task_tag=tag, buffer_offset=offset, desired_data_transfer_length=length, r2t_sn=sn
    )


def rejected(reason: int) -> pdu.Reject:
    """A Reject; that it quotes the right header is checked by ``Talk.target``."""
    return pdu.Reject(reason=reason)


@attrs.frozen
class Sense:
    """CHECK CONDITION with this sense, whatever else it says."""

    tag: int
    key: int
    asc: int
    ascq: int


def ended(answer: Pdu) -> Sense | Pdu:
    """A SCSI Response with sense as ``Sense``; anything else as it is."""
    if not isinstance(answer, ScsiResponse) or answer.status != CHECK:
        return answer
    sense = answer.data[2:]
    length = int.from_bytes(answer.data[:2])
    if length != len(sense):
        raise AssertionError(f"{len(sense)} bytes of sense, announced as {length}")
    if sense[0] & 0x7F == 0x72:
        return Sense(answer.initiator_task_tag, sense[1] & 0x0F, sense[2], sense[3])
    return Sense(answer.initiator_task_tag, sense[2] & 0x0F, sense[12], sense[13])


# -- the dialogue --------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Worker:
    """What the sessions of one worker share: one outbox, and who was woken by whom."""

    out: Outbox = attrs.field(factory=Outbox)
    woken: list["Talk"] = attrs.field(factory=list)


@attrs.define(eq=False, slots=False)
class Talk:
    """One session.  ``initiator`` says something, ``target`` holds the answers against what is expected."""

    session: Session
    nexus: Nexus
    worker: Worker
    backings: dict[int, Backing]
    way: Way = turn
    held: bool = False  # threads wait for ``thread()``
    stuck: bool = False  # the initiator takes nothing: whatever is sent piles up in ``unsent``
    unsent: int = 0
    now: float = 0.0
    cmd_sn: int = 1
    heard: list[Pdu] = attrs.field(factory=list)
    wire: bytearray = attrs.field(factory=bytearray)  # every byte that the target ever said
    threads: list[Job] = attrs.field(factory=list)
    in_threads: list[Job] = attrs.field(factory=list)
    said: list[bytes] = attrs.field(factory=list)  # headers, for the quotes in Rejects
    tags: list[int] = attrs.field(factory=list)  # target transfer tags of the R2Ts heard
    _tail: bytes = b""
    _next_stat_sn: int = 0
    _max_cmd_sn: int = 0
    _data_sn: dict[int, int] = attrs.field(factory=dict)

    @property
    def disk(self) -> Any:
        return self.backings[0].disk

    @property
    def unit(self) -> LogicalUnit:
        return self.backings[0].unit

    # -- saying --

    def initiator(self, *said: Pdu, corrupt: str = "") -> None:
        """Say these in one breath.  ``corrupt``: "header" or "data", whose digest will be wrong.

        A CmdSN of 0 means "the next one"."""
        self.bytes(b"".join(self.pack(each, corrupt) for each in said))

    def pack(self, said: Pdu, corrupt: str = "") -> bytes:
        if hasattr(said, "cmd_sn") and said.cmd_sn == 0:
            said = attrs.evolve(said, cmd_sn=self.cmd_sn)  # type: ignore[call-arg]
            if not said.immediate:  # type: ignore[attr-defined]
                self.cmd_sn = serial_add(self.cmd_sn, 1)
        header = said.pack()
        self.said.append(header)
        n = self.session.negotiated
        parts = [header, said.ahs]
        if n.header_digest:
            parts.append(_digest(header + said.ahs, corrupt == "header"))
        data = said.data + pdu.padding(len(said.data))
        parts.append(data)
        if data and n.data_digest:
            parts.append(_digest(data, corrupt == "data"))
        return b"".join(parts)

    def bytes(self, arrived: bytes) -> None:
        """Bytes off the network, cut wherever it pleased; an incomplete PDU waits for the rest."""
        view = memoryview(bytearray(self._tail + arrived))
        at, end = 0, len(view)
        while True:
            before, at = at, self.way(self.nexus, view, at, end, self.now)
            self.settle()
            if at == before or self.session.closing:
                break
        self._tail = bytes(view[at:])

    def settle(self) -> None:
        """What the connection does after a turn, for this session and for those that it woke."""
        self._after()
        while self.worker.woken:
            self.worker.woken.pop()._after()

    def do(self, deed: Callable[[], object]) -> None:
        """Something happens outside a turn: a thread ends, time passes."""
        deed()
        self.settle()

    def _after(self) -> None:
        nexus = self.nexus
        while True:
            nexus.deliver()
            nexus.streams.pump(self.unsent)
            jobs, nexus.jobs = nexus.jobs, ()
            self.threads += jobs
            while self.threads and not self.held:
                self._run(self.threads.pop(0))
            if not self.worker.out.queued:
                return
            self._hear(self.worker.out.take())

    # -- threads --

    def _run(self, job: Job) -> None:
        result, error = _work(job)
        self.nexus.finished(job, result, error, self.now)

    def thread(self) -> None:
        """The oldest thread does its work and comes back."""
        job = self.threads.pop(0)
        self.do(lambda: self._run(job))

    def background(self) -> None:
        """Carry out all work that goes on in the background, to its end."""
        works, self.nexus.backgrounds = self.nexus.backgrounds, ()
        for work, backing, over in works:
            failed: CheckCondition | None = None
            try:
                while (pause := work.step(backing.medium, self.now)) is not None:
                    self.now += pause
            except OSError as error:
                failed = sense_for_oserror(error, writing=True)
            self.do(partial(over, failed))

    # -- hearing --

    def target(self, *expected: Pdu | Sense) -> list[Pdu]:
        """The target has answered exactly this since the last time.  Returns it with its numbers."""
        heard, self.heard = self.heard, []
        plain = [_plain(each, match) for each, match in zip(heard, expected, strict=False)]
        plain += [_plain(each, None) for each in heard[len(expected) :]]
        if plain != list(expected):
            raise AssertionError(f"\n  heard    {_short(plain)}\n  expected {_short(list(expected))}")
        for each in heard:
            if isinstance(each, pdu.Reject) and each.data not in self.said:
                raise AssertionError("a Reject quotes a header that nobody sent")
        return heard

    def expect_data(self, tag: int, data: bytes) -> list[Pdu]:
        """The target has answered a read of ``data`` with GOOD, in as many Data-In as it likes."""
        heard, self.heard = self.heard, []
        ours = [each for each in heard if isinstance(each, DataIn) and each.initiator_task_tag == tag]
        if len(ours) != len(heard):
            raise AssertionError(f"more than Data-In: {_short(heard)}")
        if b"".join(each.data for each in ours) != data or not ours[-1].has_status:
            raise AssertionError(f"other data than expected in {len(ours)} Data-In")
        return heard

    def _hear(self, segments: list[Any]) -> None:
        stream = b"".join(bytes(segment) for segment in segments)
        self.wire += stream
        self.unsent += len(stream) if self.stuck else 0
        at = 0
        while at < len(stream):
            answer, at = self._parse(stream, at)
            self._hold_against_the_rules(answer)
            self.heard.append(answer)

    def _parse(self, stream: bytes, at: int) -> tuple[Pdu, int]:
        n = self.session.negotiated
        header, at = stream[at : at + 48], at + 48
        if n.header_digest:
            _must(stream[at : at + 4] == _digest(header), "header digest")
            at += 4
        length = int.from_bytes(header[5:8])
        data, padding = stream[at : at + length], -length % 4
        _must(len(data) == length, "a whole PDU")
        _must(stream[at + length : at + length + padding] == bytes(padding), "padding of zeros")
        if length and n.data_digest:
            end = at + length + padding
            _must(stream[end : end + 4] == _digest(stream[at:end]), "data digest")
            at += 4
        return pdu.parse_untrusted(header, b"", data, from_initiator=False), at + length + padding

    def _hold_against_the_rules(self, it: Any) -> None:
        n = self.session.negotiated
        _must(len(it.data) <= max(n.max_xmit_data_segment, 48), "no segment longer than declared")
        unnumbered = isinstance(it, ReadyToTransfer) or (
            isinstance(it, NopIn) and it.initiator_task_tag == RESERVED_TAG
        )
        if isinstance(it, DataIn) and not it.has_status:
            _must(it.stat_sn == 0, "no StatSN without status")
        else:
            _must(it.stat_sn == self._next_stat_sn, f"StatSN {it.stat_sn}, not {self._next_stat_sn}")
            if not unnumbered:
                self._next_stat_sn = serial_add(self._next_stat_sn, 1)
        _must(serial_distance(self._max_cmd_sn, it.max_cmd_sn) >= 0, "MaxCmdSN never goes back")
        _must(serial_distance(it.exp_cmd_sn, it.max_cmd_sn) >= -1, "MaxCmdSN >= ExpCmdSN - 1")
        self._max_cmd_sn = it.max_cmd_sn
        if isinstance(it, DataIn):
            tag = it.initiator_task_tag
            _must(it.data_sn == self._data_sn.get(tag, 0), f"DataSN {it.data_sn}")
            self._data_sn[tag] = it.data_sn + 1
            first, last = it.buffer_offset, it.buffer_offset + len(it.data) - 1
            _must(first // n.max_burst == last // n.max_burst, "no Data-In across MaxBurstLength")
            if it.has_status:
                del self._data_sn[tag]
        elif isinstance(it, ScsiResponse):
            sent = self._data_sn.pop(it.initiator_task_tag, 0)
            _must(it.exp_data_sn == sent, f"ExpDataSN {it.exp_data_sn} after {sent} Data-In")
        elif isinstance(it, ReadyToTransfer):
            self.tags.append(it.target_transfer_tag)
            _must(0 < it.desired_data_transfer_length <= n.max_burst, "no R2T longer than MaxBurstLength")

    # -- more sessions --

    def another(self, **changes: Any) -> "Talk":
        """One more session with the same units."""
        talk = join(self.backings, attrs.evolve(self.session.negotiated, **changes), self.nexus.limits,
                     self.worker, self.way)  # fmt: skip
        siblings = self.nexus.management.siblings
        siblings.append(talk.nexus)
        talk.nexus.management.siblings = siblings
        return talk


def _must(true: bool, what: str) -> None:
    if not true:
        raise AssertionError(f"a rule for every answer is broken: {what}")


def _digest(data: bytes, wrong: bool = False) -> bytes:
    return (crc32c(data) ^ wrong).to_bytes(4, "little")


def _work(job: Job) -> tuple[Any, BaseException | None]:
    try:
        return job.work(), None
    except (OSError, CheckCondition, CommandEnded) as error:
        return None, error


def _plain(heard: Any, match: Pdu | Sense | None) -> Any:
    """Without what the rules have looked at already, and without what ``match`` does not mention."""
    if isinstance(match, Sense):
        return ended(heard)
    heard = attrs.evolve(heard, stat_sn=0, exp_cmd_sn=0, max_cmd_sn=0)
    if isinstance(heard, ScsiResponse):
        heard = attrs.evolve(heard, exp_data_sn=0)
    if isinstance(heard, DataIn):
        heard = attrs.evolve(heard, data_sn=0)
    if isinstance(heard, ReadyToTransfer) and isinstance(match, ReadyToTransfer):
        heard = attrs.evolve(heard, target_transfer_tag=match.target_transfer_tag, lun=match.lun)
    if isinstance(heard, pdu.Reject):
        heard = attrs.evolve(heard, data=b"")
    return heard


def _short(them: list[Any]) -> str:
    return "\n           ".join(f"{each!r}"[:400] for each in them) or "nothing"


def negotiated(**changes: Any) -> Negotiated:
    """What a login of open-iscsi ends with, by the names of the record or by those of the keys."""
    names = {"InitialR2T": "initial_r2t", "ImmediateData": "immediate_data", "HeaderDigest": "header_digest",
             "DataDigest": "data_digest", "MaxBurstLength": "max_burst", "FirstBurstLength": "first_burst",
             "MaxRecvDataSegmentLength": "max_xmit_data_segment"}  # fmt: skip
    meaning = {"Yes": True, "No": False, "CRC32C": True, "None": False}
    settings: dict[str, Any] = {
        "session_type": "Normal", "initiator_name": "iqn.1993-08.org.debian:01:abc", "initiator_alias": None,
        "target_name": TARGET, "isid": bytes(6), "tsih": 1, "cid": 0, "cmd_sn": 1, "stat_sn": 0,
        "portal_group_tag": 1, "max_recv_data_segment": 256 * 1024, "max_xmit_data_segment": 256 * 1024,
        "first_burst": 64 * 1024, "max_burst": 256 * 1024, "initial_r2t": True, "immediate_data": True,
        "max_connections": 1, "max_outstanding_r2t": 1, "data_pdu_in_order": True,
        "data_sequence_in_order": True, "error_recovery_level": 0, "time2wait": 2, "time2retain": 0,
    }  # fmt: skip
    for name, value in changes.items():
        settings[names.get(name, name)] = meaning.get(value, value) if isinstance(value, str) else value
    return Negotiated(**settings)


def full_feature(
    *,
    blocks: int = 1024,
    block_size: int = 512,
    luns: tuple[int, ...] = (0,),
    disk: Any = None,
    limits: Limits | None = None,
    way: Way = turn,
    unit: dict[str, Any] | None = None,
    **keys: Any,
) -> Talk:
    """A session just after login, in front of units that have nothing to report."""
    backings: dict[int, Backing] = {}
    for lun in luns:
        config = UnitConfig(uuid=lun.to_bytes(2) * 8, block_size=block_size, **(unit or {}))
        beneath = disk if disk is not None else MemoryDisk(blocks * block_size // 512)
        backings[lun] = Backing(LogicalUnit(config, blocks), beneath, block_size)
    return join(backings, negotiated(**keys), limits or Limits(), Worker(), way)


def discovery(*names: str, **keys: Any) -> Talk:
    """A discovery session that may see these targets."""
    facts = negotiated(session_type="Discovery", target_name=None, **keys)
    return join({}, facts, Limits(), Worker(), turn, names)


def join(
    backings: dict[int, Backing], facts: Negotiated, limits: Limits, worker: Worker, way: Way,
    names: tuple[str, ...] = (TARGET,), *, port: InitiatorPort | None = None,
    attention: Attention | None = None,
) -> Talk:  # fmt: skip
    """A session just after login; ``port`` is whom reservations know, ``attention`` waits for it."""
    paths = {}
    for lun, backing in backings.items():
        lane = backing.unit.attach(
            facts.initiator_name, port=port, luns=lambda: sorted(backings), attention=attention
        )
        shift = backing.per_block.bit_length() - 1
        paths[lun] = Path(lane, backing, backing.medium.blocks, shift)
    nexus = Nexus(limits, paths, lambda: None)
    session = Session(
        facts, limits, worker.out, nexus if backings else None, stat_sn=facts.stat_sn, now=0.0,
        targets=lambda wanted: [TargetRecord(n) for n in names if wanted in (None, n)],
    )  # fmt: skip
    nexus.session = session
    talk = Talk(session, nexus, worker, backings, way, cmd_sn=facts.cmd_sn)
    talk._next_stat_sn = facts.stat_sn
    talk._max_cmd_sn = serial_add(facts.cmd_sn, limits.command_window - 1)
    nexus.wake = lambda: worker.woken.append(talk)
    return talk
