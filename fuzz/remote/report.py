"""What a campaign far away has found: files for each find, a table, JSON, and a page in Markdown."""

import json
import queue
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fuzz.find import Record
from fuzz.remote import pcap, reproducer
from fuzz.remote.campaign import Campaign
from fuzz.remote.lane import FarFound, FarTally
from fuzz.remote.stand import Stand


def write_finds(campaign: Campaign, folder: Path) -> dict[str, str]:
    """A script to replay, a program and a pcap of each find; kind -> the files' common name."""
    stand, names = campaign.stand, dict[str, str]()
    for found in campaign.finds:
        if not found.script.steps:
            continue
        name = reproducer.slug(found.find.kind)
        names[found.find.kind] = name
        folder.mkdir(parents=True, exist_ok=True)
        Record(found.script, found.find.kind, found.find.what).write(folder / f"{name}.json")
        reproducer.write(
            folder / f"{name}.py", found.find, found.evidence, found.sent, stand.address, stand.patience
        )
        pcap.write(folder / f"{name}.pcap", found.links)
    try_by_hand(campaign, {kind: folder / f"{name}.py" for kind, name in names.items()})
    return names


def try_by_hand(campaign: Campaign, programs: dict[str, Path]) -> None:
    """Run each find's program alone against a fresh target: as many at once as there are targets."""
    stands = {id(lane.stand.private): lane.stand for lane in campaign.lanes if lane.stand.private is not None}
    free = queue.SimpleQueue[Stand]()
    for stand in stands.values():
        free.put(stand)

    def go(found: FarFound) -> None:
        stand = free.get()
        try:
            found.by_hand = by_hand(stand, programs[found.find.kind])
        finally:
            free.put(stand)

    if stands:
        with ThreadPoolExecutor(len(stands)) as pool:
            list(pool.map(go, [found for found in campaign.finds if found.find.kind in programs]))


def by_hand(stand: Stand, program: Path) -> bool:
    """Does the program, run alone against a fresh target, show it again?"""
    private = stand.private
    if private is None:
        raise RuntimeError("only a target of our own is started anew")
    stand.away()
    private.start()
    address = private.address
    words = [sys.executable, str(program), address.host, str(address.port), address.secret, address.target]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 1 and "IT HAPPENED AGAIN" in done.stdout


def as_json(campaign: Campaign, names: dict[str, str], version: str) -> dict[str, Any]:
    """Everything, for programs."""
    tally = campaign.tally
    return {
        "target": version,
        "seed": campaign.seed,
        "seconds": round(tally.seconds, 1),
        "cases": tally.cases,
        "pdus": tally.pdus,
        "pdus_per_second": round(tally.rate),
        "answers": tally.answers,
        "lanes": len(campaign.lanes),
        "begun_anew": tally.starts,
        "workers_restarted": campaign.restarts,
        "memory_bytes": sampled([size for _, size in tally.memory]),
        "outcomes": {f"{said}: {ended}": times for (said, ended), times in tally.seen.most_common()},
        "finds": [
            {
                "kind": found.find.kind, "what": found.find.what, "steps": len(found.script.steps),
                "seen": 1 + tally.muted[found.find.kind], "again": found.again, "by_hand": found.by_hand,
                "seconds": round(found.when, 1), "files": names.get(found.find.kind, ""),
            }
            for found in campaign.finds
        ],
    }  # fmt: skip


def sampled(sizes: list[int]) -> list[int]:
    """Twenty of them, or a few more, with the first and the last."""
    return [*sizes[: -1 : max(1, len(sizes) // 20)], *sizes[-1:]]


def memory(it: dict[str, Any]) -> str:
    """What became of the target, and how much memory it held."""
    first, half, last = (it["memory_bytes"][at] / 1e6 for at in (0, len(it["memory_bytes"]) // 2, -1))
    anew = (
        f"the target was begun anew {it['begun_anew']} times, its workers {it['workers_restarted']} times; "
    )
    return anew + f"it held {first:.1f} MB, {half:.1f} MB half-way, {last:.1f} MB in the end"


def markdown(it: dict[str, Any]) -> str:
    """The same as a page."""
    lines = [
        f"# {it['target']}", "",
        f"{it['pdus']:,} PDUs in {it['cases']:,} cases, {it['seconds']:.0f} seconds, "
        f"{it['answers']:,} answers; seed {it['seed']}, {it['lanes']} lanes.", "",
    ]  # fmt: skip
    if it["memory_bytes"]:
        lines += [f"On the way {memory(it)}.", ""]
    if not it["finds"]:
        return "\n".join([*lines, "Nothing found.", ""])
    lines += [
        "| found | for example | times | PDUs of the reproducer | shows it by hand |",
        "| --- " * 5 + "|",
    ]
    for find in it["finds"]:
        hand = {True: f"yes: {find['files']}.py", False: "no", None: "not tried"}[find["by_hand"]]
        what = find["what"].replace("|", "/")
        what = what if len(what) < 160 else what[:157] + "…"
        lines.append(f"| {find['kind']} | {what} | {find['seen']:,} | {find['steps']} | {hand} |")
    return "\n".join([*lines, ""])


def tell(it: dict[str, Any], folder: Path) -> None:
    """For people, on standard output."""
    console = Console()
    table = Table(title=f"{it['target']}: what was found", title_justify="left")
    for name, how in (
        ("found", "left"),
        ("for example", "left"),
        ("times", "right"),
        ("steps", "right"),
        ("by hand", "left"),
    ):
        table.add_column(name, justify="right" if how == "right" else "left")
    for find in it["finds"]:
        hand = {True: "yes", False: "no", None: "not tried"}[find["by_hand"]]
        table.add_row(find["kind"], find["what"][:100], f"{find['seen']:,}", str(find["steps"]), hand)
    if it["finds"]:
        console.print(table, highlight=False)
    console.print(
        f"seed {it['seed']}: {it['pdus']:,} PDUs in {it['seconds']:.0f} s "
        f"({it['pdus_per_second']:,} a second), {it['cases']:,} cases, {it['answers']:,} answers, "
        f"{len(it['outcomes'])} outcomes",
        highlight=False,
    )
    if it["memory_bytes"]:
        console.print(memory(it), highlight=False)
    console.print(f"{len(it['finds'])} kinds found; files in {folder}" if it["finds"] else "nothing found")


def save(it: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(it, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(it))


class Progress:
    """A line that moves, on a terminal; a line now and then elsewhere."""

    def __init__(self, campaign: Campaign, *, quiet: bool) -> None:
        self.campaign = campaign
        self.console = Console(stderr=True, quiet=quiet)
        self.status = self.console.status("beginning") if self.console.is_terminal and not quiet else None
        self.told = 0.0
        self.shown = 0  # finds that were printed

    def __enter__(self) -> "Progress":
        if self.status is not None:
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is not None:
            self.status.stop()

    def say(self, line: str) -> None:
        """Something that is not counted."""
        if self.status is not None:
            self.status.update(line)
        else:
            self.console.print(line, highlight=False)

    def __call__(self, tally: FarTally) -> None:
        for found in self.campaign.finds[self.shown :]:
            self.console.print(f"{found.when:5.0f} s  {found.find}", highlight=False, markup=False)
        self.shown = len(self.campaign.finds)
        line = (
            f"{tally.seconds:5.0f} s  {tally.pdus:,} PDUs  {tally.rate:,.0f} PDUs/s  {tally.cases:,} cases  "
            f"{len(tally.seen)} outcomes  {len(self.campaign.finds)} kinds found"
        )
        if self.status is not None:
            self.status.update(line)
        elif tally.seconds - self.told >= 10:
            self.told = tally.seconds
            self.console.print(line, highlight=False)
