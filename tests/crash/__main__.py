"""``make crash``: a disk that lasts, killed, failed and cut off at every call.

    python -m tests.crash [--seed N]... [--swap-flush] [--mistake NAME]

1. a real process under strace, ended by SIGKILL before each call that changes its files;
2. the same with EIO, and with ENOSPC, from each of these calls;
3. a medium with a volatile cache that loses its power at every point, with every choice of what was left.

After each, the disk is opened as the daemon would, and held against what its client was told.  Ends with 1
when a promise was broken."""

import itertools
import shutil
import sys
import tempfile
from pathlib import Path
from time import monotonic

import attrs
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.crash.mistakes import MISTAKES
from tests.crash.power import explore
from tests.crash.sweep import points, sweep
from tests.crash.workload import steps_of

SWEEPS = {
    "kill": "call: SIGKILL",
    "EIO": "call: EIO instead",
    "ENOSPC": "call: ENOSPC instead",
}
POWER = "call: power failure"
LEAST_STATES = 1000
MEMORY = Path("/dev/shm")


@attrs.frozen
class Row:
    """One line of the table."""

    what: str
    day: str
    points: int
    states: int
    findings: list[str]
    seconds: float
    whole: int | None = None  # points of which every combination was tried


@click.command()
@click.option("--seed", "seeds", type=int, multiple=True, help="A random day as well; may be repeated.")
@click.option("--swap-flush", is_flag=True, help="Flush the map before the data: this must fail.")
@click.option("--mistake", type=click.Choice(sorted(MISTAKES)), help="Another one; must fail, too.")
@click.option("--every", default=1, show_default=True, help="Of so many points take one.")
@click.option("--bits", default=10, show_default=True, help="Of so many uncertain sectors take each subset.")
@click.option("--power-only", is_flag=True, help="Without the real processes.")
def main(
    seeds: tuple[int, ...], swap_flush: bool, mistake: str | None, every: int, bits: int, power_only: bool
) -> None:
    """Kill, fail and cut off a disk that lasts at every call, and see what it still knows."""
    mistake = "swap-flush" if swap_flush else mistake
    console = Console(stderr=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="scsipub-crash-") as root, _progress(console) as progress:
        for seed in (None, *seeds):
            folder = Path(root) / f"day{seed}"
            folder.mkdir()
            if not power_only:
                rows += _sweeps(folder, seed, mistake, every, progress)
            rows.append(_power(seed, mistake, every, bits, progress))
        with_calls = None if power_only else _calls(Path(root))
    sys.exit(_report(rows, mistake, with_calls))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"), console=console,
    )  # fmt: skip


def _day(seed: int | None) -> str:
    return "the script" if seed is None else f"random {seed}"


def _sweeps(folder: Path, seed: int | None, mistake: str | None, every: int, progress: Progress) -> list[Row]:
    rows = []
    for kind, what in SWEEPS.items():
        began = monotonic()
        bar = progress.add_task(what, total=None, said=_day(seed))
        (folder / kind).mkdir()
        swept = sweep(
            folder / kind,
            (kind,),
            every=every,
            seed=seed,
            mistake=mistake,
            progress=lambda _, done, of, bar=bar: progress.update(bar, completed=done, total=of),
        )[kind]
        rows.append(Row(what, _day(seed), swept.points, swept.states, swept.findings, monotonic() - began))
    return rows


def _power(seed: int | None, mistake: str | None, every: int, bits: int, progress: Progress) -> Row:
    began = monotonic()
    bar = progress.add_task(POWER, total=None, said=_day(seed))
    memory = tempfile.mkdtemp(prefix="scsipub-crash-", dir=MEMORY if MEMORY.is_dir() else None)
    try:
        explored = explore(
            Path(memory),
            seed=seed,
            mistake=mistake,
            every=every,
            bits=bits,
            progress=lambda point, of, states: progress.update(
                bar, completed=point, total=of, said=f"{states:,} states"
            ),
        )
    finally:
        shutil.rmtree(memory)
    seconds = monotonic() - began
    return Row(
        POWER, _day(seed), explored.points, explored.states, explored.findings, seconds, explored.whole
    )


def _calls(root: Path) -> tuple[int, int]:
    found, _ = points(root / "calls")
    return len(found), len(steps_of(None))


def _report(rows: list[Row], mistake: str | None, calls: tuple[int, int] | None) -> int:
    console = Console()
    table = Table(title="Crash points" + (f", with a mistake: {mistake}" if mistake else ""))
    for column in ("before each", "day", "points", "whole", "states", "broken", "seconds"):
        table.add_column(column, justify="left" if column in ("before each", "day") else "right")
    for row in rows:
        whole = "" if row.whole is None else str(row.whole)
        counts = (f"{row.points:,}", whole, f"{row.states:,}", f"{len(row.findings):,}", f"{row.seconds:.0f}")
        table.add_row(row.what, row.day, *counts)
    states = sum(row.states for row in rows)
    broken = sum(len(row.findings) for row in rows)
    table.add_section()
    seconds = sum(row.seconds for row in rows)
    total = sum(row.points for row in rows)
    table.add_row("all", "", f"{total:,}", "", f"{states:,}", f"{broken:,}", f"{seconds:.0f}")
    console.print(table)
    console.print("whole: points at which every combination of what was not synced was tried.")
    if calls is not None:
        console.print(f"The script makes {calls[0]} calls that change files, in {calls[1]} steps.")
    for finding in itertools.islice((each for row in rows for each in row.findings), 12):
        console.print(f"  {finding}", markup=False, highlight=False)
    if broken:
        console.print(f"[red]{broken:,} broken promises in {states:,} states.[/red]")
        return 1
    console.print(f"Every promise was kept in {states:,} states.")
    if states < LEAST_STATES:
        console.print(f"[yellow]That is few: a whole run has more than {LEAST_STATES:,}.[/yellow]")
    return 0


if __name__ == "__main__":
    main()
