"""Seeded bugs: does the fuzzer find what we know to be wrong?

Each patch in ``fuzz/mutants/`` breaks one rule.  It is applied to a copy of the tree, and the fuzzer of
that copy has to find something within its time."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
PATCHES = ROOT / "fuzz" / "mutants"
UNCHANGED = "(the code as it is)"
LEAST = 30.0  # seconds for that, at least
COPIED = ("scsipub", "supervisor", "fuzz")


@attrs.frozen
class Verdict:
    """One mutant: was it found, when, and as what?"""

    name: str
    found: bool
    seconds: float
    what: str


def applies(patch: Path) -> str:
    """Why the patch does not fit the tree any more; empty when it does."""
    done = subprocess.run(
        ["git", "apply", "--check", str(patch)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stderr.strip() if done.returncode else ""


def hunt(patch: Path | None, seconds: float, seed: int = 1) -> Verdict:
    """Apply the patch, if any, to a copy and let the copy's fuzzer look for it."""
    name = patch.stem if patch is not None else UNCHANGED
    with tempfile.TemporaryDirectory(prefix="scsipub-mutant-") as directory:
        for room in COPIED:
            shutil.copytree(ROOT / room, Path(directory) / room, ignore=shutil.ignore_patterns("__pycache__"))
        if patch is not None:
            subprocess.run(["git", "apply", str(patch.resolve())], cwd=directory, check=True)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "fuzz", "--seconds", str(seconds), "--seed", str(seed), "--json",
             "--stop-at-first", "--no-write"],
            cwd=directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        took = time.monotonic() - began
    try:
        finds = json.loads(done.stdout)["finds"]
    except ValueError:
        return Verdict(name, False, took, done.stderr[-500:])
    what = f"{finds[0]['kind']}: {finds[0]['what']} ({finds[0]['steps']} steps)" if finds else "nothing found"
    return Verdict(name, bool(finds), took, what)


def main(patches: list[Path], seconds: float, *, as_json: bool, seed: int = 1) -> int:
    """Hunt them all; 1 if one got away, or if something is found in the code as it is.

    Every hit is the bug that was put in: the same seed, for at least as long, finds nothing without it."""
    verdicts = []

    def hunted(patch: Path | None, seconds: float) -> None:
        verdict = hunt(patch, seconds, seed)
        verdicts.append(verdict)
        if not as_json:
            word = "found" if verdict.found else ("clean" if patch is None else "MISSED")
            print(f"{word:6} after {verdict.seconds:5.1f} s  {verdict.name}: {verdict.what}", flush=True)

    for patch in patches or sorted(PATCHES.glob("*.patch")):
        hunted(patch, seconds)
    hunted(None, max(LEAST, *(v.seconds for v in verdicts)))
    if as_json:
        print(json.dumps([attrs.asdict(v) for v in verdicts], indent=1))
    else:
        Console().print(_table(verdicts), highlight=False)
    return 0 if all(v.found for v in verdicts[:-1]) and not verdicts[-1].found else 1


def _table(verdicts: list[Verdict]) -> Table:
    found = sum(v.found for v in verdicts[:-1])
    table = Table(title=f"{found} of {len(verdicts) - 1} mutants found", title_justify="left")
    for name in ("mutant", "seconds", "found as"):
        table.add_column(name, justify="right" if name == "seconds" else "left")
    for v in verdicts[:-1]:
        table.add_row(v.name, f"{v.seconds:.1f}" if v.found else "[red]missed[/]", v.what[:100])
    table.add_row(verdicts[-1].name, f"{verdicts[-1].seconds:.1f}", verdicts[-1].what[:100])
    return table
