"""What the runs came to: medians, ratios, the table, the plot.  Knows no servers and no clients."""

import json
import platform
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from tests.bench.rows import ROWS, Row

OURS, PEER = "scsipub", "tgt"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@attrs.frozen
class Sample:
    """One run of one client against one server."""

    row: str
    client: str
    server: str
    run: int
    iops: float
    cpu_us: float  # of the serving processes, an operation
    latency: dict[str, int]
    client_cpu_us: float


@attrs.frozen
class Line:
    """One line of the table: medians of both servers."""

    row: Row
    client: str
    iops: dict[str, float]
    cpu_us: dict[str, float]
    p99: dict[str, float]
    ratio: float | None  # of the medians
    spread: tuple[float, float] | None  # of the ratios of neighbouring runs
    kept: dict[str, list[float]] = attrs.Factory(dict)  # with digests over without, run by run and server

    @property
    def missed(self) -> bool:
        if self.client != "scsipub.bench":
            return False
        slow = self.ratio is not None and self.ratio < self.row.goal
        return slow or (bool(self.kept.get(OURS)) and statistics.median(self.kept[OURS]) < self.row.keeps)


def summarise(samples: Iterable[Sample]) -> list[Line]:
    groups: dict[tuple[str, str], dict[str, list[Sample]]] = {}
    for sample in samples:
        groups.setdefault((sample.row, sample.client), {}).setdefault(sample.server, []).append(sample)
    lines = []
    for row in ROWS:
        for (key, client), servers in groups.items():
            if key != row.key:
                continue
            iops = {name: statistics.median(s.iops for s in runs) for name, runs in servers.items()}
            cpu = {name: statistics.median(s.cpu_us for s in runs) for name, runs in servers.items()}
            p99 = {
                name: statistics.median(s.latency["p99"] for s in runs)
                for name, runs in servers.items()
                if all(s.latency for s in runs)
            }
            ratio, spread = None, None
            if {OURS, PEER} <= iops.keys():
                ratio = iops[OURS] / iops[PEER]
                ratios = _pairwise(servers[OURS], servers[PEER])
                spread = (min(ratios), max(ratios)) if ratios else None
            plain = groups.get((row.plain_key, client), {}) if row.digests else {}
            kept = {name: _pairwise(runs, plain[name]) for name, runs in servers.items() if name in plain}
            lines.append(Line(row, client, iops, cpu, p99, ratio, spread, kept))
    return lines


def _pairwise(runs: list[Sample], others: list[Sample]) -> list[float]:
    """IOPS of each run over those of the other row in the same run."""
    by_run = {sample.run: sample.iops for sample in others}
    return [sample.iops / by_run[sample.run] for sample in runs if sample.run in by_run]


def _cell(values: dict[str, float], name: str, form: str) -> str:
    return format(values[name], form) if name in values else "–"


def table(lines: list[Line]) -> str:
    """Markdown, aligned so that it also reads well in a terminal."""
    heads = ["load", "client", "scsipub IOPS", "tgt IOPS", "ratio", "of single runs"]
    heads += ["scsipub CPU µs", "tgt CPU µs", "scsipub p99 µs", "tgt p99 µs"]
    cells = [heads]
    for line in lines:
        ratio = "–" if line.ratio is None else f"{line.ratio:.2f}"
        if line.row.goal and line.client == "scsipub.bench" and line.ratio is not None:
            ratio += f" ({'missed' if line.missed else 'goal'} {line.row.goal})"
        spread = "–" if line.spread is None else f"{line.spread[0]:.2f} to {line.spread[1]:.2f}"
        row = [line.row.name, line.client]
        row += [_cell(line.iops, "scsipub", ",.0f"), _cell(line.iops, "tgt", ",.0f"), ratio, spread]
        row += [_cell(line.cpu_us, "scsipub", ".1f"), _cell(line.cpu_us, "tgt", ".1f")]
        row += [_cell(line.p99, "scsipub", ",.0f"), _cell(line.p99, "tgt", ",.0f")]
        cells.append(row)
    return layout(cells)


def kept_table(lines: list[Line]) -> str:
    """How much of its own speed each server keeps with digests; empty when that was not measured."""
    heads = ["load", "server", "kept with both digests", "of single runs", "CPU µs without", "with"]
    cells = [heads]
    cpu = {(line.row.key, line.client): line.cpu_us for line in lines}
    for line in lines:
        without = cpu.get((line.row.plain_key, line.client), {})
        for name, ratios in line.kept.items():
            kept = f"{statistics.median(ratios):.2f}" if ratios else "–"
            if name == OURS and line.row.keeps and ratios:
                kept += f" ({'missed' if line.missed else 'goal'} {line.row.keeps})"
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "–"
            row = [line.row.name.removesuffix(", both digests"), name, kept, spread]
            cells.append([*row, _cell(without, name, ".1f"), _cell(line.cpu_us, name, ".1f")])
    return layout(cells) if len(cells) > 1 else ""


def tables(lines: list[Line]) -> str:
    """Everything there is to print."""
    return "\n\n".join(part for part in (table(lines), kept_table(lines)) if part)


def layout(cells: list[list[str]], names: int = 2) -> str:
    """Markdown of a row of heads and the rows below them; the first ``names`` columns are names."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    # Names to the left, numbers to the right.
    rows = [
        "| "
        + " | ".join(
            cell.ljust(width) if column < names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in cells
    ]
    rule = (
        "|"
        + "|".join("-" * (w + 2) if n < names else "-" * (w + 1) + ":" for n, w in enumerate(widths))
        + "|"
    )
    return "\n".join([rows[0], rule, *rows[1:]])


def machine() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = sum(line.startswith("processor") for line in Path("/proc/cpuinfo").read_text().splitlines())
    return f"{cores} cores ({model}), Linux {platform.release()}, Python {platform.python_version()}"


def as_json(samples: list[Sample], options: dict[str, Any]) -> str:
    return json.dumps(
        {
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": machine(),
            "options": options,
            "samples": [attrs.asdict(sample) for sample in samples],
        },
        indent=1,
    )


def write_page(page: Path, lines: list[Line], how: str) -> None:
    """Replaces what stands between the two marks; the words around it are a person's."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    measured = (
        f"{BEGIN}\nMeasured {time.strftime('%Y-%m-%d')} on {machine()}; {how}.\n\n{tables(lines)}\n{END}"
    )
    page.write_text(before + measured + after)


def write_plot(path: Path, lines: list[Line]) -> None:
    """Our own client's rows, both sides as multiples of tgt; the figures themselves stand beside the bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = [line for line in lines if line.client == "scsipub.bench" and line.ratio is not None]
    figure, axes = pyplot.subplots(
        1, 2, figsize=(11, 0.9 + 0.68 * max(1, len(drawn))), layout="constrained", sharey=True
    )
    titles = (
        "Operations a second, times tgt: more is better",
        "CPU time an operation, times tgt: less is better",
    )
    for axis, title in zip(axes, titles, strict=True):
        for offset, server, colour in ((-0.19, OURS, "#2a6fbb"), (0.19, PEER, "#b8b8b8")):
            places = [number + offset for number in range(len(drawn))]
            if axis is axes[0]:
                values = [line.iops[server] / line.iops[PEER] for line in drawn]
                words = [_thousands(line.iops[server]) for line in drawn]
            else:
                values = [line.cpu_us[server] / max(line.cpu_us[PEER], 0.01) for line in drawn]
                words = [
                    f"{line.cpu_us[server]:.{0 if line.cpu_us[server] >= 20 else 1}f} µs" for line in drawn
                ]
            bars = axis.barh(places, values, height=0.36, label=server, color=colour, zorder=2)
            axis.bar_label(bars, words, padding=4, fontsize=8)
        axis.set_title(title, fontsize=10, loc="left")
        axis.margins(x=0.16)
        axis.grid(axis="x", color="#e4e4e4", zorder=0)
        axis.tick_params(axis="x", labelsize=8)
        axis.tick_params(axis="y", length=0)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    goals = [(number, line.row.goal) for number, line in enumerate(drawn) if line.row.goal]
    if goals:
        numbers, marks = zip(*goals, strict=True)
        tops, ends = [number - 0.42 for number in numbers], [number + 0.04 for number in numbers]
        axes[0].vlines(marks, tops, ends, color="#111111", linewidth=2, label="goal", zorder=3)
    axes[0].set_yticks(range(len(drawn)), [_in_two_lines(line.row.name) for line in drawn], fontsize=8)
    axes[0].invert_yaxis()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _thousands(value: float) -> str:
    return f"{value / 1000:.{0 if value >= 100_000 else 1}f}k"


def _in_two_lines(name: str) -> str:
    first, _, rest = name.partition(", ")
    return f"{first},\n{rest}" if rest else first
