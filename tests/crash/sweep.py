"""A real process, killed or given an error by strace at one system call after the other.

A first run lists the calls that change the overlay's files.  Then one run for each of them, in which strace
ends the process with SIGKILL before the call is made, or has it fail with EIO or ENOSPC.  A run in which the
fault did not fall where it should is a failure, not a pass."""

import errno
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from scsipub.scsi.sense import Key, sense_for_oserror
from tests.crash import examine, ledger
from tests.crash.script import Step
from tests.crash.workload import lay_out, steps_of

REPOSITORY = Path(__file__).resolve().parents[2]
CALLS = (
    "pwrite64", "pwritev", "pwritev2", "fdatasync", "fsync", "fallocate", "ftruncate",
    "rename", "renameat", "renameat2", "unlink", "unlinkat", "openat",
)  # fmt: skip
_LINE = re.compile(r"^(?:\d+ +)?(?P<name>\w+)\((?P<rest>.*)$")
_RUN_SECONDS = 60
# A child that is being started holds copies of our descriptors for a moment, and of their locks.
_FORKING = threading.Lock()

Told = list[tuple[str, int]]


@attrs.frozen
class Point:
    """One call of the workload: the ``ordinal``-th of its name in the whole process, from 1."""

    name: str
    ordinal: int
    what: str  # for people


@attrs.frozen
class Ended:
    """What is known of a run."""

    told: Told
    errors: dict[int, tuple[int, str]]  # by step: errno, words
    calls: list[str]  # strace's lines
    status: int
    stderr: str


@attrs.define
class Swept:
    """The outcome of a sweep."""

    points: int = 0
    states: int = 0
    findings: list[str] = attrs.field(factory=list)


def _run(folder: Path, *strace: str, options: tuple[str, ...] = ()) -> Ended:
    log = folder / "strace"
    with _FORKING:
        process = subprocess.Popen(
            [
                *("strace", "-f", "-y", "-s", "0", "-o", log),
                *("-e", "trace=" + ",".join(CALLS), *strace),
                *(sys.executable, "-m", "tests.crash.workload", folder, *options),
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # No byte code is written, so that each run makes the same calls.
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
        )
    said, complaints = process.communicate(timeout=_RUN_SECONDS)
    told, errors = [], {}
    for line in said.splitlines():
        word, number, *rest = line.split(" ", 3)
        told.append((word, int(number)))
        if word == "failed":
            errors[int(number)] = (int(rest[0]), rest[1])
    return Ended(told, errors, log.read_text().splitlines(), process.returncode, complaints)


def points(folder: Path, options: tuple[str, ...] = ()) -> tuple[list[Point], Ended]:
    """Every call that changes a file of the overlay, in order."""
    folder.mkdir()
    lay_out(folder)
    ended = _run(folder, options=options)
    if ended.status:
        raise RuntimeError(f"the workload alone ends with {ended.status}: {ended.stderr}")
    inside = str(folder / "overlays")
    count: Counter[str] = Counter()
    found = []
    for line in ended.calls:
        match = _LINE.match(line)
        if match is None:
            continue
        name, rest = match["name"], match["rest"]
        count[name] += 1
        if inside in rest and (name != "openat" or "O_CREAT" in rest):
            found.append(Point(name, count[name], rest.replace(inside, "")[:90]))
    return found, ended


def killed(folder: Path, point: Point, steps: tuple[Step, ...], options: tuple[str, ...]) -> list[str]:
    """One run with SIGKILL before the call.  What was broken."""
    lay_out(folder)
    # Not with --seccomp-bpf, which never delivers the signal.  The error: so that no call is made at all.
    fault = f"inject={point.name}:signal=KILL:error=EIO:when={point.ordinal}"
    ended = _run(folder, "-e", fault, options=options)
    if ended.status != -9 or _calls(ended.calls, point.name) != point.ordinal:
        return [f"the kill did not fall on it: {ended.status} {ended.stderr[-200:]}"]
    return _examined(folder, steps, ended)


def failed(
    folder: Path, point: Point, code: int, steps: tuple[Step, ...], options: tuple[str, ...]
) -> list[str]:
    """One run in which the call fails.  What was broken."""
    lay_out(folder)
    fault = f"inject={point.name}:error={errno.errorcode[code]}:when={point.ordinal}"
    ended = _run(folder, "--seccomp-bpf", "-e", fault, options=("--go-on", *options))
    if not any("(INJECTED)" in line for line in ended.calls):
        return [f"the fault did not fall on it: {ended.stderr[-200:]}"]
    if ended.status:
        return [f"the process ended with {ended.status}: {ended.stderr[-400:]}"]
    found = list(_answers(ended, point, code, steps))
    return found + _examined(folder, steps, ended)


def _examined(folder: Path, steps: tuple[Step, ...], ended: Ended) -> list[str]:
    with _FORKING:
        return examine.process_died(folder, ledger.at(steps, ended.told))


def _answers(ended: Ended, point: Point, code: int, steps: tuple[Step, ...]) -> Iterator[str]:
    """R7, R9: what the client heard, from the fault to the next opening of the disk."""
    if not ended.errors:
        number = ended.told[-1][1]
        # The only one who may keep quiet: a write on the event loop that was not made, and then made in a
        # thread, where there was room again.
        if code != errno.ENOSPC:
            yield f"R7: nobody was told of the fault (the last step was {number})"
        return
    first = min(ended.errors)
    step = steps[first]
    heard, words = ended.errors[first]
    sense = sense_for_oserror(OSError(heard, words), writing=True)
    if step.what in ("create", "open", "grow", "stretch", "destroy"):
        if len(ended.errors) > 1 and not _latched(steps, ended.errors, first):
            yield f"a {step.what} that failed once goes on failing: {ended.errors}"
        return
    syncs = step.what == "flush" or (step.what == "fua" and "RWF_DSYNC" in point.what)
    full = code == errno.ENOSPC and not syncs and heard == errno.ENOSPC
    if full:
        if (sense.key, sense.asc, sense.ascq) != (Key.DATA_PROTECT, 0x27, 0x07):
            yield f"R9: a {step.what} without room is answered with {sense}"
        if len(ended.errors) > 1:
            yield f"R9: a full file system latched: {ended.errors}"
        return
    if (sense.key, sense.asc, sense.ascq) != (Key.MEDIUM_ERROR, 0x0C, 0x00):
        yield f"R7: a {step.what} that failed is answered with {sense}"
    for number in range(first + 1, len(steps)):
        if steps[number].what == "close":
            break
        if number not in ended.errors and not (
            code == errno.ENOSPC and step.what in ("write", "now", "same")
        ):
            yield f"R7: step {number}, {steps[number].what}, went well after a failure"
    yield from _refused(ended, steps, first, code)


def _refused(ended: Ended, steps: tuple[Step, ...], first: int, code: int) -> Iterator[str]:
    """What has latched stays so for the next owner, until an operator says otherwise."""
    step = steps[first]
    if code == errno.ENOSPC and step.what in ("write", "now", "same", "unmap"):
        return
    following = (n for n in range(first + 1, len(steps)) if steps[n].what in ("open", "grow"))
    opening = next(following, None)
    if opening is not None and "has failed" not in ended.errors.get(opening, (0, ""))[1]:
        yield f"R7: step {opening}, {steps[opening].what}, serves a disk whose medium has failed"


def _latched(steps: tuple[Step, ...], errors: dict[int, tuple[int, str]], first: int) -> bool:
    """A growth flushes; when that fails the disk is opened by an operator's leave only."""
    return steps[first].what == "grow" and all("has failed" in errors[n][1] for n in errors if n > first)


def _calls(lines: list[str], name: str) -> int:
    return sum(match is not None and match["name"] == name for match in map(_LINE.match, lines))


def sweep(
    root: Path,
    kinds: tuple[str, ...],
    *,
    every: int = 1,
    choose: Callable[[Point], bool] = lambda point: True,
    seed: int | None = None,
    mistake: str | None = None,
    at_once: int = 2,
    progress: Callable[[str, int, int], None] = lambda kind, done, of: None,
) -> dict[str, Swept]:
    """Each kind (kill, EIO, ENOSPC) at every ``every``-th point."""
    options = () if seed is None else ("--seed", str(seed))
    options += () if mistake is None else ("--mistake", mistake)
    steps = steps_of(seed)
    found = [point for point in points(root / "whole", options)[0] if choose(point)]
    result = {}
    for offset, kind in enumerate(kinds):
        chosen = found[offset % every :: every]
        swept = result[kind] = Swept()

        def one(numbered: tuple[int, Point], kind: str = kind) -> tuple[Point, list[str]]:
            number, point = numbered
            folder = root / f"{kind}{number}"
            folder.mkdir()
            if kind == "kill":
                broken = killed(folder, point, steps, options)
            else:
                broken = failed(folder, point, getattr(errno, kind), steps, options)
            if not broken:
                _remove(folder)
            return point, broken

        with ThreadPoolExecutor(at_once) as pool:
            for point, broken in pool.map(one, enumerate(chosen)):
                swept.points += 1
                swept.states += 2  # the machine lives on, and the machine was restarted
                swept.findings += [f"{kind} at {point.name} {point.what}: {each}" for each in broken]
                progress(kind, swept.points, len(chosen))
    return result


def _remove(folder: Path) -> None:
    for directory, _, names in os.walk(folder, topdown=False):
        for name in names:
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
