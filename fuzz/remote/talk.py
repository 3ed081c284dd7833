"""One case: up to two sessions of the liar at a target far away, from connect to the end.

Takes the steps of a script as ``fuzz.world`` does, but over sockets: it waits where the target needs time,
and where nothing comes in ``patience`` seconds that is the finding.  Knows sockets and the clock."""

import time
from collections import Counter

import attrs

from fuzz import mangle
from fuzz.find import Find
from fuzz.hearing import HEADER, LOGGED_OUT, NO_TAG, NOP_IN, ahead, crc
from fuzz.remote.address import Address
from fuzz.remote.entry import Entry
from fuzz.remote.evidence import Evidence, Sent
from fuzz.remote.ground import FarDisk
from fuzz.remote.liar import honest
from fuzz.remote.link import Link
from fuzz.remote.verdicts import FarJudge
from fuzz.speech import resolve
from fuzz.steps import Step

SHORT = 0.1  # seconds for a target to say something about nonsense
AWAY = 10.0  # seconds after which a target may have given up an initiator that does not listen
OURS = 0x7F000000  # tags of our own pings


@attrs.define(eq=False)
class Speaker:
    """One connection of the liar."""

    who: int
    link: Link
    entry: Entry
    referee: FarJudge | None = None
    apart: bool = False
    over: bool = False
    pings: int = 0
    looked: float = attrs.field(factory=time.monotonic)  # when we last took what had come

    @property
    def tainted(self) -> str:
        if self.referee is not None:
            return self.referee.tainted
        return "an odd login" if self.entry.odd else ""


class Talk:
    """``take`` steps, then ``finish``; ``close`` in any case.  Raises ``Find``."""

    def __init__(
        self,
        address: Address,
        disks: dict[int, FarDisk],
        seen: Counter[tuple[str, str]],
        muted: Counter[str],
        *,
        patience: float = 5.0,
    ) -> None:
        self.address = address
        self.disks = disks
        self.seen = seen
        self.muted = muted
        self.patience = patience
        self.pdus = 0
        self.answers = 0
        self.connections: list[Speaker | None] = [None, None]
        self.links: list[Link] = []
        self.sent: list[Sent] = []
        self.evidence = Evidence()  # of the find that was raised

    # -- steps -------------------------------------------------------------------------------------------

    def take(self, step: Step) -> None:
        """One step of a script."""
        speaker = self.connections[step.who]
        if step.kind == "connect":
            self._connect(step.who)
        elif speaker is None:
            return
        elif step.kind == "drop":
            self._over(speaker)
        elif step.kind == "hear":
            self._hear(speaker, 0.002)
        elif step.kind == "say":
            self._say(speaker, step)

    def _connect(self, who: int) -> None:
        before = self.connections[who]
        if before is not None:
            self._over(before)
        try:
            link = Link(self.address.host, self.address.port, seconds=self.patience)
        except OSError as error:
            raise Find("gone", f"no connection: {error}") from error
        self.links.append(link)
        self.sent.append(Sent(who, "connect"))
        self.connections[who] = Speaker(who, link, Entry(self.address.secret))

    def _say(self, speaker: Speaker, step: Step) -> None:
        judge = speaker.referee
        if judge is None:
            self._login(speaker, step)
            return
        if step.answers and not self._ready(speaker, judge, step):
            return
        if step.number is not None and not self._window(speaker, judge):
            return
        clean = honest(step)
        wire = resolve(speaker, step)
        judge.now = time.monotonic()
        judge.said(wire, clean=clean)
        self._send(speaker, step, wire)
        if not step.more:
            self._hear(speaker, 0.0)
        if judge.lost or judge.closing:
            self._part(speaker, judge)
        elif len(judge.tasks) >= 16:
            self._settle(speaker, judge, 12)

    def _send(self, speaker: Speaker, step: Step, wire: bytes) -> None:
        split = mangle.has(step, "split")
        self.sent.append(Sent(speaker.who, "say", wire, step, speaker.referee is not None))
        self.pdus += 1
        if split is not None and split < len(wire):
            speaker.link.send(wire[:split])
            self._hear(speaker, 0.001)
            wire = wire[split:]
        speaker.link.send(wire)

    # -- login -------------------------------------------------------------------------------------------

    def _login(self, speaker: Speaker, step: Step) -> None:
        wire = resolve(speaker, step)
        entry = speaker.entry
        clean = honest(step) and len(wire) >= 48 and wire[0] == 0x43
        # Names, stages and keys of an honest login are all of ``FarLiar``: what is not is odd from its bytes.
        entry.odd = entry.odd or not clean or step.n == 1
        entry.said(wire)
        self._send(speaker, step, wire)
        until = time.monotonic() + (SHORT if entry.odd else self.patience)
        while speaker.referee is None and not entry.over:
            for answer in speaker.link.answers():
                self.answers += 1
                self.evidence = Evidence(speaker.who, answer.header + answer.data)
                facts = entry.heard(answer)
                if facts is not None:
                    self._open(speaker, entry)
                    return
                if not entry.over:
                    return
            if entry.over:
                break
            if speaker.link.closed or time.monotonic() > until:
                if not entry.odd:
                    what = speaker.link.closed or f"no answer in {self.patience:g} s"
                    raise Find("login: " + ("closed" if speaker.link.closed else "silence"), what)
                break
            speaker.link.pump(until - time.monotonic())
        discovery = entry.offered.get("SessionType") == "Discovery"  # not every target has that for everybody
        if entry.over and not entry.odd and entry.status >> 8 != 3 and not discovery:
            raise Find("login: refused", f"status {entry.status:04x}h to an honest login")
        self.seen["Login Request", f"status {entry.status:04x}h" if entry.over else "no answer"] += 1
        self._over(speaker)

    def _open(self, speaker: Speaker, entry: Entry) -> None:
        answer_facts = entry.facts
        self.evidence = Evidence()
        if answer_facts is None:
            raise RuntimeError("not logged in")
        speaker.link.header_digest = answer_facts.header_digest
        speaker.link.data_digest = answer_facts.data_digest
        judge = FarJudge(answer_facts, {} if answer_facts.discovery else self.disks, self.seen, self.muted)
        judge.max_cmd_sn = entry.max_cmd_sn
        if entry.odd:
            judge.tainted = "an odd login"
        speaker.referee = judge
        judges = [s.referee for s in self.connections if s is not None and s.referee is not None]
        for each in judges:
            each.siblings = list(judges)
        self.seen["Login Request", "finished"] += 1

    # -- waiting -----------------------------------------------------------------------------------------

    def _hear(self, speaker: Speaker, seconds: float) -> bool:
        """Take what has come, after waiting at most so long.  False when nothing came."""
        judge, link = speaker.referee, speaker.link
        if judge is None:
            return False
        came = link.pump(seconds)
        now = time.monotonic()
        if now - speaker.looked - seconds > AWAY:
            judge.tainted = judge.tainted or "we did not listen, and answered no ping"
        speaker.looked = now
        for answer in link.answers():
            self.answers += 1
            try:
                judge.heard(answer, now)
            except Find:
                self.evidence = Evidence(speaker.who, answer.header + answer.data)
                raise
            if answer.opcode == NOP_IN and answer.tag == NO_TAG and answer.word(20) != NO_TAG:
                link.send(self._pong(judge, answer.word(20), int.from_bytes(answer.header[8:16])))
        if link.closed:
            if not (judge.tainted or judge.closing):
                self._over(speaker)
                self.complain("dropped without cause", link.closed)
            self._over(speaker)
        return came

    def _pong(self, judge: FarJudge, ttt: int, lun: int) -> bytes:
        it = HEADER.pack(0x40, 0x80, 0, 0, 0, lun, NO_TAG, ttt, judge.exp_cmd_sn, judge.stat_sn, 0, 0, 0, 0)
        return it + (crc(it).to_bytes(4, "little") if judge.facts.header_digest else b"")

    def complain(self, kind: str, what: str) -> None:
        if kind in self.muted:
            self.muted[kind] += 1
        else:
            raise Find(kind, what)

    def _ready(self, speaker: Speaker, judge: FarJudge, step: Step) -> bool:
        """Does the task that this data is for want some?  An R2T may still be on its way."""
        tag = int.from_bytes(step.bhs[16:20])
        until = time.monotonic() + min(0.3, self.patience)
        while not speaker.over:
            task = judge.tasks.get(tag)
            if task is None or (judge.tainted and tag in judge.loose):
                return False
            if task.unsolicited or task.ttt is not None:
                return True
            if time.monotonic() > until:
                return False
            self._hear(speaker, 0.05)
        return False

    def _window(self, speaker: Speaker, judge: FarJudge) -> bool:
        """Is there room for one more command?  Waits for it."""
        until = time.monotonic() + (SHORT if judge.tainted or judge.unfed else self.patience)
        while ahead(judge.exp_cmd_sn, judge.max_cmd_sn) < 0:
            if speaker.over:
                return False
            waiting = any(t.ttt is not None or t.unsolicited for t in judge.tasks.values())
            if time.monotonic() > until or (waiting and not self._hear(speaker, 0.05)):
                if not judge.tainted and not waiting and not judge.unfed:
                    self.complain("the command window stays closed", f"MaxCmdSN {judge.max_cmd_sn:08x}")
                self._give_up(speaker)
                return False
            self._hear(speaker, 0.05)
        return not speaker.over

    def _give_up(self, speaker: Speaker) -> None:
        """The window is full of commands that wait for write data, or wait behind those of a session beside
        us that do: without this every further step would wait as well."""
        for other in list(self.connections):
            referee = other.referee if other is not None else None
            if other is not None and (other is speaker or (referee is not None and referee.unfed)):
                self._over(other)

    def _settle(self, speaker: Speaker, judge: FarJudge, most: int) -> None:
        """Wait until only so many tasks are left that do not wait for us."""
        until = time.monotonic() + (SHORT if judge.tainted else self.patience)
        while not speaker.over and time.monotonic() < until:
            busy = [t for t in judge.tasks.values() if t.ttt is None and not t.unsolicited]
            if len(busy) <= most or judge.waits() is None:
                return
            self._hear(speaker, 0.02)
        if not speaker.over and not judge.tainted and judge.waits():
            self._silence(speaker, judge)

    def _silence(self, speaker: Speaker, judge: FarJudge) -> None:
        """Something is owed and does not come.  Is it that alone, or does the session say nothing more?"""
        owed = judge.waits()
        alive = self._ping(speaker, judge, self.patience)
        owed = judge.waits() if not speaker.over else owed
        if owed is None or judge.tainted:
            return
        name, tag = owed
        self.evidence = Evidence(speaker.who, silent=(speaker.who, tag))
        if alive:
            self.complain(f"no answer: {name}", f"tag {tag:08x}, while a NOP is answered")
        else:
            what = f"{name} with tag {tag:08x} in {self.patience:g} s, nor a NOP"
            raise Find("hang: the session answers nothing", what)

    def _ping(self, speaker: Speaker, judge: FarJudge, seconds: float) -> bool:
        """An immediate NOP-Out.  Is it answered in time?"""
        if speaker.over:
            return False
        speaker.pings += 1
        tag = OURS + speaker.pings
        bhs = HEADER.pack(0x40, 0x80, 0, 0, 0, 0, tag, NO_TAG, judge.exp_cmd_sn, 0, 0, 0, 0, 0)
        step = Step(bhs=bhs, who=speaker.who, number=0)
        wire = resolve(speaker, step)
        judge.said(wire, clean=True)
        self._send(speaker, step, wire)
        until = time.monotonic() + seconds
        while not speaker.over and time.monotonic() < until:
            if (NOP_IN, tag) not in judge.owed:
                return True
            self._hear(speaker, 0.05)
        return (NOP_IN, tag) not in judge.owed

    def _part(self, speaker: Speaker, judge: FarJudge) -> None:
        """After a logout, or half a PDU: hear what there is to hear, and go."""
        honest_end = judge.closing and not judge.tainted
        until = time.monotonic() + (self.patience if honest_end else SHORT)
        while not speaker.over and time.monotonic() < until:
            if honest_end and not any(kind == LOGGED_OUT for kind, _ in judge.owed):
                break
            self._hear(speaker, 0.05)
        unanswered = [tag for kind, tag in judge.owed if kind == LOGGED_OUT]
        if honest_end and unanswered:
            self.evidence = Evidence(speaker.who, silent=(speaker.who, unanswered[0]))
            self.complain(
                "no answer: Logout Response", "and no end of the connection" if not speaker.over else "closed"
            )
        self._over(speaker)

    def _over(self, speaker: Speaker) -> None:
        if speaker.over:
            return
        speaker.over = True
        if speaker.referee is not None:
            speaker.referee.now = time.monotonic()
            speaker.referee.end()
        if self.connections[speaker.who] is speaker:
            self.connections[speaker.who] = None
        self.sent.append(Sent(speaker.who, "drop"))
        speaker.link.close()

    # -- the end -----------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Wait for everything that is owed."""
        for speaker in list(self.connections):
            if speaker is None or speaker.referee is None:
                continue
            judge = speaker.referee
            until = time.monotonic() + (SHORT if judge.tainted else self.patience)
            alive = self._ping(speaker, judge, SHORT if judge.tainted else self.patience)
            if not (alive or judge.tainted or speaker.over):
                self._silence(speaker, judge)
            while not speaker.over and judge.waits() and time.monotonic() < until:
                self._hear(speaker, 0.05)
            if not speaker.over and judge.waits():
                self._silence(speaker, judge)
            if not speaker.over:
                self._over(speaker)

    def close(self) -> None:
        """Give every connection back, whatever state it is in."""
        for speaker in list(self.connections):
            if speaker is not None:
                self._over(speaker)
        for link in self.links:
            link.close()
