"""The stateful machine: Hypothesis draws what two initiators say, and shrinks what was found.

Slower than ``runner`` by two orders of magnitude, but it combines every field value with every state, and its
shrinking knows the structure of each value.  The same world, mangler and referee serve both."""

from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fuzz import cdbs, liar, mangle, strategies, texts
from fuzz.runner import ground
from fuzz.steps import Step, say
from fuzz.world import World
from scsipub.iscsi import pdu
from scsipub.scsi.command import Command

WHO = st.sampled_from((0, 0, 0, 1))
# Hypothesis decides every roll of these dice, so what they lead to can be shrunk.
DICE = st.randoms(use_true_random=False)


class Initiator(RuleBasedStateMachine):
    """An initiator, its neighbour, and the machine around the target."""

    def __init__(self) -> None:
        super().__init__()
        self.context = ground()
        self.ground = self.context.__enter__()
        self.world: World | None = None
        self.tag = 0

    @initialize(shared=st.booleans(), budget=st.sampled_from((1 << 30, 64 << 10)))
    def begin(self, shared: bool, budget: int) -> None:
        self.world = World(self.ground, {"shared": shared, "budget": budget}, Counter())

    def take(self, step: Step, dice: Any = None) -> None:
        if self.world is None:
            raise RuntimeError("not begun")
        if dice is not None and dice.random() < 0.2:
            step.mangles = (mangle.pick(dice, step),)
        self.world.take(step)

    def logged_in(self) -> bool:
        return self.world is not None and any(c is not None and c.referee for c in self.world.connections)

    # -- login -------------------------------------------------------------------------------------------

    @rule(who=WHO, dice=DICE, cmd_sn=st.sampled_from((0, 1, 0xFFFFFFF0)))
    def log_in(self, who: int, dice: Any, cmd_sn: int) -> None:
        self.take(Step("connect", who))
        keys = texts.names(dice, honest=True) + texts.terms(dice)
        self.take(self._login(who, keys, 1, 3, cmd_sn))

    @rule(who=WHO, keys=strategies.pairs(), stage=st.sampled_from((0, 1)), to=st.sampled_from((None, 1, 3)))
    def try_to_log_in(self, who: int, keys: list[tuple[str, str]], stage: int, to: int | None) -> None:
        names = texts.text([("InitiatorName", texts.NAME), ("SessionType", "Discovery")])
        self.take(Step("connect", who))
        request = self._login(who, keys, stage, to, 1)
        request.data = names + request.data
        self.take(request)

    def _login(self, who: int, keys: list[tuple[str, str]], stage: int, to: int | None, cmd_sn: int) -> Step:
        request = pdu.LoginRequest(
            immediate=True, transit=to is not None, next_stage=to or 0, current_stage=stage,
            isid=bytes((0x80, 0, 0, 0, 0, who)), cmd_sn=cmd_sn, data=texts.text(keys),
        )  # fmt: skip
        return say(request, who=who)

    # -- full feature phase ------------------------------------------------------------------------------

    @precondition(logged_in)
    @rule(dice=DICE)
    def go_on(self, dice: Any) -> None:
        """What the runner's liar would say."""
        if self.world is not None:
            talker = liar.Liar(dice, self.world)
            self.tag += 1000
            talker.tag = self.tag
            for step in talker.steps():
                self.take(step)

    @precondition(logged_in)
    @rule(who=WHO, dice=DICE, it=strategies.initiator_pdus(), number=st.sampled_from((None, 0, 0, 0, 1, 40)))
    def say_anything(self, who: int, dice: Any, it: Any, number: int | None) -> None:
        self.take(say(it, who=who, number=number if hasattr(it, "cmd_sn") else None), dice)

    @precondition(logged_in)
    @rule(
        who=WHO,
        dice=DICE,
        cdb=strategies.cdbs(),
        flags=st.integers(0, 3),
        size=st.sampled_from((0, 4, 512, 8192)),
    )
    def command(self, who: int, dice: Any, cdb: bytes, flags: int, size: int) -> None:
        self.tag += 1
        request = pdu.ScsiCommand(
            initiator_task_tag=self.tag, cdb=cdb, attribute=1, read=bool(flags & 1), write=bool(flags & 2),
            expected_data_transfer_length=size,
        )  # fmt: skip
        self.take(say(request, who=who), dice)

    @precondition(logged_in)
    @rule(who=WHO, dice=DICE)
    def write_data(self, who: int, dice: Any) -> None:
        connection = self.world.connections[who] if self.world is not None else None
        if connection is not None and connection.referee is not None and self.world is not None:
            talker = liar.Liar(dice, self.world)
            waiting = [t for t in connection.referee.tasks.values() if t.ttt is not None or t.unsolicited]
            if waiting:
                self.take(talker._data(who, dice.choice(waiting)), dice)

    @precondition(logged_in)
    @rule(who=WHO, dice=DICE, opcode=st.sampled_from(sorted(cdbs.BLOCK_COMMANDS)))
    def move_blocks(self, who: int, dice: Any, opcode: int) -> None:
        connection = self.world.connections[who] if self.world is not None else None
        if connection is None or connection.referee is None or connection.referee.facts.discovery:
            return
        if self.world is not None:
            talker = liar.Liar(dice, self.world)
            self.tag += 1
            talker.tag = self.tag
            self.take(talker.order(who, 0, cdbs.block_order(dice, opcode, 1024, 512)), dice)

    @precondition(logged_in)
    @rule(
        who=st.integers(0, 1),
        row=st.sampled_from(cdbs.PERSISTENT),
        keys=st.tuples(*[st.sampled_from((0, 1, 2))] * 2),
        kind=st.sampled_from((1, 3, 5, 6, 7, 8, 0x11)),
    )
    def reserve(self, who: int, row: Command, keys: tuple[int, int], kind: int) -> None:
        """Both sessions, on one unit or each on its own: who may do what is the guard's to say."""
        connection = self.world.connections[who] if self.world is not None else None
        if connection is None or connection.referee is None or connection.referee.facts.discovery:
            return
        self.tag += 1
        data = keys[0].to_bytes(8) + keys[1].to_bytes(8) + bytes(8)
        facts = connection.referee.facts
        sent = data if facts.immediate_data and facts.first_burst >= 24 else b""
        request = pdu.ScsiCommand(
            initiator_task_tag=self.tag, attribute=1, write=True, final=True, data=sent,
            cdb=bytes((0x5F, row.action or 0, kind)) + bytes(2) + (24).to_bytes(4) + bytes(7),
            expected_data_transfer_length=24,
        )  # fmt: skip
        self.take(say(request, who=who))

    @rule(n=st.integers(0, 7))
    def a_thread_comes_back(self, n: int) -> None:
        self.take(Step("work", n=n))

    @rule(on=st.integers(0, 1), who=WHO, kind=st.sampled_from(("hold", "stall", "background")))
    def something_around(self, on: int, who: int, kind: str) -> None:
        self.take(Step(kind, who, on))

    def teardown(self) -> None:
        try:
            if self.world is not None:
                self.world.finish()
        finally:
            if self.world is not None:
                self.world.close()
            self.context.__exit__(None, None, None)
