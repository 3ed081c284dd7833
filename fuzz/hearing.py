"""Hearing: what one initiator says in full feature phase, and what the target owes it for that.

Source: RFC 7143 §4.2 (numbering, data transfer), §7 (errors), §11.  A model of the session that shares no
code with ``scsipub.iscsi.session``; ``referee`` is its other half and judges the answers.  Looks at the
bytes that really went out, after all mangling, so it needs not know what was meant."""

import struct

import attrs
import crc32c

from fuzz.effects import Disk
from fuzz.fence import PREEMPT_AND_ABORT

HEADER = struct.Struct(">BBBBIQIIIIIIII")
NO_TAG = 0xFFFFFFFF
MASK = 0xFFFFFFFF
POWER_ON, PARAMETERS_CHANGED = 0x29, 0x2A
NOP, COMMAND, MANAGE, LOGIN, TEXT, DATA, LOGOUT, SNACK = 0, 1, 2, 3, 4, 5, 6, 16
NOP_IN, RESPONSE, MANAGED, TEXT_IN, DATA_IN, LOGGED_OUT = 0x20, 0x21, 0x22, 0x24, 0x25, 0x26


def crc(data: bytes) -> int:
    return crc32c.crc32c(data)


def ahead(from_: int, to: int) -> int:
    """Serial arithmetic.  RFC 1982."""
    d = (to - from_) & MASK
    return d - (1 << 32) if d & 0x80000000 else d


@attrs.define(eq=False)
class Task:
    """A command that is owed an end."""

    tag: int
    lun: int
    cdb: bytes
    disk: Disk | None
    numbered: bool
    reads: bool
    writes: bool
    expected: int
    epoch: int
    puts: int
    received: int = 0
    burst_end: int = 0
    unsolicited: bool = False
    ttt: int | None = None
    next_data_sn: int = 0
    r2t_sn: int = 0
    spoiled: str = ""  # what the initiator did wrong: must not end well
    data: bytearray = attrs.field(factory=bytearray)  # written so far
    answer: bytearray = attrs.field(factory=bytearray)  # read so far
    data_sn: int = 0
    conflict: bool | None = None  # must it meet RESERVATION CONFLICT?
    fence: int = -1  # the epoch of that
    attentions: frozenset[tuple[int, int]] = frozenset()  # that waited when it came


@attrs.define
class Facts:
    """What was negotiated, as far as the referee needs it."""

    header_digest: bool
    data_digest: bool
    max_send: int  # in one PDU, to the target
    max_receive: int  # in one PDU, from it
    first_burst: int
    max_burst: int
    initial_r2t: bool
    immediate_data: bool
    cid: int
    cmd_sn: int
    stat_sn: int
    discovery: bool = False
    window: int = 32
    immediates: int = 8
    held_bytes: int = 8 << 20


class Hearing:
    """The requests of one session.  ``said`` is called with each whole PDU just before the target gets it."""

    def __init__(self, facts: Facts, disks: dict[int, Disk]) -> None:
        self.facts = facts
        self.disks = disks  # by LUN; flat addressing (01b) names the same
        self.exp_cmd_sn = facts.cmd_sn
        self.max_cmd_sn = (facts.cmd_sn + facts.window - 1) & MASK
        self.stat_sn = facts.stat_sn
        self.tasks: dict[int, Task] = {}
        self.numbered = 0  # tasks that take up a place in the window
        self.immediate = 0
        self.held: dict[int, list[bytes]] = {}
        self.held_bytes = 0
        self.owed: dict[tuple[int, int], list[bytes]] = {}  # (answer's opcode, tag) -> requests
        self.must_reject: list[bytes] = []
        self.may_reject: list[bytes] = []
        self.may_drop = ""  # why the target may close now
        self.closing = False  # has logged out
        self.may_close = False  # somebody has reset the target
        self.spoilt: list[Task] = []  # tasks that must end now, and not well
        self.siblings: list[Hearing] = [self]
        self.doubts: list[Task] = []  # tasks that have received data in this delivery
        self.ghosts: set[int] = set()  # tags that ended with a thread still at it
        self.aborted: dict[
            int, list[Task]
        ] = {}  # tag of a request -> tasks that it ends, until it is answered
        self.lax = False  # what comes cannot be predicted any more: close, and begin anew
        self.moved = 0  # exp_cmd_sn before this delivery
        self.port = 0  # which initiator port this is, to reservations
        # Unit attentions that wait, by unit: additional sense codes, and which event it was.  A session
        # begins with a power on.
        self.pending: dict[int, dict[int, int]] = {lun: {POWER_ON: 0} for lun in disks}
        self.events = 0

    @property
    def window(self) -> int:
        return self.facts.window - self.numbered

    # -- framing -----------------------------------------------------------------------------------------

    def whole(self, view: memoryview, at: int, end: int) -> int:
        """Length of the PDU at ``at``; 0 if it is not whole; -1 if the target must drop the connection."""
        if end - at < 48:
            return 0
        length = 48 + view[at + 4] * 4
        data = int.from_bytes(view[at + 5 : at + 8])
        if data > self.facts.max_send:
            return -1
        if self.facts.header_digest:
            if end - at < length + 4:
                return 0
            if crc(bytes(view[at : at + length])) != int.from_bytes(
                view[at + length : at + length + 4], "little"
            ):
                return -1
            length += 4
        if data:
            length += data + -data % 4 + (4 if self.facts.data_digest else 0)
        return length if at + length <= end else 0

    def parts(self, it: bytes) -> tuple[bytes, bytes, bool]:
        """AHS, data, and whether the data digest is right."""
        length = int.from_bytes(it[5:8])
        ahs_end = 48 + it[4] * 4
        start = ahs_end + (4 if self.facts.header_digest else 0)
        good = True
        if length and self.facts.data_digest:
            padded = start + length + -length % 4
            good = crc(it[start:padded]) == int.from_bytes(it[padded : padded + 4], "little")
        return it[48:ahs_end], it[start : start + length], good

    # -- requests ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Before a delivery."""
        self.moved = self.exp_cmd_sn
        self.may_drop = ""
        self.may_reject.clear()
        self.must_reject.clear()

    def plain(self, it: bytes) -> bool:
        """May this go to the target together with its neighbours, and all be predicted as if alone?"""
        opcode = it[0]
        tag, number = int.from_bytes(it[16:20]), int.from_bytes(it[24:28])
        return (
            opcode in (NOP, COMMAND)
            and number == self.exp_cmd_sn
            and tag not in self.tasks
            and tag != NO_TAG
            and not self.held
            and it[4] == 0
            and self.numbered < self.facts.window // 2
        )

    def said(self, it: bytes) -> None:
        """The target is about to get this."""
        opcode = it[0] & 0x3F
        scsi = not self.facts.discovery
        if opcode == DATA and scsi:
            self._data_out(it)
        elif opcode in (NOP, TEXT, LOGOUT) or (opcode in (COMMAND, MANAGE) and scsi):
            self._in_order(it)
        else:
            self.must_reject.append(it[:48])

    def _in_order(self, it: bytes) -> None:
        if it[0] & 0x40:
            self._run(it)
            return
        if it[0] & 0x3F == NOP and it[16:20] == b"\xff\xff\xff\xff":
            self.may_drop = "a numbered NOP-Out without a tag"
            return
        number = int.from_bytes(it[24:28])
        distance = ahead(self.exp_cmd_sn, number)
        if not 0 <= distance < self.window:
            return
        if distance:
            if number not in self.held:
                self._hold(number, it)
            return
        self.exp_cmd_sn = (self.exp_cmd_sn + 1) & MASK
        self._run(it)
        self._run_held()

    def _hold(self, number: int, it: bytes) -> None:
        if self.held_bytes + len(it) > self.facts.held_bytes:
            self.may_drop = "too much ahead of its turn"
        self.held.setdefault(number, []).append(it)
        self.held_bytes += len(it)

    def _run_held(self) -> None:
        while self.exp_cmd_sn in self.held and not self.closing:
            late = self.held.pop(self.exp_cmd_sn)
            self.exp_cmd_sn = (self.exp_cmd_sn + 1) & MASK
            for it in late:
                self.held_bytes -= len(it)
                if it[0] & 0x3F == DATA:
                    self.may_reject.append(it[:48])  # if its command has already ended
                    self._data_out(it)
                else:
                    # Whether an earlier task has ended by now is for the answers to say.
                    manages = it[0] & 0x3F in (MANAGE, LOGOUT) and bool(self.tasks)
                    self.lax |= manages or int.from_bytes(it[16:20]) in self.tasks
                    self._run(it)

    def _run(self, it: bytes) -> None:
        opcode = it[0] & 0x3F
        if opcode == COMMAND:
            self._command(it)
            return
        _, data, good = self.parts(it)
        if not good:
            self.must_reject.append(it[:48])
            return
        tag = int.from_bytes(it[16:20])
        if opcode == NOP:
            if it[20:24] == b"\xff\xff\xff\xff" and tag != NO_TAG:
                self.owed.setdefault((NOP_IN, tag), []).append(it[:48] + data)
        elif opcode == TEXT:
            self.may_drop = "too many text requests" if self.facts.discovery else ""
            self.may_reject.append(it[:48])
            self.owed.setdefault((TEXT_IN, tag), []).append(it[:48] + data)
        elif opcode == LOGOUT:
            reason = it[1] & 0x7F
            if reason > 2:
                self.must_reject.append(it[:48])
                return
            self.owed.setdefault((LOGGED_OUT, tag), []).append(it[:48])
            if reason == 0 or (reason == 1 and int.from_bytes(it[20:22]) == self.facts.cid):
                self.closing = True
                for task in list(self.tasks.values()):
                    self.forget(task)
        else:
            self._manage(it, tag)

    # -- task management ---------------------------------------------------------------------------------

    def _manage(self, it: bytes, tag: int) -> None:
        function, lun = it[1] & 0x7F, int.from_bytes(it[8:16])
        waiting = sum(len(them) for (kind, _), them in self.owed.items() if kind == MANAGED)
        if waiting >= self.facts.immediates:
            self.lax = True  # the target may refuse more of them
        self.owed.setdefault((MANAGED, tag), []).append(it[:48])
        doomed: list[tuple[Hearing, Task]] = []
        if function == 1:
            wanted = int.from_bytes(it[20:24])
            task = self.tasks.get(wanted)
            if task is not None and self.path(task.lun) == self.path(lun):
                doomed.append((self, task))
            else:
                self._abort_to_come(it, wanted)
        elif function in (2, 4, 5) and self.path(lun) is not None:
            for session in [self] if function == 2 else self.siblings:
                doomed += [
                    (session, t) for t in session.tasks.values() if session.path(t.lun) == self.path(lun)
                ]
        elif function in (6, 7):
            doomed = [(s, t) for s in self.siblings for t in s.tasks.values()]
            if (
                function == 7 and self.lax
            ):  # nobody will look for its answer, which says that all sessions end
                for session in self.siblings:
                    session.may_close = True
        for session, task in doomed:
            session.forget(task)
        self.aborted.setdefault(tag, []).extend(task for _, task in doomed)
        if function in (5, 6, 7):
            self._reset(self.path(lun) if function == 5 else None, everywhere=function != 5)

    def _reset(self, unit: int | None, *, everywhere: bool) -> None:
        """Everybody else hears of it, from now on and not only when it is complete.  SAM-5 §6.3"""
        for session in self.siblings:
            for path in session.pending:
                if session is not self and (everywhere or path == unit):
                    session.attention(path, POWER_ON)

    def forget(self, task: Task) -> None:
        """Aborted: nothing more is said of it."""
        del self.tasks[task.tag]
        self.numbered -= task.numbered
        self.immediate -= not task.numbered
        self.ghosts.add(task.tag)

    def path(self, lun: int) -> int | None:
        """Which of our units a LUN field names: peripheral or flat addressing, the rest zero."""
        number, rest = lun >> 48, lun & (1 << 48) - 1
        number = number & 0x3FFF if number >> 14 == 1 else number
        return number if not rest and number in self.disks else None

    def attention(self, path: int, code: int) -> None:
        """Something has happened to a unit that this session has to hear of."""
        self.events += 1
        if code == POWER_ON:
            self.pending[path].clear()
        if POWER_ON not in self.pending[path]:
            self.pending[path][code] = self.events

    def _abort_to_come(self, it: bytes, wanted: int) -> None:
        """ABORT TASK of a command that has not come yet: its CmdSN counts as taken.  §11.5.1"""
        if wanted in self.ghosts:
            self.lax = True  # perhaps a thread is still at that one, perhaps not
        number = int.from_bytes(it[32:36])
        if wanted == NO_TAG or not 0 <= ahead(self.exp_cmd_sn, number) < self.window:
            return
        held = self.held.get(number)
        if held is None:
            if ahead(number, int.from_bytes(it[24:28])) <= 0:
                return
        elif not held or int.from_bytes(held[0][16:20]) != wanted:
            return
        self.held_bytes -= sum(map(len, held or ()))
        self.held[number] = []
        self._run_held()

    # -- commands and their data -------------------------------------------------------------------------

    def _command(self, it: bytes) -> None:
        flags, lun, tag, expected = it[1], int.from_bytes(it[8:16]), it[16:20], int.from_bytes(it[20:24])
        itt = int.from_bytes(tag)
        numbered = not it[0] & 0x40
        ahs, data, good = self.parts(it)
        extra = extended_cdb(ahs) if ahs else b""
        if (
            itt == NO_TAG
            or itt in self.tasks
            or (not numbered and self.immediate >= self.facts.immediates)
            or extra is None
        ):
            self.must_reject.append(it[:48])
            return
        path = self.path(lun)
        disk = None if path is None else self.disks[path]
        writes = bool(flags & 0x20)
        if data and not writes:
            expected = 0
        task = Task(
            itt, lun, it[32:48] + extra, disk, numbered, bool(flags & 0x40), writes, expected,
            disk.content.epoch if disk else 0, disk.content.puts if disk else 0,
        )  # fmt: skip
        if disk is not None and path is not None:
            task.conflict, task.fence = disk.fence.conflict(self.port, task.cdb), disk.fence.epoch
            task.attentions = frozenset(self.pending[path].items())
            if task.cdb[0] == 0x5F and task.cdb[1] & 0x1F == PREEMPT_AND_ABORT:
                for session in self.siblings:  # whose tasks it ends, and when, is not said
                    session.lax |= session is not self and bool(session.tasks)
        self.tasks[itt] = task
        self.numbered += numbered
        self.immediate += not numbered
        self.ghosts.discard(itt)
        facts = self.facts
        if not good:
            self.must_reject.append(it[:48])
            task.spoiled = "immediate data with a wrong digest"
        if data and not facts.immediate_data:
            task.spoiled = "immediate data, although ruled out"
        elif len(data) > min(facts.first_burst, expected):
            task.spoiled = "too much immediate data"
        if (writes or data) and not flags & 0x80:
            if facts.initial_r2t:
                task.spoiled = "unsolicited data, although ruled out"
            task.unsolicited = True
            task.burst_end = min(facts.first_burst, expected)
        if task.spoiled:
            self.spoilt.append(task)
        else:
            task.received = len(data)
            task.data += data
            if writes:
                self.doubts.append(task)

    def _data_out(self, it: bytes) -> None:
        flags, tag, ttt = it[1], int.from_bytes(it[16:20]), int.from_bytes(it[20:24])
        task = self.tasks.get(tag)
        if task is None:
            for number, pdus in self.held.items():
                if pdus and pdus[0][0] & 0x3F == COMMAND and int.from_bytes(pdus[0][16:20]) == tag:
                    self._hold(number, it)
                    return
            self.may_reject.append(it[:48])
            return
        _, data, good = self.parts(it)
        offset = int.from_bytes(it[40:44])
        end = offset + len(data)
        if not good:
            self.must_reject.append(it[:48])
            task.spoiled = "Data-Out with a wrong digest"
        elif ttt == NO_TAG and not task.unsolicited:
            task.spoiled = "Data-Out that nobody asked for"
        elif ttt not in (NO_TAG, task.ttt):
            task.spoiled = self.may_drop = "a target transfer tag that is not out"
        elif int.from_bytes(it[36:40]) != task.next_data_sn:
            task.spoiled = "DataSN"
        elif offset != task.received:
            task.spoiled = self.may_drop = "a hole or an overlap"
        elif end > task.burst_end:
            task.spoiled = "Data-Out beyond the burst"
        elif bool(flags & 0x80) != (end == task.burst_end):
            task.spoiled = "F in the wrong place"
        if task.spoiled:
            self.spoilt.append(task)
            return
        task.data += data
        task.received = end
        task.next_data_sn += 1
        self.doubts.append(task)
        if flags & 0x80:
            task.unsolicited, task.ttt, task.next_data_sn = False, None, 0


def extended_cdb(ahs: bytes) -> bytes | None:
    """What the AHS adds to the CDB; None when it contradicts itself.  RFC 7143 §11.2.2"""
    at, found = 0, b""
    while at < len(ahs):
        length = int.from_bytes(ahs[at : at + 2])
        if length == 0 or at + 3 + length > len(ahs):
            return None
        if ahs[at + 2] & 0x3F == 1:
            if found:
                return None
            found = ahs[at + 4 : at + 3 + length]
        at += 3 + length + -(3 + length) % 4
    return found
