"""Random lives of a unit with four nexuses, told to the model and to the machine that we run.

    python -m tests.models.sequences --sequences 10000        exit code 0: no difference
    python -m tests.models.sequences --seed 4711              one of them, step by step

Two initiators: one comes through two target ports, one through one port with two ISIDs; or one of them under
the name of the other, but as somebody else.  They register, reserve, preempt, move and clear, with keys that
fit mostly; they read, write and send what may be refused; writes get their data later; sessions end and
begin; the unit is reset; changes cannot be kept, or take their time; the daemon dies, or the power fails.

After every step: the answer, who may read and write, and that nobody was told anything else.  At the end:
what lies on the disk, and what a start of the daemon makes of the store.  A difference is made as short as it
can be before it is shown."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import click

from tests.models import bench as benches
from tests.models.bench import Bench, Heard, parse_full_status
from tests.models.reservations import (
    ACCESS,
    BUSY,
    CONFLICT,
    FINE,
    NOT_KEPT,
    REFUSED,
    SILENT,
    Call,
    Model,
    Nexus,
    Session,
)

BLOCKS, ZEROS_AT = 16, 9
STEPS = 30
A, B = "iqn.2025-01.test:a", "iqn.2025-01.test:b"
ONE, OTHER = bytes.fromhex("00023d000001"), bytes.fromhex("00023d000002")
# Four nexuses each: one name at two ports and one with two ISIDs; one name as two principals.
HOUSEHOLDS: tuple[tuple[Nexus, ...], ...] = (
    ((A, ONE, "ada", 1), (A, ONE, "ada", 2), (B, ONE, "ada", 1), (B, OTHER, "ada", 1)),
    ((A, ONE, "ada", 1), (A, OTHER, "ada", 2), (A, ONE, "eve", 1), (B, ONE, "ada", 1)),
)
CHANGES = (
    *("REGISTER",) * 5,
    *("REGISTER AND IGNORE EXISTING KEY",) * 3,
    *("RESERVE",) * 5,
    *("RELEASE",) * 2,
    *("PREEMPT",) * 3,
    *("PREEMPT AND ABORT",) * 4,
    *("REGISTER AND MOVE",) * 3,
    "CLEAR",
)
TYPES = (1, 3, 5, 6, 7, 8)


class Difference(Exception):
    """What the machine did is not what the model says."""


@attrs.frozen
class Op:
    """One step.  ``first``: hear all unit attentions before it, as decent initiators do."""

    what: str
    number: int = 0
    first: bool = True
    call: Call | None = None
    how: str = "now"  # "now", "fails", "held"
    name: str = ""
    value: int = 0


@attrs.frozen
class Life:
    """A sequence, and in which house it takes place."""

    by_port: bool
    ports: int
    household: tuple[Nexus, ...]
    ops: tuple[Op, ...]


# -- making them up ------------------------------------------------------------------------------------------


def life(seed: int) -> Life:
    pick = random.Random(seed)
    household = pick.choice(HOUSEHOLDS)
    ops = [Op("login", number) for number in range(4)]
    ops += [
        Op("out", n, call=Call(action="REGISTER", new_key=_key(pick, n))) for n in pick.sample(range(4), 3)
    ]
    for _ in range(pick.randint(3, STEPS)):
        op = _op(pick, household)
        ops.append(op)
        if op.how == "held":
            ops += [Op("logout", other := pick.randrange(4)), Op("login", other)]
        if op.call is not None and op.call.action == "RESERVE" and pick.random() < 0.5:
            ops.append(_by_holder(pick, op.number, op.call.type, household))
    return Life(pick.random() < 0.6, 2 if pick.random() < 0.8 else 1, household, tuple(ops))


def _by_holder(pick: random.Random, number: int, kind: int, household: tuple[Nexus, ...]) -> Op:
    """What only those may do who hold: asked by one that believes to."""
    action = pick.choice(("RELEASE", "REGISTER", "REGISTER AND MOVE", "REGISTER AND MOVE"))
    call = Call(action=action, key=number + 1, type=kind)  # REGISTER: key 0 is the new one
    if action == "REGISTER AND MOVE":
        heir = pick.choice([n for n in range(4) if n != number])
        name, isid, _, port = household[heir]
        call = attrs.evolve(call, new_key=heir + 1, to=(name, isid, port), unreg=pick.random() < 0.5)
    return Op("out", number, call=call)


def _key(pick: random.Random, number: int) -> int:
    """Usually each has one of its own; sometimes two have the same."""
    return number + 1 if pick.random() < 0.85 else pick.randint(1, 4)


def _op(pick: random.Random, household: tuple[Nexus, ...]) -> Op:
    number, first = pick.randrange(4), pick.random() < 0.8
    kind = pick.random()
    if kind < 0.42:
        how = pick.choices(("now", "fails", "held"), (86, 4, 10))[0]
        return Op("out", number, first, _call(pick, number, household), how)
    if kind < 0.60:
        name = pick.choice(("READ(10)", "WRITE(10)", *ACCESS, "RESERVE(6)", "RELEASE(6)"))
        if name == "WRITE(10)":
            return Op("write", number, first, value=pick.randrange(8))
        return Op("command", number, first, name=name)
    if kind < 0.68:
        return Op("write", number, first, value=pick.randrange(8))
    if kind < 0.76:
        return Op("data", number, value=pick.getrandbits(60) + 1)
    if kind < 0.88:
        return Op("in", number, first, value=pick.randrange(4))
    if kind < 0.91:
        return Op("let go")
    if kind < 0.94:
        return Op(pick.choice(("logout", "login")), number)
    if kind < 0.97:
        return Op(pick.choice(("reset", "clear tasks")), number)
    return Op("restart", value=pick.randrange(2))


def _call(pick: random.Random, number: int, household: tuple[Nexus, ...]) -> Call:
    action = pick.choice(CHANGES)
    rare = pick.random
    fields: dict[str, Any] = {
        "action": action,
        "key": number + 1 if rare() < 0.8 else pick.randint(0, 4),
        "type": pick.choice(TYPES) if rare() < 0.95 else pick.randrange(16),
        "scope": int(rare() < 0.04),
        "aptpl": rare() < 0.3,
        "length_is_wrong": rare() < 0.02,
    }
    if action.startswith("REGISTER"):
        fields |= {"new_key": _key(pick, number) if rare() < 0.75 else 0, "all_tg_pt": rare() < 0.2}
        if action == "REGISTER" and rare() < 0.3:
            fields["key"] = 0
        fields["spec_i_pt"] = rare() < 0.03
    elif action.startswith("PREEMPT"):
        fields["new_key"] = pick.randint(0, 4)
    if action == "REGISTER AND MOVE":
        name, isid, _, port = pick.choice(household)
        named = None if rare() < 0.1 else isid
        fields |= {"to": (name, named, port if rare() < 0.9 else pick.randrange(4)), "unreg": rare() < 0.5}
        fields |= {"all_tg_pt": False, "spec_i_pt": False}
    if rare() < 0.01:
        fields = {"action": "REPLACE LOST RESERVATION"}
    return Call(**fields)


# -- living them ---------------------------------------------------------------------------------------------


class Run:
    """One life, twice."""

    def __init__(self, it: Life, seen: Counter[str]) -> None:
        self.life, self.seen = it, seen
        self.model = Model(by_port=it.by_port, ports=it.ports, blocks=BLOCKS)
        self.bench = Bench(by_port=it.by_port, ports=it.ports, blocks=BLOCKS)
        self.asker = 0  # who waits for a change that is held

    def whole(self) -> None:
        """Raises Difference."""
        for op in self.life.ops:
            self.step(op)
        self._let_go()
        self._same(self.bench.content(), self.model.blocks, "what lies on the disk")
        self._restart(power_loss=False)
        self._login(0)
        self._read_in(0, self._session(0), benches.FULL_STATUS)
        self._read_in(0, self._session(0), benches.RESERVATION)

    def step(self, op: Op) -> None:
        if op.what == "login":
            if op.number not in self.model.sessions:
                self._login(op.number)
        elif op.what == "let go":
            self._let_go()
        elif op.what == "restart":
            self._restart(power_loss=bool(op.value))
        elif op.number in self.model.sessions:
            session = self._session(op.number)
            if op.first and op.what in ("out", "command", "write", "in"):
                self._hear_all(op.number, session)
            _DEEDS[op.what](self, op, session)
        self._look()

    def _session(self, number: int) -> Session:
        return self.model.sessions[number]

    def _same(self, machine: Any, model: Any, what: str) -> None:
        if machine != model:
            raise Difference(f"{what}: the machine has {machine}, the model {model}")

    def _answered(self, heard: Heard, may: Sequence[Any] | set[Any], what: str) -> None:
        if heard.answer not in may:
            raise Difference(f"{what}: answered {heard.answer}, may be {sorted(map(str, may))}")
        status, sense = heard.answer or (None, None)
        self.seen[f"{what}: {_word(status, sense)}"] += 1

    def _look(self) -> None:
        """Who may read and write without being asked; nobody else has heard anything."""
        for number, session in self.model.sessions.items():
            talk = self.bench.talks[number]
            lane = talk.nexus.paths[0].lane
            quiet = not session.attentions
            self._same(lane.may_read, quiet and self.model.may(session, "reads"), f"{number} may read")
            self._same(lane.may_write, quiet and self.model.may(session, "writes"), f"{number} may write")
            self._same(talk.heard, [], f"{number} was told")

    def _hear_all(self, number: int, session: Session) -> None:
        while session.attentions:
            self._command(Op("command", number, name="TEST UNIT READY"), session)

    def _attention(self, heard: Heard, session: Session, what: str) -> bool:
        """Whether a unit attention came before anything else."""
        if not session.attentions:
            return False
        self._answered(heard, self.model.attention(session), what)
        if heard.answer is not None:
            self.model.told(session, heard.answer)
        return True

    def _login(self, number: int) -> None:
        self.bench.login(number, self.life.household[number])
        self.model.login(number, self.life.household[number])

    def _logout(self, op: Op, session: Session) -> None:
        self.bench.logout(op.number)
        self.model.logout(op.number)

    def _restart(self, *, power_loss: bool) -> None:
        self.bench.restart(power_loss=power_loss)
        self.model.restart(power_loss=power_loss)
        self.seen["power loss" if power_loss else "restart"] += 1

    def _reset(self, op: Op, session: Session) -> None:
        self.bench.manage(op.number, benches.LOGICAL_UNIT_RESET)
        self.model.reset()

    def _clear_tasks(self, op: Op, session: Session) -> None:
        self.bench.manage(op.number, benches.CLEAR_TASK_SET)
        self.model.clear_tasks(op.number)

    def _command(self, op: Op, session: Session) -> None:
        heard = self.bench.command(op.number, op.name)
        if op.name == "REQUEST SENSE":
            self._same(heard.answer, FINE, op.name)
            sense = (heard.data[2] & 0x0F, heard.data[12], heard.data[13])
            if session.attentions:
                self._attention(Heard((2, sense)), session, op.name)
            return
        if op.name not in SILENT and self._attention(heard, session, op.name):
            return
        if op.name == "RESERVE(6)":
            self._answered(heard, [self.model.reserve(session)], op.name)
            return
        if op.name == "RELEASE(6)":
            self._answered(heard, [self.model.release(session)], op.name)
            return
        may = self.model.may(session, ACCESS[op.name])
        self._answered(heard, [FINE if may else REFUSED], op.name)

    def _write(self, op: Op, session: Session) -> None:
        tag, heard = self.bench.begin_write(op.number, op.value)
        if self._attention(heard, session, "WRITE(10)"):
            return
        if not self.model.may(session, "writes"):
            self._answered(heard, [REFUSED], "WRITE(10)")
            return
        self._same((heard.answer, heard.asked), (None, True), "WRITE(10) asks for its data")
        session.writing[tag] = op.value

    def _data(self, op: Op, session: Session) -> None:
        """The oldest write gets its data.  A unit attention does not end it, a lost registration does."""
        if not session.writing:
            return
        tag = next(iter(session.writing))
        block = session.writing.pop(tag)
        heard = self.bench.send_data(op.number, tag, op.value)
        may = self.model.may(session, "writes")
        self._answered(heard, [FINE if may else REFUSED], "data of a write")
        if may:
            self.model.blocks[block] = op.value

    def _in(self, op: Op, session: Session) -> None:
        self._read_in(op.number, session, op.value)

    def _read_in(self, number: int, session: Session, action: int) -> None:
        while True:
            heard = self.bench.read_in(number, action)
            if not self._attention(heard, session, "PERSISTENT RESERVE IN"):
                break
        if not self.model.may(session, "peeks"):
            self._answered(heard, [REFUSED], "PERSISTENT RESERVE IN")
            return
        self._answered(heard, [FINE], "PERSISTENT RESERVE IN")
        data, state = heard.data, self.model.state
        if action == benches.CAPABILITIES:
            self._same(data, bytes([0, 8, 0x05, 0x80 | state.aptpl, 0xEA, 0x01, 0, 0]), "capabilities")
            return
        self._same(int.from_bytes(data[:4]), state.generation, "PRGENERATION")
        self._same(int.from_bytes(data[4:8]), len(data) - 8, "ADDITIONAL LENGTH")
        body = data[8:]
        if action == benches.KEYS:
            keys = sorted(int.from_bytes(body[at : at + 8]) for at in range(0, len(body), 8))
            self._same(keys, self.model.keys(), "READ KEYS")
        elif action == benches.RESERVATION:
            there = (int.from_bytes(body[:8]), body[13]) if body else None
            self._same(there, self.model.reservation(), "READ RESERVATION")
        else:
            self._same(parse_full_status(body), self.model.full_status(), "READ FULL STATUS")

    def _out(self, op: Op, session: Session) -> None:
        call = op.call
        if call is None or session.asking:
            return
        self.bench.fails, self.bench.holds = op.how == "fails", op.how == "held"
        heard = self.bench.out(op.number, call)
        if self._attention(heard, session, call.action):
            return
        wrong, step = self.model.out(session, call)
        if step is None:
            self._answered(heard, wrong, call.action)
            return
        self.model.begin(session, step)
        if op.how == "held":
            self._same(heard.answer, None, f"{call.action} that is not durable yet")
            self.asker = op.number
            return
        self.model.end(kept=op.how == "now")
        self._answered(heard, [FINE if op.how == "now" else NOT_KEPT], call.action)

    def _let_go(self) -> None:
        if self.model.pending is None:
            return
        asking = self.model.pending[0].asking and self.model.pending[0] is self.model.sessions.get(self.asker)
        self.bench.let_go()
        self.model.end(kept=True)
        if asking:
            self._answered(self.bench.heard(self.asker), [FINE], "a change that took its time")


_DEEDS: dict[str, Callable[[Run, Op, Session], None]] = {
    "logout": Run._logout,
    "reset": Run._reset,
    "clear tasks": Run._clear_tasks,
    "command": Run._command,
    "write": Run._write,
    "data": Run._data,
    "in": Run._in,
    "out": Run._out,
}


def _word(status: int | None, sense: tuple[int, int, int] | None) -> str:
    if sense is not None:
        return f"{sense[0]:X}/{sense[1]:02X}/{sense[2]:02X}"
    return {0: "GOOD", CONFLICT: "conflict", BUSY: "busy"}.get(status or 0, str(status))


def difference(it: Life, seen: Counter[str] | None = None) -> str | None:
    """What is different in this life; None: nothing."""
    try:
        Run(it, Counter() if seen is None else seen).whole()
    except Difference as found:
        return str(found)
    except Exception as crash:
        return f"{type(crash).__name__}: {crash}"
    return None


def shortest(it: Life) -> Life:
    """Without every step that the difference does not need."""
    at = len(it.ops)
    while at:
        at -= 1
        fewer = attrs.evolve(it, ops=it.ops[:at] + it.ops[at + 1 :])
        if difference(fewer) is not None:
            it = fewer
            at = min(at, len(it.ops))
    return it


def shown(it: Life) -> str:
    where = f"by_port={it.by_port}, {it.ports} target ports"
    return "\n".join([where, *(f"  {n} {each}" for n, each in enumerate(it.household)), *map(_line, it.ops)])


def _line(op: Op) -> str:
    fields = attrs.asdict(op, recurse=False, filter=lambda field, value: value != field.default)
    call = fields.pop("call", None)
    words = ", ".join(f"{key}={value!r}" for key, value in fields.items() if key not in ("what", "number"))
    if call is not None:
        asked = attrs.asdict(call, filter=lambda field, value: value != field.default)
        words += " " + ", ".join(f"{key}={value!r}" for key, value in asked.items())
    return f"  {op.number}: {op.what} {words}"


@click.command(context_settings={"show_default": True})
@click.option("--sequences", default=10_000, help="How many lives.")
@click.option("--first", default=0, help="The seed of the first one.")
@click.option("--seed", type=int, help="Only this one, shown step by step.")
def main(sequences: int, first: int, seed: int | None) -> None:
    """Hold the machine of persistent reservations against the model."""
    if seed is not None:
        print(shown(life(seed)))
        first, sequences = seed, 1
    seen: Counter[str] = Counter()
    started, steps, failed = time.monotonic(), 0, 0
    for number in range(first, first + sequences):
        it = life(number)
        steps += len(it.ops)
        found = difference(it, seen)
        if found is not None:
            failed += 1
            less = shortest(it)
            print(
                f"DIFFERENT: sequence {number}: {found}\n{shown(less)}\n  => {difference(less)}", flush=True
            )
            if failed == 5:
                print("and so on", flush=True)
                break
        done = number - first + 1
        if done % 1000 == 0:
            print(f"{done:6} sequences, {steps:7} steps, {time.monotonic() - started:4.0f} s", flush=True)
    for what, times in sorted(seen.items()):
        print(f"{times:8} {what}")
    print(f"{sequences} sequences, {steps} steps, {failed} different; {time.monotonic() - started:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
