"""What the runner says: while it runs, and at the end."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fuzz.runner import Found, Tally, resident_bytes

ROWS = 24  # of the coverage table; --json has them all


class Progress:
    """A line that moves, on a terminal; a line now and then elsewhere."""

    def __init__(self, seconds: float, *, quiet: bool) -> None:
        self.seconds = seconds
        self.console = Console(stderr=True, quiet=quiet)
        self.live = Live(console=self.console, refresh_per_second=2) if self.console.is_terminal else None
        self.told = 0.0

    def __enter__(self) -> "Progress":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, tally: Tally) -> None:
        if self.live is not None:
            self.live.update(self._table(tally))
        elif tally.seconds - self.told >= 10:
            self.told = tally.seconds
            self.console.print(self._line(tally))

    def _line(self, tally: Tally) -> str:
        return (
            f"{tally.seconds:5.0f} s  {tally.pdus:,} PDUs  {tally.rate:,.0f} PDUs/s  "
            f"{tally.answers:,} answers  {len(tally.seen)} outcomes  {resident_bytes() / 1e6:.1f} MB"
        )

    def _table(self, tally: Tally) -> Table:
        table = Table(title=self._line(tally), title_justify="left")
        table.add_column("said")
        table.add_column("ended in")
        table.add_column("times", justify="right")
        for (said, ended), times in tally.seen.most_common(ROWS):
            table.add_row(said, ended, f"{times:,}")
        return table


def as_json(tally: Tally, finds: list[Found], seed: int) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "seed": seed,
        "seconds": round(tally.seconds, 1),
        "scripts": tally.scripts,
        "pdus": tally.pdus,
        "pdus_per_second": round(tally.rate),
        "pdus_per_cpu_second": round(tally.cpu_rate),
        "answers": tally.answers,
        "memory_bytes": [size for _, size in tally.memory[:: max(1, len(tally.memory) // 20)]],
        "outcomes": {f"{said}: {ended}": times for (said, ended), times in tally.seen.most_common()},
        "finds": [{"kind": f.find.kind, "what": f.find.what, "steps": len(f.script.steps)} for f in finds],
    }


def markdown(it: dict[str, Any]) -> str:
    """What ``as_json`` says, as a page."""
    memory = it["memory_bytes"] or [0]
    lines = [
        "# scsipub, in process", "",
        f"{it['pdus']:,} PDUs in {it['scripts']:,} worlds and {it['seconds']:.0f} seconds "
        f"({it['pdus_per_second']:,} a second), {it['answers']:,} answers; seed {it['seed']}; memory "
        f"{memory[0] / 1e6:.1f} to {memory[-1] / 1e6:.1f} MB.", "",
    ]  # fmt: skip
    lines += [f"* {find['kind']}: {find['what']} ({find['steps']} steps)" for find in it["finds"]]
    lines += ["", "| said and ended in | times |", "| --- | --- |"]
    lines += [f"| {outcome} | {times:,} |" for outcome, times in it["outcomes"].items()]
    return "\n".join([*lines, ""])


def tell(tally: Tally, finds: list[Found], seed: int, *, as_text: bool, page: Path | None = None) -> None:
    """The report at the end, on standard output and, if wanted, as a page."""
    if page is not None:
        page.write_text(markdown(as_json(tally, finds, seed)))
    if not as_text:
        print(json.dumps(as_json(tally, finds, seed), indent=1))
        return
    console = Console()
    table = Table(title=f"What was said, and how it ended ({len(tally.seen)} outcomes)", title_justify="left")
    table.add_column("said")
    table.add_column("ended in")
    table.add_column("times", justify="right")
    commands: dict[str, dict[str, int]] = {}
    for (said, ended), times in tally.seen.items():
        commands.setdefault(said, {})[ended] = times
    for said in sorted(commands):
        ends = sorted(commands[said].items(), key=lambda item: -item[1])
        table.add_row(said, ", ".join(end for end, _ in ends[:6]), f"{sum(n for _, n in ends):,}")
    console.print(table)
    held = [size for _, size in tally.memory] or [resident_bytes()]
    console.print(
        f"seed {seed}: {tally.pdus:,} PDUs in {tally.seconds:.1f} s, {tally.rate:,.0f} a second "
        f"({tally.cpu_rate:,.0f} per CPU second), "
        f"{tally.answers:,} answers, {tally.scripts:,} worlds, "
        f"memory {held[0] / 1e6:.1f} to {held[-1] / 1e6:.1f} MB"
    )
    for found in finds:
        console.print(f"[bold red]{found.find.kind}[/]: {found.find.what}", highlight=False)
    console.print("nothing found" if not finds else f"{len(finds)} found")
