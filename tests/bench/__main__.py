"""``make bench``: this daemon and Debian's tgt side by side on the same image, run after run in turn.

    python -m tests.bench --seconds 2 --runs 1 --only 4k-rand-read-qd32     a quick look
    python -m tests.bench --write                                          docs/speed.md and its plot

For each run and row both servers are measured one after the other, beginning with the other one each time, so
that a slow minute of the machine hits both.  A row with digests follows its row without, and is measured
against it too.  CPU time is that of all serving processes, from /proc."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import click

from tests.bench import report, servers, tools
from tests.bench.rows import ROWS, Row
from tests.support.daemon import REPOSITORY


def measure(server: servers.Server, client: str, row: Row, run: int, seconds: float) -> report.Sample | None:
    before = server.cpu_seconds()
    outcome = tools.CLIENTS[client](server.url, row, seconds)
    if outcome is None:
        return None
    spent = server.cpu_seconds() - before
    cpu_us = spent * 1e6 / max(1, outcome.operations)
    return report.Sample(
        row.key, client, server.name, run, outcome.iops, cpu_us, outcome.latency, outcome.client_cpu
    )


def measure_all(
    up: list[servers.Server], rows: list[Row], clients: list[str], runs: int, seconds: float
) -> Iterator[report.Sample]:
    for run in range(runs):
        for row in rows if run % 2 == 0 else rows[::-1]:
            for client in clients:
                for server in up if run % 2 == 0 else up[::-1]:
                    try:
                        sample = measure(server, client, row, run, seconds)
                    except tools.ClientFailed as failed:
                        click.echo(f"{row.key} {client} {server.name}: FAILED {failed}", err=True)
                        continue
                    if sample:
                        click.echo(
                            f"run {run + 1}/{runs} {row.key:24} {client:15} {server.name:8} "
                            f"{sample.iops:10,.0f} IOPS {sample.cpu_us:8.1f} µs CPU",
                            err=True,
                        )
                        yield sample


@click.command(context_settings={"show_default": True})
@click.option("--seconds", default=5.0, help="Length of one run.")
@click.option("--runs", default=5)
@click.option("--only", multiple=True, help="Part of a row's or a client's name; may be repeated.")
@click.option("--peer-only", is_flag=True, help="Measure tgt alone.")
@click.option("--ours-only", is_flag=True, help="Measure this daemon alone.")
@click.option("--mebibytes", default=256, help="Size of the image; it stays in the page cache.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where images and state go: a real disk.")
@click.option("--serve", "serve_args", multiple=True, help="An argument for scsipub serve; may be repeated.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every run to this file.")
@click.option("--write", is_flag=True, help="Write docs/speed.md's table and docs/img/speed.png.")
@click.option("--check", is_flag=True, help="End with 1 when a goal was missed.")
def main(
    seconds: float,
    runs: int,
    only: tuple[str, ...],
    peer_only: bool,
    ours_only: bool,
    mebibytes: int,
    directory: Path | None,
    serve_args: tuple[str, ...],
    json_file: Path | None,
    write: bool,
    check: bool,
) -> None:
    """Measures both servers and prints a table."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no server is left behind
    for program, package in tools.NEEDED.items():
        if not shutil.which(program):
            raise click.ClickException(f"{program} is missing: apt-get install {package}")
    named_rows = [row for row in ROWS if any(word in row.key for word in only)]
    named_clients = [client for client in tools.CLIENTS if any(word in client for word in only)]
    rows, clients = named_rows or ROWS, named_clients or list(tools.CLIENTS)
    if only and not named_rows and not named_clients:
        raise click.ClickException(
            f"rows: {', '.join(row.key for row in ROWS)}; clients: {', '.join(clients)}"
        )

    # Not /tmp, which may be memory: images belong on the kind of disk that serves them in earnest.
    with (
        tempfile.TemporaryDirectory(dir=directory or "/var/tmp", prefix="scsipub-bench-") as place,
        contextlib.ExitStack() as stack,
    ):
        image = Path(place) / "bench.img"
        servers.make_image(image, mebibytes)
        up = []
        load = os.getloadavg()[0]
        if not peer_only:
            up.append(stack.enter_context(servers.scsipub(Path(place), image, *serve_args)))
        if not ours_only:
            up.append(stack.enter_context(servers.tgt(Path(place), image)))
        samples = list(measure_all(up, rows, clients, runs, seconds))
        # Written while the servers still run: one that is slow to end must not cost the measurements.
        lines = report.summarise(samples)
        click.echo(report.tables(lines))
        how = (
            f"medians of {runs} alternating runs of {seconds:g} s, one connection, image of {mebibytes} MiB, "
            f"load average {load:.1f} before it began"
        )
        if json_file:
            options = {
                "seconds": seconds,
                "runs": runs,
                "mebibytes": mebibytes,
                "serve": serve_args,
                "load": load,
            }
            json_file.write_text(report.as_json(samples, options))
        if write:
            docs = REPOSITORY / "docs"
            report.write_page(docs / "speed.md", lines, how)
            report.write_plot(docs / "img" / "speed.png", lines)
    missed = [attrs.asdict(line.row)["name"] for line in lines if line.missed]
    if missed:
        click.echo(f"missed: {'; '.join(missed)}", err=True)
    if check and missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
