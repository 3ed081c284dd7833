"""Power failures: at every point of the script, with every choice of what had reached the medium by itself.

Where up to ten sectors (or names, or lengths) are uncertain, every combination is tried.  Where there are
more, every combination of the newest ten, the others all lost and all kept, and some at random.  Each state
is laid out as files and opened by the real code, with a .live file of an earlier boot that lies."""

import contextlib
import itertools
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from scsipub.storage.base import SECTOR, Base
from scsipub.storage.layout import HEADER, Header, OverlayRefused, Part
from scsipub.storage.verify import verify_durable
from tests.crash import examine, mistakes
from tests.crash.ledger import Ledger
from tests.crash.medium import ABSENT, Choice, Entry, Key, Medium, Recorder
from tests.crash.script import Step
from tests.crash.workload import BOOTS, SHA, Client, lay_out, paths_in, run, steps_of

LIFE_EVERY = 64  # states; to go on living takes longer than to look
_LIVE = f"{paths_in(Path()).id}.live"

Pick = tuple[Choice, int]  # which version


@attrs.define
class Explored:
    """The outcome."""

    points: int = 0
    states: int = 0
    whole: int = 0  # points of which every combination was tried
    findings: list[str] = attrs.field(factory=list)


def record(folder: Path, seed: int | None, mistake: str | None) -> tuple[Recorder, tuple[Step, ...]]:
    """Carry out the script once, and write down what the medium was told."""
    lay_out(folder)
    steps = steps_of(seed)
    recorder = Recorder(str(folder / "overlays"))
    client = Client(folder)
    with mistakes.made(mistake), recorder.watching():
        run(client, steps, False, recorder.mark)
    client.base.close()
    return recorder, steps


def explore(
    root: Path,
    *,
    seed: int | None = None,
    mistake: str | None = None,
    bits: int = 10,
    samples: int = 128,
    every: int = 1,
    enough: int = 20,
    progress: Callable[[int, int, int], None] = lambda point, of, states: None,
) -> Explored:
    """At every ``every``-th point.  Stops at ``enough`` findings.  ``root`` is best in memory."""
    recorder, steps = record(root / "recorded", seed, mistake)
    result = Explored(findings=sorted(set(recorder.findings)))
    bench = Bench(root / "bench")
    medium, ledger = Medium(), Ledger()
    chance = random.Random(seed or 0)
    seen: set[int] = set()
    # Of another boot it says nothing: ``Bench`` makes up one that lies.
    live = {entry.file for entry in recorder.log if entry.kind == "create" and entry.name.startswith(_LIVE)}
    number = 0
    changes = [entry for entry in recorder.log if entry.kind != "mark"]
    for entry in [*recorder.log, Entry("end")]:
        if entry.kind == "mark":
            _tell(ledger, steps, entry.mark)
            continue
        number += 1
        if number % every == 0 or entry.kind == "end":
            result.points += 1
            _examine(bench, medium, ledger, result, seen, chance, (bits, samples))
            progress(number, len(changes), result.states)
            if len(result.findings) >= enough:
                break
        if entry.file not in live:
            medium.play(entry)
    bench.close()
    return result


def _tell(ledger: Ledger, steps: tuple[Step, ...], mark: Any) -> None:
    word, number = mark[:2]
    if word == "begun":
        ledger.begin(number, steps[number])
    elif word == "done":
        ledger.done(steps[number])


def _examine(
    bench: "Bench",
    medium: Medium,
    ledger: Ledger,
    result: Explored,
    seen: set[int],
    chance: random.Random,
    most: tuple[int, int],
) -> None:
    choices = medium.choices()
    certain = medium.certain
    ground = hash(frozenset((key, it[0]) for key, it in certain.items() if key not in medium.pending))
    result.whole += math.prod(len(c.versions) for c in choices) <= 1 << most[0]
    for picks in combinations(choices, chance, *most):
        which = hash((ledger.position, ground, frozenset((c.key, c.versions[n][0]) for c, n in picks)))
        if which in seen:
            continue
        seen.add(which)
        result.states += 1
        broken = bench.examine(certain, picks, ledger, result.states)
        lost = [f"{c.key} {n}/{len(c.versions) - 1}" for c, n in picks if n < len(c.versions) - 1]
        result.findings += [f"before entry {medium.at}, without {lost[:6]}: {each}" for each in broken]
        if len(result.findings) >= 1000:
            return


def combinations(
    choices: list[Choice], chance: random.Random, bits: int, samples: int
) -> Iterator[list[Pick]]:
    """What may be left, each as one version for each choice.  The newest choices come first."""
    group, product = 0, 1
    while group < len(choices) and product * len(choices[group].versions) <= 1 << bits:
        product *= len(choices[group].versions)
        group += 1
    inner, outer = choices[:group], choices[group:]
    for rest in (0, -1) if outer else (0,):
        others = [(c, rest % len(c.versions)) for c in outer]
        for versions in itertools.product(*(range(len(c.versions)) for c in inner)):
            yield [*zip(inner, versions, strict=True), *others]
    if outer:
        for _ in range(samples):
            share = chance.random()
            yield [
                (c, chance.randrange(len(c.versions)) if chance.random() < share else len(c.versions) - 1)
                for c in choices
            ]


class Bench:
    """Lays a state out as files, with as few writes as can be, and has it examined."""

    def __init__(self, folder: Path) -> None:
        lay_out(folder)
        self.folder = folder
        self.paths = paths_in(folder, examine.OTHER_BOOT)
        self.base = Base.open(folder / "image", SHA)
        self.laid: dict[str, tuple[int, int, dict[int, int]]] = {}  # name: file, length, entries by sector
        self.stale = b""  # a .live file of an earlier boot, all of whose bits are set

    def close(self) -> None:
        self.base.close()
        shutil.rmtree(self.folder)

    def examine(
        self, certain: dict[Key, tuple[int, Any]], picks: list[Pick], ledger: Ledger, number: int
    ) -> list[str]:
        state = certain | {choice.key: choice.versions[n] for choice, n in picks}
        self.lay(state)
        if ledger.stage == "nothing" and ledger.position:
            left = [name for name in os.listdir(self.paths.directory) if not name.endswith(".live")]
            return [f"R10: {left} are back"] if left else []
        if ledger.stage != "there":
            found = list(examine.taken_back(self.paths, self.base))
            self.laid = {}
            return found
        self._lie(number)
        changes = ledger.growing and not self._fits(ledger)
        found = list(examine.come_back(self.paths, self.base, ledger, ledger.after_power_failure))
        if number % LIFE_EVERY == 0 and not found:
            found += examine.life_goes_on(self.paths, self.base, ledger)
            changes = True
        if changes:
            self.laid = {}
        return found

    def _fits(self, ledger: Ledger) -> bool:
        try:
            verify_durable(self.paths, ledger.sectors, self.base.identity)
        except OSError:
            return False
        return True

    def _lie(self, number: int) -> None:
        """The .live file may be there or not; of an earlier boot it must not count."""
        path = Path(self.paths.path(Part.LIVE))
        path.unlink(missing_ok=True)
        if number % 2:
            with contextlib.suppress(OverlayRefused, FileNotFoundError):  # whoever opens it will say so
                source = Path(self.paths.path(Part.MAP)).read_bytes()
                header = attrs.evolve(Header.unpack(source[:HEADER], Part.MAP), boot=BOOTS[0])
                path.write_bytes(header.pack(Part.LIVE) + b"\xff" * 2 * (len(source) - HEADER))

    def lay(self, state: dict[Key, tuple[int, Any]]) -> None:
        names = {key[1]: it[1] for key, it in state.items() if key[0] == "name" and it[1] != ABSENT}
        if not self.laid:
            for name in os.listdir(self.paths.directory):
                os.unlink(os.path.join(self.paths.directory, name))
        for name in [name for name in self.laid if name not in names]:
            os.unlink(os.path.join(self.paths.directory, name))
            del self.laid[name]
        by_file: dict[int, dict[int, tuple[int, bytes]]] = {}
        for key, it in state.items():
            if key[0] == "sector":
                by_file.setdefault(int(key[1]), {})[key[2]] = it
        for name, file in names.items():
            sectors = by_file.get(file, {})
            written = [sector for sector, it in sectors.items() if it[0]]
            length = state.get(("length", file, 0), (0, (max(written, default=-1) + 1) * SECTOR))[1]
            self._lay_file(str(name), file, length, sectors)

    def _lay_file(self, name: str, file: int, length: int, sectors: dict[int, tuple[int, bytes]]) -> None:
        path = os.path.join(self.paths.directory, name)
        before, old_length, entries = self.laid.get(name, (0, -1, {}))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if before != file else 0), 0o600)
        if before != file:
            entries = {}
        if before != file or old_length != length:
            os.ftruncate(fd, length)
        for sector in [sector for sector in entries if sector not in sectors]:
            os.pwrite(fd, bytes(SECTOR), sector * SECTOR)
            del entries[sector]
        for sector, (entry, data) in sectors.items():
            if entries.get(sector, 0) != entry and sector * SECTOR < length:
                os.pwrite(fd, data, sector * SECTOR)
            entries[sector] = entry
        os.close(fd)
        self.laid[name] = (file, length, entries)
