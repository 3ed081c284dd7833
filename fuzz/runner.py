"""The runner: worlds one after another, each from its own seed, until time is up or something is found.

Knows the clock, memory and files; the rest of ``fuzz`` does not."""

import ctypes
import gc
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import attrs

from fuzz import liar, shrinking
from fuzz.find import Find, Hang
from fuzz.ground import Ground
from fuzz.steps import Script, Step
from fuzz.world import World

STEPS = 400  # of one world: enough for a session to get into trouble, few enough to shrink
MEMORY_NOISE = 8 << 20  # of malloc; in two minutes a leak of 10 bytes a PDU is more than that
HANG_SECONDS = 5.0  # a step takes microseconds


_libc = ctypes.CDLL(None)


@attrs.define
class Tally:
    """What has been done so far."""

    scripts: int = 0
    pdus: int = 0
    answers: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    seen: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    memory: list[tuple[float, int]] = attrs.field(factory=list)  # (when, resident bytes)

    @property
    def cpu_rate(self) -> float:
        """PDUs per second of our own time: what the machine would give us if nobody else were there."""
        return self.pdus / self.cpu_seconds if self.cpu_seconds else 0.0

    @property
    def rate(self) -> float:
        return self.pdus / self.seconds if self.seconds else 0.0


@attrs.frozen
class Found:
    """A find and the script that leads to it."""

    script: Script
    find: Find


@contextmanager
def ground() -> Iterator[Ground]:
    """A place to stand on, in memory where there is room for that."""
    shm = Path("/dev/shm")
    directory = tempfile.mkdtemp(prefix="scsipub-fuzz-", dir=shm if shm.is_dir() else None)
    it = Ground(directory)
    try:
        yield it
    finally:
        it.close()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raises ``Hang`` in the main thread.  Signals, because nothing else interrupts a loop."""

    def bark(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def invent(on: Ground, seed: str, tally: Tally, steps: int = STEPS) -> Found | None:
    """One world of freshly drawn steps."""
    dice = random.Random(seed)
    script = Script(liar.setup(dice), [])
    world = World(on, script.setup, tally.seen)

    def play() -> None:
        talker = liar.Liar(dice, world)
        while len(script.steps) < steps:
            for step in talker.steps():
                script.steps.append(step)
                world.take(step)
        world.finish()

    return _judged(world, script, play, tally)


def replay(on: Ground, script: Script, tally: Tally | None = None) -> Found | None:
    """One world of given steps."""
    tally = tally or Tally()
    world = World(on, script.setup, tally.seen)

    def play() -> None:
        for step in script.steps:
            world.take(step)
        world.finish()

    return _judged(world, script, play, tally)


def _judged(world: World, script: Script, play: Callable[[], None], tally: Tally) -> Found | None:
    try:
        with watchdog(HANG_SECONDS):
            play()
    except Find as find:
        return Found(script, find)
    except Hang:
        return Found(script, Find("hang", f"{HANG_SECONDS:g} seconds"))
    finally:
        world.close()
        tally.scripts += 1
        tally.pdus += world.pdus
        tally.answers += world.answers
    return None


def shrink(on: Ground, found: Found, *, seconds: float = 20.0) -> Found:
    """The shortest script, found in this time, that breaks the same rule."""
    best = found

    def again(steps: list[Step]) -> bool:
        nonlocal best
        result = replay(on, Script(found.script.setup, steps))
        if result is None or result.find.kind != found.find.kind:
            return False
        best = result
        return True

    shrinking.shrink(found.script.steps, again, seconds=seconds)
    return best


def resident_bytes() -> int:
    """How much memory this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def run(
    seed: int,
    seconds: float,
    on_progress: Callable[[Tally], None],
    *,
    tally: Tally,
    finds: list[Found],
    most: int = 10,
    pdus: int = 0,
) -> None:
    """Fuzz for so long, or until so many PDUs are said, adding to ``tally`` and ``finds``.

    Every script has a seed of its own, ``seed/number``.  Of each kind of find one is kept."""
    began = time.monotonic()
    cpu = time.process_time()
    number, told = 0, began
    gc.collect()
    gc.freeze()
    with ground() as on:
        while (now := time.monotonic()) - began < seconds and len(finds) < most:
            if pdus and tally.pdus >= pdus:
                break
            found = invent(on, f"{seed}/{number}", tally)
            number += 1
            tally.seconds = time.monotonic() - began
            tally.cpu_seconds = time.process_time() - cpu
            if found is not None and all(found.find.kind != f.find.kind for f in finds):
                finds.append(shrink(on, found))
            if now - told > 0.5:
                told = now
                # A world is full of cycles, and malloc keeps what it was given back: what is left after these
                # two is really held.
                gc.collect()
                _libc.malloc_trim(0)
                tally.memory.append((tally.seconds, resident_bytes()))
                on_progress(tally)
        if not on.unchanged():
            finds.append(Found(Script({}, []), Find("image", "an image was changed")))
    growth = memory_growth(tally.memory, tally.seconds)
    if growth:
        finds.append(Found(Script({}, []), Find("bound", growth)))


def memory_growth(memory: list[tuple[float, int]], seconds: float) -> str:
    """Does memory grow from the first third on?  Empty when it does not."""
    if seconds < 20 or len(memory) < 9:
        return ""
    third = len(memory) // 3
    early = sum(size for _, size in memory[third : third + 3]) / 3
    late = sum(size for _, size in memory[-3:]) / 3
    if late > early * 1.02 + MEMORY_NOISE:
        return f"resident memory grew from {early / 1e6:.1f} to {late / 1e6:.1f} MB"
    return ""
