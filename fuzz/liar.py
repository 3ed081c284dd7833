"""The liar: an initiator, honest by default, whose next step is drawn from a seeded generator.

Looks at the world only as an initiator can (which R2Ts are out), so that its sessions get somewhere; the
mangler then breaks some of its steps.  The steps are what is kept, so a find needs no generator to be
replayed."""

import random
import struct
from typing import Any

from fuzz import cdbs, mangle, scenes, texts
from fuzz.entry import LOCKED
from fuzz.ground import UNITS
from fuzz.hearing import Task
from fuzz.speech import Stage
from fuzz.steps import Step, say
from scsipub.iscsi import pdu

_COMMAND = struct.Struct(">BB2xIQIII4x16s")
MOVING = (0x2E, 0x2F, 0x41, 0x93, 0x89, 0x8B, 0x9C, 0x8E, 0x8F, 0x34, 0x35, 0x91)


def setup(dice: random.Random) -> dict[str, Any]:
    """How a world begins."""
    return {
        "shared": dice.random() < 0.5,
        "budget": dice.choice((1 << 30, 1 << 30, 1 << 30, 64 << 10)),
    }


class Liar:
    """One stream of steps.  ``rate``: how many of them are mangled.

    ``units``: (LUN, block size, blocks); the first one gets most commands, and some LUNs are not there."""

    units = tuple((lun, size, sectors * 512 // size) for lun, (size, sectors, _, _) in enumerate(UNITS))

    def __init__(self, dice: random.Random, world: Stage, rate: float = 0.12) -> None:
        self.dice = dice
        self.world = world
        self.rate = rate
        self.tag = 0
        self.holding = False

    def steps(self) -> list[Step]:
        """What comes next: usually one step, a whole login when there is no connection."""
        dice = self.dice
        who = 0 if dice.random() < 0.85 else 1
        connection = self.world.connections[who]
        if connection is None:
            return self._login(who)
        if connection.referee is None:
            return (
                self._login(who)
                if dice.random() < 0.5
                else [self._broken(self._login_request(who, [], 1, 3))]
            )
        roll = dice.random()
        tasks = connection.referee.tasks
        if tasks:
            waiting = [t for t in tasks.values() if t.ttt is not None or t.unsolicited]
            if waiting and roll < (0.7 if len(tasks) < 20 else 0.95):
                return [self._broken(self._data(who, dice.choice(waiting)))]
        if roll < 0.03 or (self.holding and roll < 0.3):
            return [self._around(who)]
        if connection.referee.facts.discovery:
            if dice.random() < 0.03:
                return [Step("drop", who)]
            return [self._broken(self._other(who))]
        for rarer, scene in scenes.SCENES:
            if roll > rarer:
                return scene(self, who)
        step = self._other(who) if dice.random() < 0.18 else self.command(who)
        return [self._broken(step)]

    def _broken(self, step: Step) -> Step:
        dice = self.dice
        if dice.random() < self.rate:
            step.mangles = (mangle.pick(dice, step),)
            if dice.random() < 0.1:
                step.mangles += (mangle.pick(dice, step),)
        elif dice.random() < 0.5:
            step.more = True
        return step

    def _around(self, who: int) -> Step:
        """The machine around the target."""
        roll = self.dice.random()
        if roll < 0.6:
            return Step("work", n=self.dice.randrange(8))
        if roll < 0.8:
            self.holding = not self.holding
            return Step("hold", n=int(self.holding))
        if roll < 0.9:
            return Step("stall", who, self.dice.randrange(2))
        return Step("background") if roll < 0.98 else Step("drop", who)

    # -- login -------------------------------------------------------------------------------------------

    def _login(self, who: int) -> list[Step]:
        dice = self.dice
        begin = [Step("connect", who)]
        roll = dice.random()
        if roll < 0.90:
            pairs = texts.names(dice, honest=True) + texts.terms(dice)
            return [*begin, self._login_request(who, pairs, 1, 3)]
        if roll < 0.93:
            pairs = [("InitiatorName", texts.NAME), ("SessionType", "Discovery")]
            return [*begin, self._login_request(who, pairs, 1, 3)]
        if roll < 0.96:
            method = dice.choice(("CHAP,None", "CHAP,None", "CHAP", "None", "None,CHAP", "KRB5,None"))
            first = [("InitiatorName", texts.NAME), ("TargetName", LOCKED), ("AuthMethod", method)]
            if dice.random() < 0.4:  # by the shortest way, as if nobody had asked for anything
                stage = dice.choice((0, 1))
                terms = [] if stage == 0 else texts.terms(dice)
                first = first if dice.random() < 0.7 else first[:2]
                steps = [
                    self._login_request(
                        who, first + terms, stage, dice.choice((1, 3) if stage == 0 else (3,))
                    ),
                    self._login_request(who, texts.terms(dice), 1, 3),
                ]
                return begin + steps
            steps = [
                self._login_request(who, first, 0, None),
                self._login_request(who, [("CHAP_A", dice.choice(("5", "7,5", "8,7,6,5")))], 0, None),
                self._login_request(who, texts.proof(dice), 0, dice.choice((1, 1, 3, None))),
                self._login_request(who, texts.terms(dice), 1, 3),
            ]
        else:
            stage = dice.choice((0, 1))
            first = texts.names(dice, honest=False) + texts.any_pairs(dice)
            steps = [self._login_request(who, first, stage, dice.choice((None, 1, 3)))]
            for _ in range(dice.randrange(5)):
                to = dice.choice((None, 1, 3, 3))
                steps.append(self._login_request(who, texts.any_pairs(dice), dice.choice((0, 1, 1)), to))
        return begin + [self._broken(step) for step in steps]

    def _login_request(self, who: int, pairs: list[tuple[str, str]], stage: int, to: int | None) -> Step:
        dice = self.dice
        request = pdu.LoginRequest(
            immediate=True, transit=to is not None, next_stage=to or 0, current_stage=stage,
            isid=bytes((0x80, 0, 0, 0, 0, who)), initiator_task_tag=7,
            cmd_sn=dice.choice((1, 0, 0x7FFFFFF0, 0xFFFFFFF0)) if dice.random() < 0.2 else 1,
            data=texts.text(pairs),
        )  # fmt: skip
        return say(request, who=who)

    # -- SCSI --------------------------------------------------------------------------------------------

    def next_tag(self) -> int:
        self.tag = (self.tag + 1) & 0x7FFFFFFF
        return self.tag

    def command(self, who: int) -> Step:
        dice = self.dice
        roll = dice.random()
        lun, block_size, blocks = self.units[0]
        if roll >= 0.75:
            lun, block_size, blocks = self._other_unit()
        roll = dice.random()
        if roll < 0.35:
            order = cdbs.block_order(dice, dice.choice(scenes.READS), blocks, block_size)
        elif roll < 0.70:
            order = cdbs.block_order(dice, dice.choice(scenes.WRITES), blocks, block_size)
        elif roll < 0.82:
            order = cdbs.block_order(dice, dice.choice(MOVING), blocks, block_size)
        else:
            order = cdbs.any_order(dice, blocks, block_size)
        return self.order(who, lun, order)

    def _other_unit(self) -> tuple[int, int, int]:
        lun = self.dice.choice((1, 1, 2, 3))
        return (lun, *self.units[lun % 3][1:])

    def talks(self, who: int) -> bool:
        connection = self.world.connections[who]
        return (
            connection is not None
            and connection.referee is not None
            and not connection.referee.facts.discovery
        )

    def order(self, who: int, lun: int, order: cdbs.Order) -> Step:
        dice = self.dice
        expected = order.expected
        if dice.random() < 0.04:
            expected = max(0, expected + dice.choice((512, -512, 1, -1, 0x10000, -expected)))
        flags = (0x40 if order.reads else 0) | (0x20 if order.writes else 0)
        flags |= 1 if dice.random() < 0.95 else dice.choice((0, 2, 3, 4))
        immediate = 0x40 if dice.random() < 0.02 else 0
        data, seed, length = b"", 0, 0
        final = 0x80
        if order.writes:
            facts = self.facts(who)
            room = min(facts.first_burst, facts.max_send, expected) if facts.immediate_data else 0
            length = room if dice.random() < 0.9 else dice.randrange(room + 1)
            if order.data:
                data, length = order.data[:length], 0
            elif length:
                seed = dice.randrange(1, 1 << 30)
            sent = len(data) or length
            if not facts.initial_r2t and sent < min(facts.first_burst, expected) and dice.random() < 0.7:
                final = 0
        number = 0 if dice.random() < 0.98 else dice.choice((1, 1, 2, 3, 31, 32, -1))
        field = lun << 48 | (0x4000 << 48 if dice.random() < 0.05 else 0)
        header = _COMMAND.pack(
            1 | immediate, flags | final, 0, field, self.next_tag(), expected, 0, order.cdb[:16]
        )
        return Step(bhs=header, who=who, data=data, seed=seed, length=length, number=number)

    def facts(self, who: int) -> Any:
        connection = self.world.connections[who]
        if connection is None or connection.referee is None:
            raise RuntimeError("not logged in")
        return connection.referee.facts

    def _data(self, who: int, task: Task) -> Step:
        dice = self.dice
        share = dice.choice((512, 1024, 8192, 65536, 262144, 262144, 262144))
        header = struct.pack(">BB6xQI28x", 5, 0, task.lun, task.tag)
        return Step(bhs=header, who=who, seed=dice.randrange(1, 1 << 30), length=share, answers=True)

    # -- the rest ----------------------------------------------------------------------------------------

    def _other(self, who: int) -> Step:
        dice = self.dice
        roll = dice.random()
        now = dice.random() < 0.5
        tag = self.next_tag()
        if roll < 0.35:
            data = dice.randbytes(dice.choice((0, 0, 4, 17, 600)))
            return say(pdu.NopOut(immediate=now, initiator_task_tag=tag, data=data), who=who)
        if roll < 0.65:
            return self._manage(who, now, tag)
        if roll < 0.82:
            pairs = [("SendTargets", dice.choice(("All", "", "iqn.2025-01.pub.scsipub:blank")))]
            if dice.random() < 0.3:
                pairs = [p for p in texts.any_pairs(dice, 3) if p[0] != "MaxRecvDataSegmentLength"]
            final = dice.random() < 0.9
            return say(
                pdu.TextRequest(
                    immediate=now, initiator_task_tag=tag, final=final, continued=dice.random() < 0.1,
                    data=texts.text(pairs),
                ), who=who,
            )  # fmt: skip
        if roll < 0.90:
            return say(pdu.SnackRequest(type=dice.randrange(4), initiator_task_tag=tag), who=who)
        if roll < 0.93:
            return say(
                pdu.LogoutRequest(immediate=now, reason=dice.randrange(4), initiator_task_tag=tag), who=who
            )
        if roll < 0.96:
            return self._extended(who)
        header = bytearray(dice.randbytes(48))
        header[4] = 0
        return Step(bhs=bytes(header), who=who, data=dice.randbytes(dice.choice((0, 0, 8))))

    def _extended(self, who: int) -> Step:
        """A command with an Additional Header Segment, whose lengths may lie."""
        step = self.command(who)
        ahs = pdu.extended_cdb(bytes(16) + self.dice.randbytes(self.dice.randrange(1, 17)))[1]
        if self.dice.random() < 0.5:
            lying = bytearray(ahs)
            lying[self.dice.randrange(3)] = self.dice.choice((0, 1, 2, 5, 0x40, 0xFF))
            ahs = bytes(lying)
        step.ahs = ahs
        return step

    def _manage(self, who: int, now: bool, tag: int) -> Step:
        dice = self.dice
        connection = self.world.connections[who]
        referee = connection.referee if connection else None
        tasks = list(referee.tasks if referee is not None else ()) or [0xFFFFFFFF]
        due = referee.exp_cmd_sn if referee is not None else 0
        function = dice.choice((1, 1, 1, 2, 2, 4, 5, 3, 8, 6)) if dice.random() < 0.97 else 7
        return say(
            pdu.TaskManagementRequest(
                immediate=now, function=function, initiator_task_tag=tag,
                lun=dice.choice((0, 0, 0, 1, 2, 5)) << 48,
                referenced_task_tag=dice.choice(tasks if dice.random() < 0.8 else [dice.randrange(1 << 31)]),
                ref_cmd_sn=(due + dice.choice((-1, 0, 1, 2))) & 0xFFFFFFFF,
            ), who=who,
        )  # fmt: skip
