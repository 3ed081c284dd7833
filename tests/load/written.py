"""What the shape of failure came to, in words: tables, plot, and their places in the documents.

Knows no daemon and no client."""

import math
import os
import time
from pathlib import Path
from typing import Any

from tests.bench.report import layout, machine
from tests.support.daemon import REPOSITORY

KIB, MIB = 1 << 10, 1 << 20
MANY = 1000  # sessions, from which on what each costs can be told
SPEED, LIMITS = REPOSITORY / "docs" / "speed.md", REPOSITORY / "docs" / "limits.md"
PLOT = REPOSITORY / "docs" / "img" / "load.png"
BEGIN, END = "<!-- load: begin -->", "<!-- load: end -->"
BLUE, ORANGE, GREY = "#2a6fbb", "#d97a2b", "#b8b8b8"


def how() -> str:
    return (
        f"{time.strftime('%Y-%m-%d')} on {machine()}, load average {os.getloadavg()[0]:.1f} before it began"
    )


def kib_each(point: dict[str, Any], size: float) -> str:
    """Of so many bytes; of few sessions, what the processes do by themselves says more."""
    return f"{size / point['sessions'] / KIB:.1f}" if point["sessions"] >= MANY else "-"


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}" if seconds < 0.0995 else f"{seconds * 1e3:,.0f}"


def curve_table(points: list[dict[str, Any]]) -> str:
    heads = ["sessions", "", "KiB each", "login p99 ms", "slowest ping ms", "all pinged at once ms"]
    heads += ["busy IOPS", "busy p99 ms", "CPU idle", "CPU busy"]
    cells = [heads]
    for point in points:
        each = kib_each(point, sum(point["grown"].values()))
        row = [f"{point['sessions']:,}", "", each, ms(point["login"]["p99"])]
        row += [ms(point["paced"]["slowest"]), ms(point["burst"]["slowest"])]
        row += [f"{point['busy']['iops']:,.0f}", ms(point["busy"]["p99"])]
        cells.append([*row, f"{point['idle_cpu']:.0%}", f"{point['busy_cpu']:.0%}"])
    return layout([[row[0], *row[2:]] for row in cells], names=1)


def memory_table(points: list[dict[str, Any]]) -> str:
    """Where the memory of a session is."""
    names = sorted({name for point in points for name in point["grown"]})
    cells = [["sessions", "together", *(f"{name}" for name in names)]]
    for point in points:
        of_each = [point["grown"].get(name, 0) for name in names]
        each = [kib_each(point, size) for size in (sum(of_each), *of_each)]
        cells.append([f"{point['sessions']:,}", *each])
    return layout(cells, names=1)


def sustained_table(rows: list[dict[str, Any]]) -> str:
    cells = [["sustained writes", "MiB/s", "slowest tenth", "p99 ms", "CPU µs", "memory MiB"]]
    for row in rows:
        size = row["block_size"]
        name = f"{size // KIB} KiB, {row['connections']} × depth {row['depth']}"
        slowest = row["slowest_tenth"] * size / MIB
        line = [name, f"{row['mib_per_second']:,.0f}", f"{slowest:,.0f}", ms(row["p99"])]
        cells.append([*line, f"{row['cpu_us']:.0f}", f"+{row['memory_more'] / MIB:.0f}"])
    return layout(cells, names=1)


def beside_table(rows: list[dict[str, Any]]) -> str:
    cells = [["one initiator that …", "p99 alone ms", "beside ms", "ratio", "CPU", "memory MiB"]]
    for row in rows:
        line = [row["kind"], ms(row["alone_p99"]), ms(row["beside_p99"]), f"{row['ratio']:.2f}"]
        cells.append([*line, f"{row['cpu']:.0%}", f"+{row['memory_more'] / MIB:.0f}"])
    return layout(cells, names=1)


def tables(measured: dict[str, Any]) -> str:
    parts = []
    if points := measured.get("curve"):
        parts.append(curve_table(points))
    if rows := measured.get("sustained"):
        parts.append(sustained_table(rows))
    if rows := measured.get("beside"):
        busy = f"{measured['busy']} busy sessions, each as fast as it is answered"
        parts += [f"The others: {busy}.", beside_table(rows)]
    return "\n\n".join(parts)


def write(measured: dict[str, Any]) -> None:
    """Replaces the measured parts of the documents, and the plot."""
    replace(SPEED, f"Measured {measured['how']}.\n\n{tables(measured)}")
    if points := measured.get("curve"):
        replace(
            LIMITS,
            f"Measured {measured['how']}; KiB a session, by process.\n\n{memory_table(points)}",
        )
        plot(PLOT, points, measured.get("beside", []))


def replace(page: Path, what: str) -> None:
    """What stands between the two marks; the words around it are a person's."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n{what}\n{END}{after}")


def plot(path: Path, points: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Four pictures over the number of sessions, and the ratios of who has a bad neighbour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
    up = [point["sessions"] for point in points]

    def draw(
        place: tuple[int, int], title: str, *lines: tuple[str, list[float], str], log: bool = True
    ) -> None:
        axis = axes[place]
        for name, values, colour in lines:
            axis.plot(up, values, marker="o", color=colour, label=name)
        axis.set_xscale("log")
        if log:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("sessions", fontsize=8)
        if len(lines) > 1:
            axis.legend(fontsize=8, frameon=False)

    def of(*path: str, scale: float = 1.0) -> list[float]:
        values = []
        for point in points:
            value: Any = point
            for name in path:
                value = value[name]
            values.append(value * scale)
        return values

    memory = [point["bytes_each"] / KIB if point["sessions"] >= MANY else math.nan for point in points]
    draw((0, 0), "memory a session, KiB", ("", memory, BLUE), log=False)
    draw(
        (0, 1),
        "a newcomer's login, ms",
        ("median", of("login", "median", scale=1e3), GREY),
        ("p99", of("login", "p99", scale=1e3), BLUE),
    )
    draw(
        (0, 2),
        "slowest answer to a ping, ms",
        ("one in 5 s", of("paced", "slowest", scale=1e3), BLUE),
        ("all at once", of("burst", "slowest", scale=1e3), ORANGE),
    )
    draw(
        (1, 0),
        "CPU, cores",
        ("idle", of("idle_cpu"), GREY),
        ("some busy, all pinging", of("busy_cpu"), BLUE),
        log=False,
    )
    draw((1, 1), "p99 of the busy ones, ms", ("", of("busy", "p99", scale=1e3), BLUE))
    axis = axes[1, 2]
    names = [row["kind"] for row in others]
    axis.barh(range(len(names)), [row["ratio"] for row in others], color=BLUE, height=0.6)
    axis.axvline(1, color=GREY, linewidth=1)
    axis.axvline(2, color=ORANGE, linewidth=1)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.invert_yaxis()
    axis.set_title("p99 of the others, times alone", fontsize=10, loc="left")
    for axis in axes.flat:
        axis.grid(color="#e4e4e4")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
