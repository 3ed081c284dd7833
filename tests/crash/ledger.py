"""The ledger: what each sector may hold, given what the client was told.

After a death of the process: what was acknowledged last, or what the call under way was writing.  After a
power failure: the value at the last flush (or FUA write), or any written since.  A write that failed may have
happened or not, sector by sector, until it is written again.  docs/storage.md, "What survives"."""

from collections.abc import Iterable

import attrs

from tests.crash.script import SHORT, Step, contents, of_base


@attrs.define
class Ledger:
    """Begin a step, then say how it ended."""

    stage: str = "nothing"  # creating, there, destroying, nothing
    growing: bool = False
    sectors: int = SHORT
    boot: int = 0
    position: int = 0  # changes whenever a promise does
    now: dict[int, bytes] = attrs.field(factory=dict)
    floor: dict[int, bytes] = attrs.field(factory=dict)
    since: dict[int, set[bytes]] = attrs.field(factory=dict)
    doubt: dict[int, set[bytes]] = attrs.field(factory=dict)
    open: dict[int, bytes] = attrs.field(factory=dict)
    touched: set[int] = attrs.field(factory=set)
    covered: set[int] = attrs.field(factory=set)  # a flush or FUA write of these was begun: may be in the map

    def begin(self, number: int, step: Step) -> None:
        self.position += 1
        if step.what == "create":
            self.stage = "creating"
        elif step.what == "destroy":
            self.stage = "destroying"
        elif step.what in ("grow", "stretch"):
            self.sectors, self.growing = step.count, True  # the row comes first
            self.covered |= self.touched
        elif step.what == "open":
            self.boot = step.boot
        elif step.what == "flush":
            self.covered |= self.touched
        elif step.writes:
            self.open = {step.first + n: value for n, value in enumerate(contents(number, step))}
            self.touched |= self.open.keys()
            for sector, value in self.open.items():
                self.since.setdefault(sector, set()).add(value)
            if step.what == "fua":
                self.covered |= self.open.keys()

    def done(self, step: Step) -> None:
        """The client heard GOOD."""
        self.position += 1
        if step.what == "create":
            self.stage = "there"
        elif step.what == "destroy":
            self.stage = "nothing"
        elif step.what in ("flush", "grow", "stretch"):
            self.growing = False
            self._kept(list(self.touched))
        elif step.writes:
            self.now |= self.open
            for sector in self.open:
                self.doubt.pop(sector, None)
            if step.what == "fua":
                self._kept(self.open)
            self.open = {}

    def failed(self) -> None:
        """The client heard an error."""
        self.position += 1
        for sector, value in self.open.items():
            self.doubt.setdefault(sector, set()).add(value)
        self.open = {}

    def _kept(self, sectors: Iterable[int]) -> None:
        for sector in sectors:
            if sector in self.now:
                self.floor[sector] = self.now[sector]
            self.since.pop(sector, None)

    def after_death(self, sector: int) -> set[bytes]:
        """What it may hold when the process has died."""
        may = {self.now.get(sector) or of_base(sector)} | self.doubt.get(sector, set())
        if sector in self.open:
            may.add(self.open[sector])
        return may

    def after_power_failure(self, sector: int) -> set[bytes]:
        """What it may hold when the machine has."""
        may = {self.floor.get(sector) or of_base(sector)}
        return may | self.since.get(sector, set()) | self.doubt.get(sector, set())


def at(steps: tuple[Step, ...], told: Iterable[tuple[str, int]]) -> Ledger:
    """The ledger after what a process said of its steps: ("begun" | "done" | "failed", number)."""
    ledger = Ledger()
    for word, number in told:
        if word == "begun":
            ledger.begin(number, steps[number])
        elif word == "done":
            ledger.done(steps[number])
        else:
            ledger.failed()
    return ledger
