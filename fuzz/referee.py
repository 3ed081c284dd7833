"""The referee: holds every answer of the target against what ``hearing`` knows to be owed.

Source: RFC 7143 §4.2.2 (StatSN, ExpCmdSN, MaxCmdSN), §11.4, §11.7, §11.8 (residuals, DataSN, R2T), §11.17.
Raises ``Find`` for whatever an honest target never says."""

from collections import Counter

from fuzz import cdbs, effects
from fuzz.effects import Disk
from fuzz.fence import PREEMPT_AND_ABORT
from fuzz.find import Find
from fuzz.hearing import (
    DATA_IN,
    HEADER,
    LOGGED_OUT,
    MANAGED,
    MASK,
    NO_TAG,
    NOP_IN,
    RESPONSE,
    TEXT_IN,
    Facts,
    Task,
    ahead,
    crc,
)
from fuzz.keeper import Keeper
from fuzz.steps import command_name

R2T, ASYNC, REJECT = 0x31, 0x32, 0x3F
WRONG_LENGTH = (0x05, 0x0E, 0x03)


class Referee(Keeper):
    """Both halves.  ``heard`` gets the bytes that the target sent for one delivery."""

    def __init__(self, facts: Facts, disks: dict[int, Disk], seen: Counter[tuple[str, str]]) -> None:
        super().__init__(facts, disks)
        self.seen = seen  # (command or PDU, how it ended) -> how often
        self.last_exp = -1  # in the last answer

    def heard(self, stream: bytes) -> int:
        """Everything that came since the last time.  Returns how many PDUs that was."""
        if self.lax:
            return 0
        at, count, size = 0, 0, len(stream)
        while at < size:
            at = self._one(stream, at)
            count += 1
        room = ahead(self.exp_cmd_sn, self.max_cmd_sn) + 1
        if count and self.last_exp == self.exp_cmd_sn and room != self.window:
            raise Find("MaxCmdSN", f"room for {room} while {self.numbered} are under way")
        return count

    def forget(self, task: Task) -> None:
        super().forget(task)
        if task.disk is not None and task.cdb[0] in (0x16, 0x17, 0x56, 0x57, 0x5F):
            task.disk.fence.forget()
            if task.cdb[0] == 0x5F and task.cdb[1] & 0x1F == PREEMPT_AND_ABORT:
                for session in self.siblings:
                    session.lax |= session is not self and bool(session.tasks)
        self._failed(task)

    def end(self) -> None:
        """After a delivery and its answers: what had to be answered at once has been."""
        if self.lax:
            for disk in self.disks.values():
                self._anything(disk, 0)
                disk.fence.forget()
            return
        for task in self.spoilt:
            if self.tasks.get(task.tag) is task:
                raise Find("mistake overlooked", f"{task.spoiled}: {command_name(task.cdb)} goes on")
        self.spoilt.clear()
        if self.must_reject:
            raise Find("not rejected", self.must_reject[0].hex())
        for kind, tag in self.owed:
            if kind != MANAGED and not self.closing:
                raise Find("no answer", f"{kind:02x}h for tag {tag:08x}")
        if self.doubts:
            self._spread_doubts()

    # -- one answer --------------------------------------------------------------------------------------

    def _one(self, stream: bytes, at: int) -> int:
        if len(stream) - at < 48:
            raise Find("unreadable answer", f"{len(stream) - at} bytes of a header")
        words: tuple[int, ...] = HEADER.unpack_from(stream, at)
        opcode, flags, _, _, lengths, _, tag, _, stat_sn, exp, top, *_ = words
        length = lengths & 0xFFFFFF
        facts = self.facts
        start = at + 48
        if lengths >> 24:
            raise Find("unreadable answer", "an AHS")
        if facts.header_digest:
            if crc(stream[at:start]) != int.from_bytes(stream[start : start + 4], "little"):
                raise Find("unreadable answer", "header digest")
            start += 4
        stop = start + length
        padded = stop + -length % 4
        data = stream[start:stop]
        if padded > len(stream) or any(stream[stop:padded]):
            raise Find("unreadable answer", f"{length} bytes of data are not there, or padding is not zero")
        if length and facts.data_digest:
            if crc(stream[start:padded]) != int.from_bytes(stream[padded : padded + 4], "little"):
                raise Find("unreadable answer", "data digest")
            padded += 4
        if length > facts.max_receive and length > 48 and opcode != RESPONSE:
            raise Find("segment too long", f"{length} bytes, {facts.max_receive} declared")
        numbered = not (opcode == DATA_IN and not flags & 1)
        if numbered:
            if stat_sn != self.stat_sn:
                raise Find("StatSN", f"{stat_sn} instead of {self.stat_sn} in {opcode:02x}h")
            if opcode != R2T and not (opcode == NOP_IN and tag == NO_TAG):
                self.stat_sn = (stat_sn + 1) & MASK
        elif stat_sn:
            raise Find("StatSN", "in a Data-In without status")
        if opcode == RESPONSE:
            self._response(words, data)
        elif opcode == DATA_IN:
            self._data_in(words, data)
        elif opcode == R2T:
            self._r2t(words)
        elif opcode == REJECT:
            self._reject(words, data)
        elif opcode in (NOP_IN, TEXT_IN, LOGGED_OUT, MANAGED):
            self._answer(opcode, tag, words, data)
        elif opcode != ASYNC:
            raise Find("unreadable answer", f"opcode {opcode:02x}h")
        self._numbers(opcode, exp, top)
        return padded

    def _numbers(self, opcode: int, exp: int, top: int) -> None:
        if ahead(self.moved, exp) < 0 or ahead(exp, self.exp_cmd_sn) < 0:
            raise Find("ExpCmdSN", f"{exp:08x} instead of {self.moved:08x}..{self.exp_cmd_sn:08x}")
        if ahead(self.max_cmd_sn, top) < 0:
            raise Find("MaxCmdSN", f"went back from {self.max_cmd_sn:08x} to {top:08x}")
        room = ahead(exp, top) + 1
        if not 0 <= room <= self.facts.window:
            raise Find("MaxCmdSN", f"{room} commands beyond ExpCmdSN")
        self.max_cmd_sn, self.last_exp = top, exp

    # -- SCSI --------------------------------------------------------------------------------------------

    def _response(self, words: tuple[int, ...], data: bytes) -> None:
        _, flags, response, status, _, _, tag, _, _, _, _, exp_data_sn, _, count = words
        task = self._end(tag, "a SCSI Response")
        key = self._sense(status, data)
        self.seen[command_name(task.cdb), key or f"status {status:02x}h"] += 1
        if response:
            raise Find("response", f"{response:02x}h")
        if exp_data_sn != task.data_sn:
            raise Find("ExpDataSN", f"{exp_data_sn} after {task.data_sn} Data-In")
        if status == 0 and task.reads and task.answer:
            raise Find("read without status", f"{len(task.answer)} bytes, then a SCSI Response")
        self._residual(task, status, flags, count, 0, key)
        self.guarded(task, status, key)
        if status == 0:
            self._went_well(task)
        else:
            self._refused(task, key)
            self._failed(task)

    def _refused(self, task: Task, key: str) -> None:
        """A command that nothing is wrong with must not end as if something were."""
        disk, cdb = task.disk, task.cdb
        if task.spoiled:
            return
        if key.startswith("B/"):
            raise Find("refused", f"{command_name(cdb)} ended {key}, its data came as it should")
        if key[:2] in ("5/", "E/") and disk is not None and cdb[0] in effects.READS | effects.WRITES:
            first, count = effects.extent(cdb)
            plain = cdb == cdbs.block_cdb(cdb[0], first, count) and cdb[0] not in (0x08, 0x0A)
            right = task.expected == count * disk.block_size and task.reads == (cdb[0] in effects.READS)
            if plain and right and task.reads != task.writes and first + count <= disk.blocks:
                raise Find("refused", f"{command_name(cdb)} {cdb.hex()} ended {key}")

    def _sense(self, status: int, data: bytes) -> str:
        if status != 2:
            if data:
                raise Find("sense", f"{len(data)} bytes with status {status:02x}h")
            return "" if status else "GOOD"
        sense = data[2:]
        if len(sense) < 8 or int.from_bytes(data[:2]) != len(sense):
            raise Find("sense", data.hex())
        if sense[0] in (0x70, 0xF0):
            if len(sense) < 18 or sense[7] + 8 != len(sense):
                raise Find("sense", data.hex())
            return f"{sense[2] & 15:X}/{sense[12]:02X}{sense[13]:02X}"
        if sense[0] != 0x72 or sense[7] + 8 != len(sense):
            raise Find("sense", data.hex())
        return f"{sense[1] & 15:X}/{sense[2]:02X}{sense[3]:02X}"

    def _residual(self, task: Task, status: int, flags: int, count: int, sent: int, key: str) -> None:
        over, under = bool(flags & 4), bool(flags & 2)
        if (over and under) or (over or under) != bool(count):
            raise Find("residual", f"flags {flags:02x}h with a count of {count}")
        if under and count > task.expected:
            raise Find("residual", f"underflow of {count}, expected were {task.expected}")
        moved = None  # what the CDB asks to move
        if status:
            moved = 0 if key != "5/0E03" else None
        elif task.disk is not None and task.cdb[0] in effects.READS | effects.WRITES:
            moved = effects.extent(task.cdb)[1] * task.disk.block_size
        elif task.reads and not task.writes and task.cdb[0] not in effects.TAKERS:
            moved = task.expected - count if under else task.expected + count
            if status == 0 and sent != min(moved, task.expected):
                raise Find("residual", f"{sent} bytes sent, {task.expected} expected, {flags:02x}h {count}")
        if moved is not None:
            want = (4, moved - task.expected) if moved > task.expected else (2, task.expected - moved)
            if (flags & 6, count) != (want if want[1] else (0, 0)):
                raise Find("residual", f"{flags & 6} {count} instead of {want} in {command_name(task.cdb)}")

    def _data_in(self, words: tuple[int, ...], data: bytes) -> None:
        _, flags, _, status, _, _, tag, _, _, _, _, data_sn, offset, count = words
        task = self.tasks.get(tag)
        if task is None or not task.reads:
            raise Find("answer to nothing", f"Data-In for tag {tag:08x}")
        if data_sn != task.data_sn or offset != len(task.answer):
            raise Find("Data-In order", f"DataSN {data_sn} offset {offset} after {len(task.answer)} bytes")
        if offset + len(data) > task.expected:
            raise Find("too much data", f"{offset + len(data)} bytes, {task.expected} expected")
        burst = self.facts.max_burst
        if data and offset // burst != (offset + len(data) - 1) // burst:
            raise Find("MaxBurstLength", f"Data-In at {offset} with {len(data)} bytes")
        task.data_sn += 1
        task.answer += data
        if flags & 1:
            if not flags & 0x80 or status:
                raise Find("Data-In", f"flags {flags:02x}h status {status:02x}h")
            self._end(tag, "Data-In")
            self._residual(task, 0, flags, count, len(task.answer), "GOOD")
            self.guarded(task, 0, "GOOD")
            self.seen[command_name(task.cdb), "GOOD"] += 1
            self._went_well(task)

    def _end(self, tag: int, what: str) -> Task:
        task = self.tasks.pop(tag, None)
        if task is None:
            raise Find("answer to nothing", f"{what} for tag {tag:08x}")
        self.numbered -= task.numbered
        self.immediate -= not task.numbered
        if task in self.doubts:
            self.doubts.remove(task)
        return task

    def _r2t(self, words: tuple[int, ...]) -> None:
        _, _, _, _, _, _, tag, ttt, _, _, _, sn, offset, length = words
        task = self.tasks.get(tag)
        if task is None or not task.writes:
            raise Find("answer to nothing", f"R2T for tag {tag:08x}")
        if task.spoiled or task.unsolicited or task.ttt is not None:
            raise Find("R2T", f"while a burst is under way or spoiled: {task.spoiled}")
        if sn != task.r2t_sn or offset != task.received or not 0 < length <= self.facts.max_burst:
            raise Find("R2T", f"R2TSN {sn}, offset {offset} after {task.received}, length {length}")
        if offset + length > task.expected or ttt == NO_TAG:
            raise Find("R2T", f"up to {offset + length} of {task.expected}, tag {ttt:08x}")
        if any(t.ttt == ttt for t in self.tasks.values()):
            raise Find("R2T", f"target transfer tag {ttt:08x} twice")
        task.r2t_sn += 1
        task.ttt, task.burst_end, task.next_data_sn = ttt, offset + length, 0

    # -- the rest ----------------------------------------------------------------------------------------

    def _answer(self, opcode: int, tag: int, words: tuple[int, ...], data: bytes) -> None:
        if opcode == NOP_IN and tag == NO_TAG:
            return
        waiting = self.owed.get((opcode, tag))
        if not waiting:
            raise Find("answer to nothing", f"{opcode:02x}h for tag {tag:08x}")
        request = waiting.pop(0)
        if not waiting:
            del self.owed[opcode, tag]
        if opcode == NOP_IN:
            self.seen["NOP-Out", "answered"] += 1
            if data != request[48 : 48 + self.facts.max_receive]:
                raise Find("NOP-In", "other data than was sent")
        elif opcode == MANAGED:
            if request[1] & 0x7F == 7:  # cold reset: all sessions of the target end
                for session in self.siblings:
                    session.may_close = True
            for task in self.aborted.pop(tag, ()):
                self._stays(task)
            self.seen[f"task management {request[1] & 0x7F}", f"response {words[2]}"] += 1
        elif opcode == LOGGED_OUT:
            self.seen["Logout", f"response {words[2]}"] += 1
        else:
            self.seen["Text Request", "answered"] += 1
            if request[:48] in self.may_reject:
                self.may_reject.remove(request[:48])

    def _reject(self, words: tuple[int, ...], data: bytes) -> None:
        header = data[:48]
        self.seen[f"opcode {header[0] & 0x3F:02x}h", f"Reject {words[2]:02x}h"] += 1
        if header in self.must_reject:
            self.must_reject.remove(header)
        elif header in self.may_reject:
            self.may_reject.remove(header)
            waiting = self.owed.get((TEXT_IN, int.from_bytes(header[16:20])), [])
            for request in waiting:
                if request[:48] == header:
                    waiting.remove(request)
                    break
            if not waiting:
                self.owed.pop((TEXT_IN, int.from_bytes(header[16:20])), None)
        else:
            raise Find("Reject", f"reason {words[2]:02x}h for {header.hex()}")

    # -- the end -----------------------------------------------------------------------------------------

    def unfinished(self) -> None:
        """Nothing is under way any more: tasks that are left must wait for their initiator."""
        if self.lax:  # its answers have not been looked at
            return
        waiting = [t for t in self.tasks.values() if t.ttt is not None or t.unsolicited]
        if self.tasks and not waiting:
            task = next(iter(self.tasks.values()))
            raise Find("no answer", f"{command_name(task.cdb)} with tag {task.tag:08x}")
        for kind, tag in self.owed:
            if not self.tasks and not self.closing:
                raise Find("no answer", f"{kind:02x}h for tag {tag:08x}")

    def closed(self) -> None:
        """The connection is gone, and all that was under way on it."""
        for task in list(self.tasks.values()):
            self.forget(task)
