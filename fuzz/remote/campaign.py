"""A campaign against a target far away: case after case until time is up, and shrinking.

Every case has a seed of its own, ``seed/number``.  Of each kind of find one is kept, the rest counted."""

import random
import time
from collections import Counter
from collections.abc import Callable

import attrs

from fuzz import shrinking
from fuzz.find import Find
from fuzz.remote.evidence import Evidence, Sent
from fuzz.remote.liar import FarLiar
from fuzz.remote.link import Link
from fuzz.remote.plain import Gone, Refused, Silent
from fuzz.remote.stand import Stand
from fuzz.remote.talk import Talk
from fuzz.steps import Script, Step

LENGTHS = (4, 12, 40, 120, 250, 400)
REMEMBERED = 8  # scripts: what a target has not digested yet may be older than the last one
SEVERE = ("crash", "gone", "hang: the target", "hang: another", "another session")


@attrs.define
class FarFound:
    """A find, what leads to it, and what it looked like."""

    find: Find
    script: Script
    again: bool = False  # it happened again when it was played again
    evidence: Evidence = attrs.field(factory=Evidence)
    recent: list[Script] = attrs.field(factory=list)  # the cases up to it
    sent: list[Sent] = attrs.field(factory=list)
    links: list[Link] = attrs.field(factory=list)
    when: float = 0.0
    by_hand: bool | None = None  # the reproducer shows it too


@attrs.define
class FarTally:
    """What has been done so far."""

    cases: int = 0
    pdus: int = 0
    answers: int = 0
    seconds: float = 0.0
    seen: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    muted: Counter[str] = attrs.field(factory=Counter)  # kinds known already -> times seen
    memory: list[tuple[float, int]] = attrs.field(factory=list)
    starts: int = 0

    @property
    def rate(self) -> float:
        return self.pdus / self.seconds if self.seconds else 0.0


class Campaign:
    """``run`` it.  ``shrinking``: seconds for each find, at most."""

    def __init__(self, stand: Stand, seed: int, *, shrinking: float = 15.0) -> None:
        self.stand = stand
        self.seed = seed
        self.shrinking = shrinking
        self.tally = FarTally()
        self.finds: list[FarFound] = []
        self.recent: list[Script] = []

    def run(
        self, seconds: float, on_progress: Callable[[FarTally], None], *, pdus: int = 0, most: int = 200
    ) -> None:
        """For so long, or until so many PDUs are said."""
        tally, began = self.tally, time.monotonic()
        told = 0.0
        self.stand.begin()
        while len(self.finds) < most and (not pdus or tally.pdus < pdus):
            tally.seconds = time.monotonic() - began
            if tally.seconds >= seconds:
                break
            self._case()
            if tally.seconds - told > 0.5:
                told = tally.seconds
                if self.stand.private is not None:
                    tally.memory.append((tally.seconds, self.stand.private.resident()))
                on_progress(tally)
        tally.seconds = time.monotonic() - began
        try:
            self.stand.look(carefully=True)
        except Find as find:
            self._keep(FarFound(find, Script({}, [])))
        except (Gone, Silent, Refused) as error:
            self._keep(FarFound(Find("gone", f"after the last case: {error}"), Script({}, [])))

    def _case(self) -> None:
        number = self.tally.cases
        script = Script({"remote": True, "number": number}, [])
        found = self._play(script, self._invented(script, number))
        self.tally.cases += 1
        self.recent = [*self.recent[1 - REMEMBERED :], script]
        if found is None:
            return
        if found.find.kind in self.tally.muted:
            self.tally.muted[found.find.kind] += 1
        else:
            found.recent = list(self.recent)
            self._keep(found)
        self.stand.begin(anew=found.find.kind.startswith(SEVERE))

    def _invented(self, script: Script, number: int) -> Callable[[Talk], None]:
        dice = random.Random(f"{self.seed}/{number}")
        stand = self.stand
        zone, _ = stand._zone

        def go(talk: Talk) -> None:
            liar = FarLiar(dice, talk, stand.address, stand.block_size, min(zone, stand.blocks), number)
            length = dice.choice(LENGTHS) * (1 if stand.login_seconds < 0.3 else 4)
            while len(script.steps) < length:
                for step in liar.steps():
                    script.steps.append(step)
                    talk.take(step)

        return go

    def _play(self, script: Script, go: Callable[[Talk], None]) -> FarFound | None:
        """One case, and what it has done to others."""
        stand, tally = self.stand, self.tally
        talk = Talk(stand.address, stand.disks, tally.seen, tally.muted, patience=stand.patience)
        find: Find | None = None
        try:
            go(talk)
            talk.finish()
        except Find as caught:
            find = caught
        finally:
            talk.close()
            tally.pdus += talk.pdus
            tally.answers += talk.answers
        evidence = talk.evidence if find is not None else Evidence()
        try:
            stand.look(carefully=find is not None and find.kind.startswith(("gone", "login")))
        except Find as worse:
            if find is None or worse.kind.startswith(SEVERE):
                find, evidence = worse, Evidence()
        except (Gone, Silent, Refused) as error:
            find, evidence = Find("hang: the target", f"the witness: {error}"), Evidence()
        if find is None:
            return None
        return FarFound(find, script, evidence=evidence, sent=talk.sent, links=talk.links, when=tally.seconds)

    # -- shrinking ---------------------------------------------------------------------------------------

    def replay(self, script: Script, *, kind: str = "") -> FarFound | None:
        """These steps on a target as fresh as it gets.  ``kind``: look for this one."""
        stand = self.stand
        muted, seen = self.tally.muted, self.tally.seen
        pdus, answers = self.tally.pdus, self.tally.answers
        stand.begin(anew=stand.private is not None and stand.private.name != "scsipub")
        # All that is known is looked over again, except for the kind that is wanted.
        self.tally.muted = Counter({k: n for k, n in muted.items() if k != kind})
        self.tally.seen = Counter()

        def go(talk: Talk) -> None:
            for step in script.steps:
                talk.take(step)

        try:
            return self._play(script, go)
        finally:
            self.tally.muted, self.tally.seen = muted, seen
            self.tally.pdus, self.tally.answers = pdus, answers

    def smaller(self, found: FarFound) -> FarFound:
        """The shortest script that does it again; the found one when none does."""
        kind, until = found.find.kind, time.monotonic() + self.shrinking
        best = found
        found.recent = found.recent or [found.script]

        def again(steps: list[Step]) -> bool:
            nonlocal best
            result = self.replay(Script(found.script.setup, steps), kind=kind)
            if result is None or result.find.kind != kind:
                return False
            best = attrs.evolve(result, again=True, when=found.when)
            return True

        for many in (1, 2, 4, REMEMBERED):
            steps = [step for script in found.recent[-many:] for step in script.steps]
            if again(steps):
                shrinking.shrink(steps, again, seconds=until - time.monotonic())
                break
            if time.monotonic() > until or many >= len(found.recent):
                break
        return best

    def shrink(self, on_progress: Callable[[str], None]) -> None:
        """Each find to the shortest script that there is time for.  After a run, not during it: its minutes
        are for talking."""
        patience, self.stand.patience = self.stand.patience, min(self.stand.patience, 1.5)
        for number, found in enumerate(self.finds):
            if found.script.steps:
                on_progress(f"shrinking {number + 1} of {len(self.finds)}: {found.find.kind}")
                self.finds[number] = self.smaller(found)
        self.stand.patience = patience

    def _keep(self, found: FarFound) -> None:
        self.tally.muted.setdefault(found.find.kind, 0)
        self.finds.append(found)
