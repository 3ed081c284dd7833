"""A lane: case after case on one stand, one behind the other.  A campaign has one of them, or several.

Every case has a seed of its own, ``seed/number``.  Knows the clock."""

import math
import random
import time
from collections import Counter
from collections.abc import Callable

import attrs

from fuzz.find import Find
from fuzz.remote.evidence import Evidence, Sent
from fuzz.remote.liar import FarLiar
from fuzz.remote.link import Link
from fuzz.remote.plain import Gone, Refused, Silent
from fuzz.remote.stand import Stand
from fuzz.remote.talk import Talk
from fuzz.steps import Script

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
    starts: int = 0  # of targets that had to be begun anew

    @property
    def rate(self) -> float:
        return self.pdus / self.seconds if self.seconds else 0.0


class Lane:
    """``case`` after ``case``, or ``replay`` of one.  Its tally is its own, so lanes may run in threads."""

    def __init__(self, stand: Stand, seed: int, muted: Counter[str]) -> None:
        self.stand = stand
        self.seed = seed
        self.tally = FarTally(muted=muted)
        self.recent: list[Script] = []
        self.until = math.inf  # a case that is under way then ends early

    def case(self, number: int) -> FarFound | None:
        """Invent one.  What it has found is not judged yet: it may be known already."""
        script = Script({"remote": True, "number": number}, [])
        found = self._play(script, self._invented(script, number))
        self.tally.cases += 1
        self.recent = [*self.recent[1 - REMEMBERED :], script]
        if self.stand.stale:
            found = None  # the target has ended under us: another lane's find
            self.stand.begin(anew=False)
        elif found is not None:
            found.recent = list(self.recent)
        return found

    def after(self, found: FarFound) -> None:
        """Be ready for the next."""
        severe = found.find.kind.startswith(SEVERE)
        self.tally.starts += severe
        self.stand.begin(anew=severe)

    def last_look(self) -> FarFound | None:
        """When the last case is over."""
        try:
            self.stand.look(carefully=True)
        except Find as find:
            return FarFound(find, Script({}, []))
        except (Gone, Silent, Refused) as error:
            return FarFound(Find("gone", f"after the last case: {error}"), Script({}, []))
        return None

    def _invented(self, script: Script, number: int) -> Callable[[Talk], None]:
        dice = random.Random(f"{self.seed}/{number}")
        stand = self.stand
        zone, _ = stand._zone

        def go(talk: Talk) -> None:
            liar = FarLiar(dice, talk, stand.address, stand.block_size, min(zone, stand.blocks), number)
            length = dice.choice(LENGTHS) * (1 if stand.login_seconds < 0.3 else 4)
            while len(script.steps) < length and time.monotonic() < self.until:
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

    def replay(self, script: Script, *, kind: str = "") -> FarFound | None:
        """These steps on a target as fresh as it gets.  ``kind``: look for this one."""
        stand = self.stand
        muted, seen = self.tally.muted, self.tally.seen
        pdus, answers = self.tally.pdus, self.tally.answers
        stand.begin(anew=stand.private is not None and not stand.private.shared)
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
