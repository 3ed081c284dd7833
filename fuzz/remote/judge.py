"""The judge: what no target may ever answer, whatever was said to it.

Source: RFC 7143 §4.2.2 (numbers), §11.  Unlike the referee in process it does not know when the target has
read what, nor which of several legal answers it prefers; so it holds each answer against everything that
was said so far.  After a broken PDU it asks only what must hold even then.  ``verdicts`` knows SCSI."""

from collections import Counter

from fuzz.find import Find
from fuzz.hearing import (
    COMMAND,
    DATA,
    DATA_IN,
    LOGGED_OUT,
    LOGOUT,
    MANAGE,
    MANAGED,
    MASK,
    NO_TAG,
    NOP,
    NOP_IN,
    RESPONSE,
    SNACK,
    TEXT,
    TEXT_IN,
    Facts,
    ahead,
    crc,
)
from fuzz.remote.ground import FarDisk, FarTask
from fuzz.remote.link import Answer
from fuzz.steps import command_name

R2T, ASYNC, REJECT = 0x31, 0x32, 0x3F
FAR = 1 << 16
NAMES = {
    NOP_IN: "NOP-In", RESPONSE: "SCSI Response", MANAGED: "Task Management Response",
    TEXT_IN: "Text Response", DATA_IN: "Data-In", LOGGED_OUT: "Logout Response", R2T: "R2T",
    ASYNC: "Async Message", REJECT: "Reject",
}  # fmt: skip
ANSWER = {NOP: NOP_IN, MANAGE: MANAGED, TEXT: TEXT_IN, LOGOUT: LOGGED_OUT}


class Judge:
    """One session.  ``said`` gets the bytes that go out, ``heard`` each PDU that comes."""

    def __init__(
        self, facts: Facts, disks: dict[int, FarDisk], seen: Counter[tuple[str, str]], muted: Counter[str]
    ) -> None:
        self.facts = facts
        self.disks = disks
        self.seen = seen
        self.muted = muted  # kinds of finds that are known already
        self.exp_cmd_sn = facts.cmd_sn  # the CmdSN that is due
        self.stat_sn = facts.stat_sn
        self.max_cmd_sn = facts.cmd_sn
        self.heard_exp = facts.cmd_sn
        self.opened = False  # MaxCmdSN has been said
        self.top = facts.cmd_sn  # one beyond the highest CmdSN that was said
        self.tasks: dict[int, FarTask] = {}
        self.ghosts: list[FarTask] = []  # given up, but perhaps still there
        self.owed: dict[tuple[int, int], list[bytes]] = {}
        self.loose: set[int] = set()  # tags of which nothing certain is known
        self.doubled: set[int] = set()  # tags that two commands had at once
        self.over: set[int] = set()  # tags that have had their end
        self.tainted = ""  # why the target may drop us, or not answer
        self.lost = False  # the target may not know where PDUs begin
        self.closing = False
        self.now = 0.0
        self.siblings: list[Judge] = [self]
        self.headers: set[bytes] = set()  # what may be quoted in a Reject
        self.data_seqs: dict[int, int] = {}

    def complain(self, kind: str, what: str) -> None:
        """Raises ``Find``, unless this kind is known already."""
        if kind in self.muted:
            self.muted[kind] += 1
        else:
            raise Find(kind, what)

    # -- what goes out -----------------------------------------------------------------------------------

    def said(self, wire: bytes, *, clean: bool, why: str = "") -> None:
        """These bytes go out now.  ``clean``: as the standard wants them."""
        if not clean:
            self.tainted = self.tainted or why or "a broken PDU"
        if self.lost:
            return
        at = 0
        while at < len(wire):
            end = self._whole(wire, at)
            if not end:
                self.lost = True
                self.tainted = self.tainted or "half a PDU"
                self._fear()
                return
            self._request(wire[at:end], clean)
            at = end

    def _whole(self, wire: bytes, at: int) -> int:
        if len(wire) - at < 48:
            return 0
        length = int.from_bytes(wire[at + 5 : at + 8])
        end = at + 48 + wire[at + 4] * 4
        if self.facts.header_digest:
            if crc(wire[at:end]) != int.from_bytes(wire[end : end + 4], "little"):
                return 0
            end += 4
        if length > self.facts.max_send:
            return 0
        end += length + -length % 4 + (4 if length and self.facts.data_digest else 0)
        return end if end <= len(wire) else 0

    def parts(self, it: bytes) -> tuple[bytes, bool]:
        """Data, and whether its digest is right."""
        length = int.from_bytes(it[5:8])
        start = 48 + it[4] * 4 + (4 if self.facts.header_digest else 0)
        good = True
        if length and self.facts.data_digest:
            padded = start + length + -length % 4
            good = crc(it[start:padded]) == int.from_bytes(it[padded : padded + 4], "little")
        return it[start : start + length], good

    def _fear(self) -> None:
        """What the target makes of the bytes to come, nobody knows."""
        for disk in self.disks.values():
            disk.unsure = disk.disturbed = True

    def _request(self, it: bytes, clean: bool) -> None:
        opcode, tag = it[0] & 0x3F, int.from_bytes(it[16:20])
        self.headers.add(it[:48])
        data, good = self.parts(it)
        clean = clean and good
        if not clean:
            self.loose.add(tag)
        if opcode in (COMMAND, *ANSWER):
            self._number(it)
        elif opcode != DATA:
            self.tainted = self.tainted or f"opcode {opcode:02x}h"
        if opcode == COMMAND:
            self._command(it, data, clean)
        elif opcode == DATA:
            self._data_out(it, data, clean)
        elif opcode == SNACK:
            self.loose |= set(self.tasks)
        elif opcode in ANSWER and (opcode != NOP or tag != NO_TAG):
            self.owed.setdefault((ANSWER[opcode], tag), []).append(it[:48] + data)
            if opcode == MANAGE:
                self._manage(it)
            elif opcode == LOGOUT:
                self.closing = True
                if it[1] & 0x7F:
                    self.tainted = self.tainted or "a logout for recovery"
            elif opcode == TEXT and (
                it[1] != 0x80 or not data.startswith(b"SendTargets=") or data.count(b"=") > 1
            ):
                self.tainted = self.tainted or "odd text"
                self.loose.add(tag)

    def _number(self, it: bytes) -> None:
        if it[0] & 0x40:
            return
        number = int.from_bytes(it[24:28])
        distance = ahead(self.exp_cmd_sn, number)
        if distance == 0:
            self.exp_cmd_sn = (self.exp_cmd_sn + 1) & MASK
        else:
            self.tainted = self.tainted or f"CmdSN {distance:+d}"
            self.loose.add(int.from_bytes(it[16:20]))
        if 0 <= ahead(self.top, number) < FAR:  # beyond, no window is that wide
            self.top = (number + 1) & MASK

    def _manage(self, it: bytes) -> None:
        """Whatever is under way may be aborted by this, so nothing more is asked of it."""
        function = it[1] & 0x7F
        wanted = int.from_bytes(it[20:24])
        for session in self.siblings if function not in (1, 2) else [self]:
            for task in list(session.tasks.values()):
                if (function != 1 or task.tag == wanted) and (function > 5 or self.same(task.lun, it)):
                    session.abandon(task)
        self.loose.add(wanted)
        ahead_of = int.from_bytes(it[32:36])
        if function == 1 and 0 <= ahead(self.top, ahead_of) < FAR:
            self.top = (ahead_of + 1) & MASK  # §11.5.1: a command that has not come counts as received
        if function in (6, 7, 8):
            for session in self.siblings:
                session.tainted = session.tainted or "a reset of the target"

    @staticmethod
    def same(lun: int, request: bytes) -> bool:
        """Do both name one unit?  Peripheral and flat addressing are two ways to write a number."""
        return (lun >> 48) & 0x3FFF == int.from_bytes(request[8:10]) & 0x3FFF

    def abandon(self, task: FarTask) -> None:
        """Nobody is owed an end of this any more."""
        self.tasks.pop(task.tag, None)
        self.ghosts.append(task)
        self.loose.add(task.tag)
        if isinstance(task.disk, FarDisk):
            task.disk.end(task, self.now, well=None)

    def _command(self, it: bytes, data: bytes, clean: bool) -> None:
        raise NotImplementedError

    def _data_out(self, it: bytes, data: bytes, clean: bool) -> None:
        raise NotImplementedError

    # -- what comes --------------------------------------------------------------------------------------

    def heard(self, answer: Answer, now: float) -> None:
        """Raises ``Find`` for what an honest target never says."""
        self.now = now
        opcode, tag = answer.opcode, answer.tag
        name = NAMES.get(opcode)
        if name is None:
            self.complain("an answer that has no place here", f"opcode {opcode:02x}h: {answer.header.hex()}")
            return
        if len(answer.data) > self.facts.max_receive and opcode in (DATA_IN, TEXT_IN, NOP_IN):
            self.complain(
                f"{name} too long", f"{len(answer.data)} bytes, {self.facts.max_receive} were declared"
            )
        if answer.ahs:
            self.complain(f"{name} with an AHS", answer.header.hex())
        self._numbers(answer, name)
        if opcode == REJECT:
            self._reject(answer)
        elif opcode == ASYNC:
            self.seen["Async Message", f"event {answer.header[36]}"] += 1
            self.tainted = self.tainted or "an Async Message"
        elif opcode in (RESPONSE, DATA_IN, R2T):
            self._scsi(answer)
        elif opcode != NOP_IN or tag != NO_TAG:
            self._other(answer, name)

    def _scsi(self, answer: Answer) -> None:
        raise NotImplementedError

    def _numbers(self, answer: Answer, name: str) -> None:
        opcode, tag = answer.opcode, answer.tag
        stat_sn, exp, top = answer.word(24), answer.word(28), answer.word(32)
        bare = opcode == DATA_IN and not answer.header[1] & 1
        if not bare:
            if stat_sn != self.stat_sn:
                self.complain(f"StatSN in {name}", f"{stat_sn:08x} instead of {self.stat_sn:08x}")
            if opcode != R2T and not (opcode == NOP_IN and tag == NO_TAG):
                self.stat_sn = (stat_sn + 1) & MASK
        if not self.lost and ahead(self.top, exp) > 0:
            self.complain(f"ExpCmdSN in {name}", f"{exp:08x}, never said more than {self.top:08x}")
        if ahead(self.heard_exp, exp) < 0:
            self.complain(
                f"ExpCmdSN goes back in {name}",
                f"{exp:08x} after {self.heard_exp:08x}: {answer.header.hex()}",
            )
        else:
            self.heard_exp = exp
        room = ahead(exp, top)
        if room < -1:
            self.complain(f"MaxCmdSN in {name}", f"{top:08x} with ExpCmdSN {exp:08x}")
        elif not self.opened or ahead(self.max_cmd_sn, top) >= 0:
            self.max_cmd_sn, self.opened = top, True
        else:
            self.complain(f"MaxCmdSN goes back in {name}", f"{top:08x} after {self.max_cmd_sn:08x}")

    def _other(self, answer: Answer, name: str) -> None:
        opcode, tag = answer.opcode, answer.tag
        waiting = self.owed.get((opcode, tag))
        if not waiting:
            if tag not in self.loose and not self.lost:
                self.complain(f"{name} to nothing", f"tag {tag:08x}: {answer.header.hex()}")
            return
        request = waiting.pop(0)
        if not waiting:
            del self.owed[opcode, tag]
        self.seen[name, f"response {answer.header[2]}" if opcode in (MANAGED, LOGGED_OUT) else "came"] += 1
        if opcode == NOP_IN and tag not in self.loose:
            sent = request[48:]
            if answer.data != sent[: self.facts.max_receive]:
                same = len(answer.data) == len(sent)
                self.complain(
                    "NOP-In with other data",
                    f"{len(sent)} bytes were sent, {len(answer.data)} came back" + (", different" * same),
                )

    def _reject(self, answer: Answer) -> None:
        header = answer.data[:48]
        reason = answer.header[2]
        self.seen[f"opcode {header[0] & 0x3F:02x}h" if header else "?", f"Reject {reason:02x}h"] += 1
        if answer.tag != NO_TAG:
            self.complain("Reject with a task tag", answer.header.hex())
        tag = int.from_bytes(header[16:20])
        self.loose.add(tag)
        task = self.tasks.get(tag)
        if task is not None:
            self.abandon(task)
        for kind in ANSWER.values():
            self.owed.pop((kind, tag), None)
        if len(header) < 48 or (header not in self.headers and not self.lost):
            self.complain(
                "Reject quotes what was never sent", f"reason {reason:02x}h, {header.hex() or 'nothing'}"
            )
        elif not self.tainted and not header[0] & 0x40 and header[0] & 0x3F not in (TEXT, MANAGE):
            # Immediate requests may be refused for want of room, text for its size.
            self.complain(
                f"Reject {reason:02x}h of opcode {header[0] & 0x3F:02x}h without cause", header.hex()
            )

    # -- the end -----------------------------------------------------------------------------------------

    def waits(self) -> tuple[str, int] | None:
        """What is owed now and for which tag; None when nothing is."""
        if self.tainted or self._stopped():
            return None
        for task in self.tasks.values():
            if task.ttt is None and not task.unsolicited and task.tag not in self.loose:
                return command_name(task.cdb), task.tag
        for (kind, tag), _ in self.owed.items():
            if tag not in self.loose:
                return NAMES[kind], tag
        return None

    @property
    def aborting(self) -> bool:
        """Is something of this session under way that ends other sessions' tasks?"""
        return any(kind == MANAGED for kind, _ in self.owed) or any(
            task.cdb[0] == 0x5F and task.cdb[1] & 0x1F == 5 for task in self.tasks.values()
        )

    def _stopped(self) -> bool:
        """Does an ORDERED task wait for write data, its own or of one before it?  Then others wait, too."""
        tasks = [task for s in self.siblings for task in (*s.tasks.values(), *s.ghosts)]
        return self.unfed and not all(task.simple for task in tasks)

    @property
    def unfed(self) -> bool:
        """Is there a task, here or in a session beside us, that may wait for write data?"""
        tasks = [task for s in self.siblings for task in (*s.tasks.values(), *s.ghosts)]
        return any(task.writes and task.received < task.expected for task in tasks)

    def end(self) -> None:
        """The connection is gone, and all that was under way on it."""
        for task in list(self.tasks.values()):
            self.abandon(task)
        for disk in self.disks.values():
            disk.laid(self.ghosts, self.now)
        self.ghosts.clear()
