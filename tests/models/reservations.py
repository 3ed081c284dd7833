"""Persistent reservations as the standard tells them, apart from the machine that we run.

Source: SPC-4 §5.13 (the rules), §6.15 and §6.16 (the two commands), table 64 with SBC-3 table 13 (who may do
what), SAM-5 §5.14 and §5.6 (unit attentions), SPC-2 §5.5 (RESERVE(6)); docs/reservations.md where the
standard leaves room.  Imports nothing of ``scsipub``.

Another shape than the machine's: a dict of keys by I_T nexus and a set of reservation holders.  A command is
a ``Call`` in words, not bytes.  Where several things are wrong with a request the standard does not say which
is told first, so an answer is judged against all that may be given."""

from typing import Literal

import attrs

GOOD, CHECK, BUSY, CONFLICT = 0x00, 0x02, 0x08, 0x18

Nexus = tuple[str, bytes, str, int]  # InitiatorName, ISID, who it has proved to be, relative target port
Who = tuple[object, ...]  # the part of a nexus that the target's policy tells apart
Sense = tuple[int, int, int]
Answer = tuple[int, Sense | None]

INVALID_FIELD_IN_CDB: Answer = (CHECK, (5, 0x24, 0x00))
INVALID_FIELD_IN_LIST: Answer = (CHECK, (5, 0x26, 0x00))
INVALID_RELEASE: Answer = (CHECK, (5, 0x26, 0x04))
LIST_LENGTH: Answer = (CHECK, (5, 0x1A, 0x00))
NOT_KEPT: Answer = (CHECK, (4, 0x44, 0x00))
REFUSED: Answer = (CONFLICT, None)
FINE: Answer = (GOOD, None)

POWER_ON_OR_RESET = (0x29, 0x00)
BUS_DEVICE_RESET = (0x29, 0x03)
RESERVATIONS_PREEMPTED = (0x2A, 0x03)
RESERVATIONS_RELEASED = (0x2A, 0x04)
REGISTRATIONS_PREEMPTED = (0x2A, 0x05)
COMMANDS_CLEARED = (0x2F, 0x00)

WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS = {1, 5, 7}, {3, 6, 8}
TYPES = WRITE_EXCLUSIVE | EXCLUSIVE_ACCESS
REGISTRANTS_ONLY, ALL_REGISTRANTS = {5, 6}, {7, 8}

# Whom a reservation of somebody else stops: nobody, those who read past exclusive access, or those who write.
ACCESS: dict[str, Literal["allowed", "peeks", "reads", "writes"]] = {
    "INQUIRY": "allowed",
    "REPORT LUNS": "allowed",
    "REQUEST SENSE": "allowed",
    "TEST UNIT READY": "peeks",  # only RESERVE(6) and a fence stop these
    "READ CAPACITY(10)": "peeks",
    "REPORT TARGET PORT GROUPS": "peeks",
    "READ(10)": "reads",
    "VERIFY(10)": "reads",
    "PRE-FETCH(10)": "reads",
    "MODE SENSE(6)": "reads",
    "GET LBA STATUS": "reads",
    "WRITE(10)": "writes",
    "SYNCHRONIZE CACHE(10)": "writes",
    "MODE SELECT(6)": "writes",
    "UNMAP": "writes",
    "WRITE SAME(10)": "writes",
    "COMPARE AND WRITE": "writes",
    "START STOP UNIT": "writes",  # that stops; one that starts is let through, see PASSES
    "START": "peeks",
    "PREVENT": "writes",
    "ALLOW": "peeks",
}
SILENT = {"INQUIRY", "REPORT LUNS", "REQUEST SENSE"}  # these do not report unit attentions


@attrs.frozen(kw_only=True)
class Call:
    """PERSISTENT RESERVE OUT, as the initiator means it."""

    action: str
    key: int = 0
    new_key: int = 0
    type: int = 0
    scope: int = 0
    aptpl: bool = False
    all_tg_pt: bool = False
    spec_i_pt: bool = False
    unreg: bool = False
    to: tuple[str, bytes | None, int] | None = None  # name, ISID, relative target port
    length_is_wrong: bool = False


@attrs.frozen
class Registration:
    key: int
    all_tg_pt: bool


@attrs.define
class State:
    """What a power loss may take."""

    generation: int = 0
    registered: dict[Who, Registration] = attrs.field(factory=dict)
    type: int | None = None
    holders: set[Who] = attrs.field(factory=set)
    aptpl: bool = False

    def copy(self) -> "State":
        return attrs.evolve(self, registered=dict(self.registered), holders=set(self.holders))


@attrs.define(eq=False)
class Session:
    nexus: Nexus
    attentions: list[tuple[int, int]] = attrs.field(factory=lambda: [POWER_ON_OR_RESET])
    writing: dict[int, int] = attrs.field(factory=dict)  # tag -> block, of writes whose data is still to come
    asking: bool = False  # its PERSISTENT RESERVE OUT is not answered yet
    fenced: bool = False

    def end_tasks(self) -> bool:
        """All of them.  True if there were any."""
        had = bool(self.writing) or self.asking
        self.writing.clear()
        self.asking = False
        return had

    def hear(self, attention: tuple[int, int]) -> None:
        if attention[0] == 0x29 and attention not in self.attentions:
            self.attentions.clear()
        if attention not in self.attentions:
            self.attentions.append(attention)


@attrs.define
class Step:
    """A change that has been decided: what is to be once it is durable."""

    after: State
    attentions: list[tuple[Who, tuple[int, int]]] = attrs.field(factory=list)
    aborted: set[Who] = attrs.field(factory=set)
    lost: list[Session] = attrs.field(factory=list)  # their tasks


class Model:
    """One logical unit.  ``by_port``: a nexus is told apart by ISID and target port, too."""

    def __init__(self, *, by_port: bool, ports: int, blocks: int) -> None:
        self.by_port = by_port
        self.ports = ports
        self.state = State()
        self.durable = State()
        self.sessions: dict[int, Session] = {}
        self.reserve_6: Session | None = None
        self.pending: tuple[Session, Step] | None = None  # decided, not yet durable
        self.blocks = [0] * blocks

    def who(self, nexus: Nexus) -> Who:
        name, isid, principal, port = nexus
        return (name, isid, principal, port) if self.by_port else (name, principal)

    # -- sessions ----------------------------------------------------------------------------------------

    def login(self, number: int, nexus: Nexus) -> None:
        self.sessions[number] = session = Session(nexus)
        if self.pending is not None and self.who(nexus) in self.pending[1].aborted:
            session.fenced = True

    def logout(self, number: int) -> None:
        session = self.sessions.pop(number)
        if self.reserve_6 is session:
            self.reserve_6 = None

    def reset(self) -> None:
        """LOGICAL UNIT RESET: tasks and RESERVE(6) go, persistent reservations stay."""
        self.reserve_6 = None
        for session in self.sessions.values():
            session.end_tasks()
            session.hear(BUS_DEVICE_RESET)

    def clear_tasks(self, by: int) -> None:
        """CLEAR TASK SET."""
        for number, session in self.sessions.items():
            if session.end_tasks() and number != by:
                session.hear(COMMANDS_CLEARED)

    def restart(self, *, power_loss: bool) -> None:
        """Of the daemon; nobody is logged in afterwards."""
        self.sessions.clear()
        self.reserve_6 = self.pending = None
        if power_loss and not self.durable.aptpl and self.durable.registered:
            self.durable = State()
        self.state = self.durable.copy()

    # -- who may -----------------------------------------------------------------------------------------

    def may(self, session: Session, kind: str) -> bool:
        """Whether no reservation and no fence stops a command of this kind."""
        if kind == "allowed":
            return True
        if session.fenced or (self.reserve_6 is not None and self.reserve_6 is not session):
            return False
        if kind == "peeks" or self.state.type is None:
            return True
        me = self.who(session.nexus)
        if me in self.state.holders:
            return True
        if self.state.type in REGISTRANTS_ONLY | ALL_REGISTRANTS and me in self.state.registered:
            return True
        return kind == "reads" and self.state.type in WRITE_EXCLUSIVE

    def attention(self, session: Session) -> list[Answer]:
        """What is told before anything else."""
        return [(CHECK, (6, *each)) for each in session.attentions]

    def told(self, session: Session, answer: Answer) -> None:
        """It was told ``answer``, one of ``attention``."""
        if answer[1] is not None:
            session.attentions.remove(answer[1][1:])

    # -- RESERVE(6) --------------------------------------------------------------------------------------

    def reserve(self, session: Session) -> Answer:
        if not self.may(session, "writes") or self.state.registered:
            return REFUSED
        self.reserve_6 = session
        return FINE

    def release(self, session: Session) -> Answer:
        if self.state.registered:
            return REFUSED
        if self.reserve_6 is session:
            self.reserve_6 = None
        return FINE

    # -- PERSISTENT RESERVE OUT --------------------------------------------------------------------------

    def out(self, session: Session, call: Call) -> tuple[set[Answer], Step | None]:
        """What may be answered when it is refused, or what it leads to."""
        if call.action == "REPLACE LOST RESERVATION":
            return {INVALID_FIELD_IN_CDB}, None
        wrong: set[Answer] = set()
        if self.reserve_6 is not None or session.fenced:
            wrong.add(REFUSED)
        if call.length_is_wrong:
            wrong.add(LIST_LENGTH)
        if call.length_is_wrong and call.to is not None:
            wrong.add(INVALID_FIELD_IN_LIST)  # TRANSPORTID PARAMETER DATA LENGTH says the same
        if self.pending is not None:
            wrong.add((BUSY, None))
        if REFUSED in wrong or self.pending is not None:
            return wrong, None
        if call.spec_i_pt and call.action != "REGISTER AND MOVE":
            wrong.add(INVALID_FIELD_IN_LIST)
        me = self.who(session.nexus)
        mine = self.state.registered.get(me)
        anybody = call.action in ("REGISTER", "REGISTER AND IGNORE EXISTING KEY")
        if not anybody and (mine is None or mine.key != call.key):
            wrong.add(REFUSED)
        step = Step(self.state.copy())
        deed = {
            "REGISTER": self._register,
            "REGISTER AND IGNORE EXISTING KEY": self._register,
            "RESERVE": self._reserve,
            "RELEASE": self._release,
            "CLEAR": self._clear,
            "PREEMPT": self._preempt,
            "PREEMPT AND ABORT": self._preempt,
            "REGISTER AND MOVE": self._move,
        }[call.action]
        wrong |= deed(step, session, me, call)
        return (wrong, None) if wrong else (set(), step)

    def _count(self, step: Step) -> None:
        step.after.generation = (step.after.generation + 1) % 2**32

    def _everywhere(self, nexus: Nexus) -> list[Who]:
        return [self.who((*nexus[:3], port)) for port in range(1, self.ports + 1)]

    def _tell_others(self, step: Step, me: Who, what: tuple[int, int]) -> None:
        step.attentions += [(who, what) for who in step.after.registered if who != me]

    def _end_without_holders(self, after: State) -> None:
        """A reservation lasts as long as somebody holds it."""
        after.holders &= after.registered.keys()
        if not after.holders:
            after.type = None

    def _register(self, step: Step, session: Session, me: Who, call: Call) -> set[Answer]:
        """§5.13.7, §5.13.11.2.1 (unregistering)."""
        before, after = self.state, step.after
        whom = dict.fromkeys(self._everywhere(session.nexus)) if call.all_tg_pt else {me: None}
        keys = [before.registered[who].key if who in before.registered else 0 for who in whom]
        if call.action == "REGISTER" and any(key != call.key for key in keys):
            return {REFUSED}
        if not call.new_key and not any(keys):
            return set()
        self._count(step)
        after.aptpl = call.aptpl
        if call.new_key:
            for who in whom:
                after.registered[who] = Registration(call.new_key, call.all_tg_pt)
                if after.type in ALL_REGISTRANTS:
                    after.holders.add(who)
            return set()
        for who in whom:
            after.registered.pop(who, None)
        self._end_without_holders(after)
        if before.type in REGISTRANTS_ONLY | ALL_REGISTRANTS and after.type is None:
            self._tell_others(step, me, RESERVATIONS_RELEASED)
        return set()

    def _reserve(self, step: Step, session: Session, me: Who, call: Call) -> set[Answer]:
        """§5.13.9."""
        wrong = set()
        if call.scope or call.type not in TYPES:
            wrong.add(INVALID_FIELD_IN_CDB)
        if self.state.type is not None and (me not in self.state.holders or call.type != self.state.type):
            wrong.add(REFUSED)
        if self.state.type is None:
            step.after.type = call.type
            everyone = call.type in ALL_REGISTRANTS
            step.after.holders = set(step.after.registered) if everyone else {me}
        return wrong

    def _release(self, step: Step, session: Session, me: Who, call: Call) -> set[Answer]:
        """§5.13.11.2.2."""
        if me not in self.state.holders:
            return set()
        if call.scope or call.type != self.state.type:
            return {INVALID_RELEASE}
        if self.state.type not in (1, 3):
            self._tell_others(step, me, RESERVATIONS_RELEASED)
        step.after.type, step.after.holders = None, set()
        return set()

    def _clear(self, step: Step, session: Session, me: Who, call: Call) -> set[Answer]:
        """§5.13.11.2.7."""
        self._tell_others(step, me, RESERVATIONS_PREEMPTED)
        step.after = State(generation=step.after.generation)
        self._count(step)
        return set()

    def _preempt(self, step: Step, session: Session, me: Who, call: Call) -> set[Answer]:
        """§5.13.11.2.3 to .6."""
        before, after = self.state, step.after
        with_key = {who for who, entry in before.registered.items() if entry.key == call.new_key}
        if before.type in ALL_REGISTRANTS:
            takes_over = call.new_key == 0
            losers = set(before.registered) - {me} if takes_over else with_key
        else:
            takes_over = bool(before.holders & with_key)
            losers = with_key - {me} if takes_over else with_key
        wrong: set[Answer] = set()
        if call.new_key == 0 and not takes_over:
            wrong.add(INVALID_FIELD_IN_LIST)
        if not with_key and not takes_over:
            wrong.add(REFUSED)
        if takes_over and (call.scope or call.type not in TYPES):
            wrong.add(INVALID_FIELD_IN_CDB)
        if wrong:
            return wrong
        self._count(step)
        for who in losers:
            del after.registered[who]
        step.attentions += [(who, REGISTRATIONS_PREEMPTED) for who in losers if who != me]
        if takes_over:
            after.type = call.type
            after.holders = set(after.registered) if call.type in ALL_REGISTRANTS else {me}
            if call.type != before.type:
                self._tell_others(step, me, RESERVATIONS_RELEASED)
        elif before.type is not None:
            self._end_without_holders(after)
        if call.action == "PREEMPT AND ABORT":
            step.aborted = losers - {me}
        return set()

    def _move(self, step: Step, session: Session, me: Who, call: Call) -> set[Answer]:
        """§5.13.8."""
        wrong: set[Answer] = set()
        if call.to is None:
            raise ValueError("nowhere to move to")
        name, isid, port = call.to
        if me not in self.state.holders or self.state.type in ALL_REGISTRANTS:
            wrong.add(REFUSED)
        if call.new_key == 0 or not 1 <= port <= self.ports or (self.by_port and isid is None):
            wrong.add(INVALID_FIELD_IN_LIST)
        heir = self.who((name, isid or b"", session.nexus[2], port))
        if heir == me:
            wrong.add(INVALID_FIELD_IN_LIST)
        if wrong:
            return wrong
        self._count(step)
        after = step.after
        after.aptpl = call.aptpl
        after.registered[heir] = Registration(call.new_key, all_tg_pt=False)
        after.holders = {heir}
        if call.unreg:
            del after.registered[me]
        return set()

    # -- a step is taken in two halves -------------------------------------------------------------------

    def begin(self, session: Session, step: Step) -> None:
        """Decided.  Whose tasks are aborted is fenced from now on."""
        self.pending = (session, step)
        session.asking = True
        for other in self.sessions.values():
            if self.who(other.nexus) in step.aborted:
                other.fenced = True
                if other.end_tasks():
                    step.lost.append(other)

    def end(self, *, kept: bool) -> None:
        """Durable, or not to be kept."""
        if self.pending is None:
            raise ValueError("nothing was decided")
        asker, step = self.pending
        self.pending = None
        asker.asking = False
        if kept:
            self.state = step.after
            self.durable = step.after.copy()
            for who, attention in step.attentions:
                for session in self.sessions.values():
                    if self.who(session.nexus) == who:
                        session.hear(attention)
        for session in step.lost:
            session.hear(COMMANDS_CLEARED)
        for session in self.sessions.values():
            session.fenced = False

    # -- PERSISTENT RESERVE IN ---------------------------------------------------------------------------

    def keys(self) -> list[int]:
        return sorted(entry.key for entry in self.state.registered.values())

    def reservation(self) -> tuple[int, int] | None:
        """Key and type; the key is 0 when all registrants hold it."""
        if self.state.type is None:
            return None
        if self.state.type in ALL_REGISTRANTS:
            return 0, self.state.type
        (holder,) = self.state.holders
        return self.state.registered[holder].key, self.state.type

    def full_status(self) -> list[tuple[int, bool, bool, int, int, bytes]]:
        """Key, ALL_TG_PT, R_HOLDER, type, relative target port, TransportID."""
        told = []
        for who, entry in self.state.registered.items():
            holds = who in self.state.holders
            anywhere = not self.by_port and (self.ports > 1 or entry.all_tg_pt)
            port = who[3] if self.by_port and isinstance(who[3], int) else 1
            kind = self.state.type or 0
            told.append((entry.key, anywhere, holds, kind if holds else 0, port, self._transport_id(who)))
        return sorted(told)

    def _transport_id(self, who: Who) -> bytes:
        """§7.6.4.6."""
        text = str(who[0])
        if self.by_port and isinstance(who[1], bytes):
            text += ",i,0x" + who[1].hex()
        raw = text.encode() + b"\0"
        while len(raw) < 20 or len(raw) % 4:
            raw += b"\0"
        return bytes([0x45 if self.by_port else 0x05, 0, 0, len(raw)]) + raw
