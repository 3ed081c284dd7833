"""A campaign against a target far away: lanes full of cases until time is up, and shrinking.

Of each kind of find one is kept, the rest counted.  Lanes wait most of their time, so they are threads; each
has a unit of its own, and where a crash would not tell who has caused it, a target of its own."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import attrs

from fuzz import shrinking
from fuzz.find import Find
from fuzz.remote.lane import REMEMBERED, FarFound, FarTally, Lane
from fuzz.remote.stand import Stand
from fuzz.runner import memory_growth
from fuzz.steps import Script, Step

TELL = 0.5  # seconds between two looks at memory


class Campaign:
    """``run`` it.  ``shrinking``: seconds for each find, at most."""

    def __init__(self, stands: Sequence[Stand], seed: int, *, shrinking: float = 15.0) -> None:
        self.muted: Counter[str] = Counter()
        self.lanes = [Lane(stand, seed, self.muted) for stand in stands]
        self.stand = stands[0]
        self.seed = seed
        self.shrinking = shrinking
        self.finds: list[FarFound] = []
        self.memory: list[tuple[float, int]] = []
        self.seconds = 0.0
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.trouble: list[BaseException] = []

    @property
    def tally(self) -> FarTally:
        """All lanes together."""
        all_of_it = FarTally(seconds=self.seconds, muted=self.muted, memory=self.memory)
        for tally in [lane.tally for lane in self.lanes]:
            all_of_it.cases += tally.cases
            all_of_it.pdus += tally.pdus
            all_of_it.answers += tally.answers
            all_of_it.starts += tally.starts
            all_of_it.seen.update(tally.seen.copy())
        return all_of_it

    @property
    def pdus(self) -> int:
        return sum(lane.tally.pdus for lane in self.lanes)

    @property
    def restarts(self) -> int:
        """Workers of our own daemon that have died."""
        private = {id(lane.stand.private): lane.stand.private for lane in self.lanes}
        return sum(it.restarts() for it in private.values() if it is not None)

    def run(
        self, seconds: float, on_progress: Callable[[FarTally], None], *, pdus: int = 0, most: int = 200
    ) -> None:
        """For so long, or until so many PDUs are said.  Raises ``OperatorError``."""
        began, numbers = time.monotonic(), itertools.count()
        self.trouble = []
        # Not Thread.join: in Python 3.11 a thread counts as ended when an interrupt comes while it is joined.
        over = [threading.Event() for _ in self.lanes]
        threads = [
            threading.Thread(
                target=self._drive, args=(lane, numbers, began + seconds, pdus, most, end), daemon=True
            )
            for lane, end in zip(self.lanes, over, strict=True)
        ]
        try:
            for thread in threads:
                thread.start()
            while not all(end.is_set() for end in over):
                for end in over:
                    end.wait(TELL / len(over))
                self.seconds = time.monotonic() - began
                self._remember()
                on_progress(self.tally)
        finally:
            self.stop.set()
            for thread, end in zip(threads, over, strict=True):
                if thread.ident is not None:
                    end.wait()
        self.seconds = time.monotonic() - began
        self._remember()
        if self.trouble:
            raise self.trouble[0]
        growth = memory_growth(self.memory, self.seconds) if not self.tally.starts else ""
        if growth:
            self._keep(FarFound(Find("memory grows", growth), Script({}, [])))

    def _drive(
        self, lane: Lane, numbers: "itertools.count[int]", until: float, pdus: int, most: int,
        over: threading.Event,
    ) -> None:  # fmt: skip
        lane.until = until
        try:
            lane.stand.begin()
            while not self.stop.is_set() and time.monotonic() < until and len(self.finds) < most:
                if pdus and self.pdus >= pdus:
                    break
                lane.tally.seconds = self.seconds
                found = lane.case(next(numbers))
                if found is not None:
                    self._keep(found)
                    lane.after(found)
            found = lane.last_look()
            if found is not None and not lane.stand.stale:
                self._keep(found)
        except BaseException as error:
            self.trouble.append(error)
            self.stop.set()
        finally:
            over.set()

    def _remember(self) -> None:
        private = {id(lane.stand.private): lane.stand.private for lane in self.lanes}
        sizes = [it.resident() for it in private.values() if it is not None]
        if sizes and all(sizes):
            self.memory.append((self.seconds, sum(sizes)))

    def _keep(self, found: FarFound) -> None:
        with self.lock:
            kind = found.find.kind
            if kind in self.muted:
                self.muted[kind] += 1
                return
            self.muted[kind] = 0
            self.finds.append(found)

    # -- shrinking ---------------------------------------------------------------------------------------

    def replay(self, script: Script, *, kind: str = "") -> FarFound | None:
        """These steps on a target as fresh as it gets.  ``kind``: look for this one."""
        return self.lanes[0].replay(script, kind=kind)

    def smaller(self, found: FarFound, lane: Lane | None = None) -> FarFound:
        """The shortest script that does it again; the found one when none does."""
        kind, until, here = found.find.kind, time.monotonic() + self.shrinking, lane or self.lanes[0]
        best = found
        found.recent = found.recent or [found.script]

        def again(steps: list[Step]) -> bool:
            nonlocal best
            result = here.replay(Script(found.script.setup, steps), kind=kind)
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
        waiting = [number for number, found in enumerate(self.finds) if found.script.steps]
        count = len(waiting)

        def go(lane: Lane) -> None:
            patience, lane.stand.patience = lane.stand.patience, min(lane.stand.patience, 1.5)
            try:
                while waiting and not self.trouble:
                    number = waiting.pop(0)
                    on_progress(
                        f"shrinking {count - len(waiting)} of {count}: {self.finds[number].find.kind}"
                    )
                    self.finds[number] = self.smaller(self.finds[number], lane)
            except BaseException as error:
                self.trouble.append(error)
            lane.stand.patience = patience

        threads = [threading.Thread(target=go, args=(lane,)) for lane in self.lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.trouble:
            raise self.trouble[0]
