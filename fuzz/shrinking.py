"""Shrinking: delta debugging over the steps of a script, in process and at targets far away.

Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).  Pure but for the
clock that ends it: ``again`` plays a script and says whether the same rule was broken."""

import time
from collections.abc import Callable, Iterator

import attrs

from fuzz.steps import Step

# Plays these steps: the result to keep when it is the same find again, else None.
Again = Callable[[list[Step]], bool]


def shrink(steps: list[Step], again: Again, *, seconds: float = 20.0) -> list[Step]:
    """Leave out steps, then mangles and data, as long as ``again`` says yes.  Ends when time is up."""
    until = time.monotonic() + seconds

    def still(fewer: list[Step]) -> bool:
        return time.monotonic() < until and again(fewer)

    best = list(steps)
    chunk = max(1, len(best) // 2)
    while chunk:
        at, shorter = 0, False
        while at < len(best):
            fewer = best[:at] + best[at + chunk :]
            if still(fewer):
                best, shorter = fewer, True
            else:
                at += chunk
        chunk = chunk if shorter and chunk == 1 else chunk // 2
    for at in range(len(best)):
        better = True
        while better:
            better = False
            for simpler in _simpler(best[at]):
                changed = [*best[:at], simpler, *best[at + 1 :]]
                if still(changed):
                    best, better = changed, True
                    break
    return best


def _simpler(step: Step) -> Iterator[Step]:
    if step.more:
        yield attrs.evolve(step, more=False)
    for index in range(len(step.mangles)):
        yield attrs.evolve(step, mangles=step.mangles[:index] + step.mangles[index + 1 :])
    if step.ahs:
        yield attrs.evolve(step, ahs=b"")
    if step.data and len(step.bhs) == 48 and step.bhs[0] & 0x3F != 3:
        yield attrs.evolve(step, data=b"")
