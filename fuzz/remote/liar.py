"""The liar of ``fuzz.liar`` among strangers: it knows a URL instead of our catalogue, and spares what would
end a run: no FORMAT UNIT, no SANITIZE, no ejecting, no cold reset."""

import random

from fuzz import cdbs, liar, texts
from fuzz.cdbs import Order
from fuzz.entry import PROOF
from fuzz.remote.address import Address
from fuzz.remote.verdicts import UNKNOWN
from fuzz.speech import Stage
from fuzz.steps import Step, say
from scsipub.iscsi import pdu

NAME = "iqn.1993-08.org.debian:01:liar"
# As broken as a script is: honest ones get deep, the others see how the target takes it.
RATES = (0.0, 0.0, 0.02, 0.02, 0.1, 0.3)
WILD_LOGINS = 0.12


class FarLiar(liar.Liar):
    """``block_size`` and ``blocks`` of the one unit; ``number`` makes every case somebody else."""

    def __init__(
        self, dice: random.Random, stage: Stage, address: Address, block_size: int, blocks: int, number: int
    ) -> None:
        super().__init__(dice, stage, dice.choice(RATES))
        self.address = address
        self.units = ((address.lun, block_size, blocks),)
        self.number = number
        self.wild = dice.random() < WILD_LOGINS

    def _broken(self, step: Step) -> Step:
        step = super()._broken(step)
        # What nobody sees far away: it only delays.
        step.mangles = tuple(m for m in step.mangles if m[0] != "late")
        return step

    def _around(self, who: int) -> Step:
        return Step("drop", who) if self.dice.random() < 0.1 else Step("hear", who)

    def _other_unit(self) -> tuple[int, int, int]:
        lun, size, blocks = self.units[0]
        return lun + self.dice.choice((2, 3, 7)), size, blocks

    # -- login -------------------------------------------------------------------------------------------

    def _login(self, who: int) -> list[Step]:
        dice = self.dice
        begin = [Step("connect", who)]
        kind = "Discovery" if dice.random() < 0.03 else "Normal"
        names = [("InitiatorName", f"{NAME}{who}"), ("SessionType", kind)]
        if kind == "Normal":
            names.append(("TargetName", self.address.target))
        if self.wild and dice.random() < 0.5:
            stage = dice.choice((0, 1, 1))
            steps = [
                self._login_request(who, names + texts.any_pairs(dice), stage, dice.choice((None, 1, 3)))
            ]
            for _ in range(dice.randrange(5)):
                to = dice.choice((None, 1, 3, 3))
                steps.append(self._login_request(who, texts.any_pairs(dice), dice.choice((0, 1, 1)), to))
            for step in steps:
                step.n = 1  # no honest initiator says this
            return begin + [self._broken(step) for step in steps]
        terms = [pair for pair in texts.terms(dice) if pair[0] != "ErrorRecoveryLevel"]
        terms += [("ErrorRecoveryLevel", "0"), ("MaxConnections", "1"), ("DataPDUInOrder", "Yes"),
                  ("DataSequenceInOrder", "Yes"), ("DefaultTime2Retain", "0")]  # fmt: skip
        if not self.address.user:
            return [*begin, self._login_request(who, names + terms, 1, 3)]
        proof = [("CHAP_N", self.address.user), ("CHAP_R", PROOF.decode())]
        return [
            *begin,
            self._login_request(who, [*names, ("AuthMethod", "CHAP")], 0, None),
            self._login_request(who, [("CHAP_A", "7,5")], 0, None),
            self._login_request(who, proof, 0, 1),
            self._login_request(who, terms, 1, 3),
        ]

    def _login_request(self, who: int, pairs: list[tuple[str, str]], stage: int, to: int | None) -> Step:
        step = super()._login_request(who, pairs, stage, to)
        isid = bytes((0x80,)) + (self.number & 0xFFFFFF).to_bytes(3) + bytes((0, who))
        step.bhs = step.bhs[:8] + isid + step.bhs[14:]
        return step

    def _other(self, who: int) -> Step:
        if self.rate:
            return super()._other(who)
        dice, tag = self.dice, self.next_tag()
        now, roll = dice.random() < 0.5, dice.random()
        if roll < 0.5:
            data = dice.randbytes(dice.choice((0, 0, 4, 17, 600)))
            return say(pdu.NopOut(immediate=now, initiator_task_tag=tag, data=data), who=who)
        if roll < 0.9:
            return self._manage(who, now, tag)
        if roll < 0.98:
            text = texts.text([("SendTargets", "All" if self.facts(who).discovery else "")])
            return say(pdu.TextRequest(immediate=now, initiator_task_tag=tag, final=True, data=text), who=who)
        return say(pdu.LogoutRequest(immediate=now, initiator_task_tag=tag), who=who)

    # -- SCSI --------------------------------------------------------------------------------------------

    def order(self, who: int, lun: int, order: Order) -> Step:
        dice = self.dice
        if order.cdb[0] in cdbs.RARE or order.cdb[0] in (0x15, 0x55) or dice.random() < 0.02:
            roll = dice.random()
            if roll < 0.3:
                order = Order(bytes((dice.choice(sorted(UNKNOWN)),)) + dice.randbytes(15), 36, reads=True)
            elif roll < 0.6:
                page, allocation = (
                    dice.choice((0, 0x80, 0x83, 0xB0, 0xB1, 0xB2)),
                    dice.choice((4, 36, 255, 4096)),
                )
                cdb = bytes((0x12, dice.randrange(2), page)) + allocation.to_bytes(2) + b"\0"
                order = Order(cdb, allocation, reads=True)
            else:
                order = Order(bytes((0x1A, 0, 0x3F, 0, 255, 0)), 255, reads=True)
        elif (
            order.cdb[0] in (0x41, 0x93)
            and order.cdb[7 if order.cdb[0] == 0x41 else 10 :][:4].strip(b"\0") == b""
        ):
            order = Order(bytes(6))  # WRITE SAME to the end: a unit may be terabytes
        step = super().order(who, lun, order)
        if not self.rate:
            step.number = 0
        return step

    def _manage(self, who: int, now: bool, tag: int) -> Step:
        step = super()._manage(who, now, tag)
        function = step.bhs[1] & 0x7F
        if function == 7 or (function == 6 and self.dice.random() < 0.9):
            step.bhs = step.bhs[:1] + b"\x85" + step.bhs[2:]
        return step


def honest(step: Step) -> bool:
    """Is this step what an honest initiator might say?  The judge finds out the rest from its bytes."""
    if any(what not in ("split",) for what, *_ in step.mangles):
        return False
    opcode = step.bhs[0] & 0x3F if step.bhs else 0xFF
    known = pdu.INITIATOR_PDUS.get(opcode)
    return known is not None and len(step.bhs) == 48 and not step.bhs[0] & 0x80
