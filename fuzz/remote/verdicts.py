"""Verdicts on SCSI: status, sense, residuals, data in order, and whose bytes they are.

Source: RFC 7143 §11.4, §11.7, §11.8; SPC-4 §4.5, §6.6; SBC-3 §5.  Where the standards leave a choice, every
choice is right."""

from fuzz import effects
from fuzz.hearing import DATA_IN, NO_TAG, RESPONSE, extended_cdb
from fuzz.remote import stale
from fuzz.remote.ground import CANARY, FarDisk, FarTask
from fuzz.remote.judge import R2T, Judge
from fuzz.remote.link import Answer
from fuzz.steps import command_name

UNKNOWN = frozenset(range(0x60, 0x7E))  # SPC-4 §4.2.5.1: groups that no command is in
GOOD, CHECK, CONFLICT = 0x00, 0x02, 0x18
STATUSES = {0x00, 0x02, 0x04, 0x08, 0x18, 0x28, 0x30, 0x40}
BUSY = {0x08, 0x28, 0x40}
# Where these put their allocation length.
ALLOCATION = {
    0x12: (3, 2), 0x03: (4, 1), 0x1A: (4, 1), 0x5A: (7, 2), 0xA0: (6, 4),
    0x9E: (10, 4), 0xA3: (6, 4), 0x5E: (7, 2),
}  # fmt: skip
DISTURBING = {0x15, 0x55, 0x1B, 0x16, 0x17, 0x56, 0x57, 0x5F, 0x48, 0x04, 0x3B, 0x1D, 0x1E, 0xA4, 0x83, 0x4C}


class FarJudge(Judge):
    """A ``Judge`` who knows SCSI as well."""

    # -- commands and their data -------------------------------------------------------------------------

    def _command(self, it: bytes, data: bytes, clean: bool) -> None:
        flags, tag = it[1], int.from_bytes(it[16:20])
        ahs = it[48 : 48 + it[4] * 4]
        extra = extended_cdb(ahs) if ahs else b""
        odd = tag == NO_TAG or tag in self.tasks or bool(ahs) or self.facts.discovery
        odd = odd or (bool(data) and not flags & 0x20) or flags & 7 > 4
        if any(ghost.tag == tag for ghost in self.ghosts):
            odd = True
            self.doubled.add(tag)  # answers may be those of a command that was given up and goes on
        if odd:
            clean = False
            self.loose.add(tag)
            self.tainted = self.tainted or "a command against the rules"
        if tag in self.tasks:
            self.doubled.add(tag)
            self.abandon(self.tasks[tag])
        task = self._task(it, extra or b"", clean)
        facts = self.facts
        task.received, task.data = len(data), bytearray(data)
        task.when = self.now
        task.simple = flags & 7 in (0, 1)
        broken = (bool(data) and not facts.immediate_data) or len(data) > min(
            facts.first_burst, task.expected
        )
        if not flags & 0x80:
            task.unsolicited = True
            task.burst_end = min(facts.first_burst, task.expected)
            broken |= facts.initial_r2t or not task.writes
        if broken:
            self._break(task, "unsolicited data against the rules")
        if task.cdb[0] == 0x5F and task.cdb[1] & 0x1F == 5:  # PREEMPT AND ABORT: of whomever
            for session in self.siblings:
                for other in list(session.tasks.values()):
                    session.abandon(other)
        if any(session.aborting for session in self.siblings if session is not self):
            self.loose.add(tag)  # another connection's abort is on its way: which comes first, nobody knows
        self.tasks[tag] = task
        self.over.discard(tag)
        if isinstance(task.disk, FarDisk):
            if task.cdb[0] in DISTURBING:
                for disk in self.disks.values():
                    disk.disturbed = True
            task.disk.begin(task, self.now)

    def _task(self, it: bytes, extra: bytes, clean: bool) -> FarTask:
        flags, lun = it[1], int.from_bytes(it[8:16])
        number, rest = lun >> 48, lun & (1 << 48) - 1
        number = number & 0x3FFF if number >> 14 == 1 else number
        disk = self.disks.get(number) if not rest else None
        if not clean and disk is None:
            disk = next(iter(self.disks.values()), None)  # a target may look at one byte of a LUN only
        return FarTask(
            int.from_bytes(it[16:20]), lun, it[32:48] + extra, disk, not it[0] & 0x40, bool(flags & 0x40),
            bool(flags & 0x20), int.from_bytes(it[20:24]), 0, 0, clean=clean,
        )  # fmt: skip

    def _break(self, task: FarTask, why: str) -> None:
        task.clean = False
        self.loose.add(task.tag)
        self.tainted = self.tainted or why

    def _data_out(self, it: bytes, data: bytes, clean: bool) -> None:
        tag, ttt, offset = int.from_bytes(it[16:20]), int.from_bytes(it[20:24]), int.from_bytes(it[40:44])
        task = self.tasks.get(tag)
        if task is None or not clean:
            self.loose.add(tag)
            self.tainted = self.tainted or "Data-Out for no task"
            if task is not None:
                self._break(task, "a broken Data-Out")
            for other in self.tasks.values():
                other.clean = other.clean and not other.writes
            return
        end, final = offset + len(data), bool(it[1] & 0x80)
        asked = task.unsolicited if ttt == NO_TAG else ttt == task.ttt
        right = asked and offset == task.received and end <= task.burst_end
        if not right or final != (end == task.burst_end):
            self._break(task, "Data-Out against the rules")
            return
        task.data += data
        task.received = end
        task.next_data_sn += 1
        if final:
            task.unsolicited, task.ttt, task.next_data_sn = False, None, 0

    # -- answers -----------------------------------------------------------------------------------------

    def _scsi(self, answer: Answer) -> None:
        opcode, tag = answer.opcode, answer.tag
        task = self.tasks.get(tag)
        name = {RESPONSE: "SCSI Response", DATA_IN: "Data-In", R2T: "R2T"}[opcode]
        if task is None:
            if opcode == RESPONSE:  # a Data-In of what was aborted shows what it was to show
                self._leak(f"{name} for no task", answer.data)
            if tag in self.over and tag not in self.loose:
                self.complain(f"{name} after the end", f"tag {tag:08x} had its status: {answer.header.hex()}")
            elif tag not in self.loose and not self.lost:
                self.complain(f"{name} to nothing", f"tag {tag:08x}: {answer.header.hex()}")
            return
        if opcode == R2T:
            self._r2t(task, answer)
        elif opcode == DATA_IN:
            self._data_in(task, answer)
        else:
            self._response(task, answer)

    def _r2t(self, task: FarTask, answer: Answer) -> None:
        ttt, sn, offset, length = (answer.word(at) for at in (20, 36, 40, 44))
        name = command_name(task.cdb)
        if task.tag in self.loose:
            return
        if not task.writes:
            self.complain(f"R2T for {name}", "a command that writes nothing")
        elif sn != task.r2t_sn or offset != task.received or task.ttt is not None or task.unsolicited:
            self.complain("R2T out of order", f"R2TSN {sn}, offset {offset} after {task.received}, {name}")
        elif not 0 < length <= self.facts.max_burst or offset + length > task.expected or ttt == NO_TAG:
            self.complain(
                "R2T beyond bounds", f"{offset} + {length} of {task.expected}, tag {ttt:08x}, {name}"
            )
        task.r2t_sn += 1
        task.ttt, task.received, task.burst_end, task.next_data_sn = ttt, offset, offset + length, 0

    def _data_in(self, task: FarTask, answer: Answer) -> None:
        flags, status = answer.header[1], answer.header[3]
        sn, offset, count = (answer.word(at) for at in (36, 40, 44))
        name, end = command_name(task.cdb), offset + len(answer.data)
        if task.tag not in self.doubled and (task.tag not in self.loose or task.clean):
            if not task.reads:
                self.complain(f"Data-In for {name}", "a command that reads nothing")
            if sn != task.data_sn:
                self.complain("DataSN", f"{sn} instead of {task.data_sn} in {name}")
            if offset != len(task.answer):
                self.complain("Data-In out of order", f"offset {offset} after {len(task.answer)} in {name}")
            if end > task.expected:
                self.complain("more data than expected", f"{end} bytes of {task.expected} in {name}")
            burst = self.facts.max_burst
            if answer.data and offset // burst != (end - 1) // burst:
                self.complain("Data-In across MaxBurstLength", f"{offset} to {end} in {name}")
        task.data_sn += 1
        task.answer += answer.data
        if flags & 1:
            self._over(task)
            if not flags & 0x80:
                self.complain("Data-In with status but not final", answer.header.hex())
            if status == CHECK:
                self.complain("sense is missing", f"CHECK CONDITION in a Data-In of {name}")
            self._ended(task, status, flags, count, "")

    def _response(self, task: FarTask, answer: Answer) -> None:
        flags, response, status = answer.header[1:4]
        self._over(task)
        name = command_name(task.cdb)
        if response:
            self.seen[name, f"response {response:02x}h"] += 1
            if task.tag not in self.loose:
                self.complain(f"service response {response:02x}h", f"to {name}")
            self._end_on_disk(task, well=False)
            return
        exp_data_sn = answer.word(36)
        # RFC 7143 counts Data-In alone, RFC 3720 R2Ts too.
        if exp_data_sn not in (task.data_sn, task.data_sn + task.r2t_sn) and task.tag not in self.loose:
            self.complain(
                "ExpDataSN", f"{exp_data_sn} after {task.data_sn} Data-In and {task.r2t_sn} R2T, {name}"
            )
        self._leak(f"sense of {name}", answer.data)
        self._ended(task, status, flags, answer.word(44), self._sense(task, status, answer.data))

    def _over(self, task: FarTask) -> None:
        self.tasks.pop(task.tag, None)
        self.over.add(task.tag)

    def _sense(self, task: FarTask, status: int, data: bytes) -> str:
        name = command_name(task.cdb)
        if status != CHECK:
            return ""
        sense = data[2:]
        if (
            len(sense) < 8
            or int.from_bytes(data[:2]) > len(sense)
            or sense[0] & 0x7F not in (0x70, 0x71, 0x72, 0x73)
        ):
            self.complain("sense is missing", f"{name}: {data.hex() or 'nothing'}")
            return "?"
        if sense[0] & 0x7F in (0x72, 0x73):
            return f"{sense[1] & 15:X}/{sense[2]:02X}{sense[3]:02X}"
        if len(sense) < 14:
            self.complain("sense too short", f"{name}: {data.hex()}")
            return "?"
        return f"{sense[2] & 15:X}/{sense[12]:02X}{sense[13]:02X}"

    # -- how a command may end ---------------------------------------------------------------------------

    def _ended(self, task: FarTask, status: int, flags: int, count: int, sense: str) -> None:
        name = command_name(task.cdb)
        self.seen[name, sense or ("GOOD" if status == GOOD else f"status {status:02x}h")] += 1
        well = status == GOOD and task.clean
        try:
            if status not in STATUSES:
                self.complain("status", f"{status:02x}h for {name}")
            if task.tag not in self.loose:
                self._residual(task, status, flags, count, name)
                self._outcome(task, status, sense, name)
            if status == GOOD:
                self._content(task, name)
        finally:
            self._end_on_disk(task, well=well)

    def _end_on_disk(self, task: FarTask, *, well: bool) -> None:
        if isinstance(task.disk, FarDisk):
            task.disk.end(task, self.now, well=well)

    def _residual(self, task: FarTask, status: int, flags: int, count: int, name: str) -> None:
        over, under = bool(flags & 4), bool(flags & 2)
        if over and under:
            self.complain("residual: both overflow and underflow", f"flags {flags:02x}h in {name}")
        elif under and count > task.expected:
            self.complain(
                "residual: beyond what was expected", f"underflow {count} of {task.expected}, {name}"
            )
        elif status == GOOD and task.cdb[0] in effects.READS | effects.WRITES:
            moved = self._moved(task)
            if moved is None:
                return
            want = (4, moved - task.expected) if moved > task.expected else (2, task.expected - moved)
            want = want if want[1] else (0, 0)
            said = (flags & 6, count) if flags & 6 else (0, 0)
            if said != want:
                self.complain(
                    f"residual of {name}", f"{said} instead of {want}: CDB {moved}, expected {task.expected}"
                )
        elif (
            status == GOOD
            and task.reads
            and not task.writes
            and not over
            and task.cdb[0] not in effects.TAKERS
        ):
            sent = len(task.answer)
            if sent + (count if under else 0) != task.expected:
                self.complain(
                    f"residual of {name}", f"{sent} bytes came, {task.expected} expected, underflow {count}"
                )

    def _moved(self, task: FarTask) -> int | None:
        if not isinstance(task.disk, FarDisk) or (task.reads == task.writes):
            return None
        if task.reads != (task.cdb[0] in effects.READS):
            return None
        return effects.extent(task.cdb)[1] * task.disk.block_size

    def _outcome(self, task: FarTask, status: int, sense: str, name: str) -> None:
        cdb, disk = task.cdb, task.disk
        passing = status in BUSY or sense.startswith("6/") or status == CONFLICT
        if cdb[0] in UNKNOWN and not passing and not sense.startswith("5/"):
            self.complain("unknown operation code accepted", f"{cdb.hex()}: status {status:02x}h {sense}")
        if not isinstance(disk, FarDisk):
            return
        if cdb[0] in effects.READS | effects.WRITES and not passing:
            first, count = effects.extent(cdb)
            if first + count > disk.blocks:
                if status == GOOD:
                    self.complain(f"out of range: {name}", f"{count} at {first} of {disk.blocks} ended GOOD")
                return
            plain = (
                not cdb[1] and count and task.expected == count * disk.block_size and cdb[0] not in (8, 10)
            )
            plain = plain and task.reads != task.writes and task.reads == (cdb[0] in effects.READS)
            if status != GOOD and plain and not disk.disturbed and not self.tainted:
                self.complain(f"refused: {name}", f"{cdb.hex()}: status {status:02x}h {sense}")

    def _content(self, task: FarTask, name: str) -> None:
        disk, cdb, data = task.disk, task.cdb, bytes(task.answer)
        if cdb[0] in effects.READS:
            if isinstance(disk, FarDisk) and not task.mixed and task.tag not in self.doubled:
                first, _ = effects.extent(cdb)
                wrong = disk.complaint(first << disk.shift, data)
                if wrong:
                    self.complain(*stale.explain(disk, first << disk.shift, data, wrong, name))
            return
        if task.tag not in self.doubled:  # else these may be another command's
            self._leak(name, data)
        where = ALLOCATION.get(cdb[0])
        if where is not None and task.clean:
            allowed = int.from_bytes(cdb[where[0] : where[0] + where[1]])
            if len(data) > allowed:
                self.complain(f"beyond the allocation length: {name}", f"{len(data)} of {allowed} bytes")
        if (
            cdb[0] in effects.WRITES
            and task.clean
            and task.received < min(task.expected, self._moved(task) or 0)
        ):
            self.complain(
                f"GOOD without its data: {name}", f"{task.received} of {task.expected} bytes were sent"
            )

    def _leak(self, where: str, data: bytes) -> None:
        """Bytes of a disk, of write data or of another session, where they have no business."""
        if CANARY in data:
            self.complain("leak: another session's bytes", f"in {where}: {data[:64].hex()}")
        found = stale.written(data)
        if found >= 0:
            self.complain(
                "leak: write data", f"in {where}, from byte {found}: {data[found : found + 32].hex()}"
            )
