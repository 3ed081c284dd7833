"""``scsipub bench``: how fast a target is, ours or another.

Thin: ``scsipub.bench`` measures.  Knows how to show it, and to ask before a disk is written to."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from scsipub.bench.client import run
from scsipub.bench.job import Digests, Job, Report
from scsipub.bench.plot import draw
from scsipub.bench.wire import TargetError, Url
from scsipub.cli.options import failures_in_plain_words
from scsipub.cli.show import console, error_console, harmless, show_json, show_table
from scsipub.errors import OperatorError

SECRET = "SCSIPUB_CHAP_SECRET"
SWEEP = (1, 2, 4, 8, 16, 32, 64, 128)
_JOB = Job()


@click.command(context_settings={"show_default": True})
@click.argument("url")
@click.option("--depth", default=_JOB.depth, type=click.IntRange(1, 4096), help="Commands in flight, each.")
@click.option("--sweep", is_flag=True, help=f"One measurement for each depth of {SWEEP}.")
@click.option("--block-size", default=_JOB.block_size, type=click.IntRange(512, 1 << 24), help="Bytes.")
@click.option(
    "--read", "read_percent", default=100, type=click.IntRange(0, 100), help="Percent; rest writes."
)
@click.option("--sequential", is_flag=True, help="Block after block instead of at random.")
@click.option("--seconds", default=_JOB.seconds, type=click.FloatRange(0.1), help="Of each measurement.")
@click.option("--sessions", "connections", default=1, type=click.IntRange(1, 1000))
@click.option("--span", "span_bytes", default=0, type=click.IntRange(0), help="Use so many bytes; 0: all.")
@click.option("--digests", type=click.Choice([mode.value for mode in Digests]), default="none")
@click.option("--initiator", default=_JOB.initiator, help="The name to log in with.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw it (png, svg, pdf).")
@click.option("--yes", is_flag=True, help="Do not ask before writing to the disk.")
@click.option("--json", "as_json", is_flag=True)
def bench(url: str, sweep: bool, plot: Path | None, yes: bool, as_json: bool, **job: Any) -> None:
    """Measures the logical unit at URL: iscsi://[USER@]HOST[:PORT]/TARGET/LUN.

    The secret of USER comes from $SCSIPUB_CHAP_SECRET, or is asked for; as in other tools USER%SECRET works
    too, but everybody on the machine can see that.  Reads only, unless --read says less than 100."""
    with failures_in_plain_words(as_json):
        _bench(url, sweep, plot, yes, as_json, job)


def _bench(url: str, sweep: bool, plot: Path | None, yes: bool, as_json: bool, job: dict[str, Any]) -> None:
    if job["read_percent"] < 100 and not yes:
        click.confirm("This overwrites what is on the disk.  Go on?", abort=True, err=True)
    try:
        where = Url.parse(url)
    except ValueError as error:
        raise OperatorError(f"{harmless(str(error))}.") from None
    try:
        if where.user and not where.secret:
            secret = os.environ.get(SECRET) or click.prompt("CHAP secret", hide_input=True, err=True)
            where = attrs.evolve(where, secret=secret)
        jobs = [Job(**job | {"depth": depth}) for depth in (SWEEP if sweep else (job["depth"],))]
        reports = list(_measure(where, jobs))
    except OSError as error:
        why = error.strerror or error
        raise OperatorError(f"{where.host}:{where.port}: {why}.", "Is a target listening there?") from None
    except (ValueError, TargetError) as error:
        raise OperatorError(harmless(str(error)), "See scsipub bench --help.") from None
    if plot is not None:
        draw(reports, harmless(f"{where.host}:{where.port}/{where.target}/{where.lun}"), plot)
    if as_json:
        show_json([report.as_json() for report in reports] if sweep else reports[0].as_json())
        return
    _show(reports)
    if plot is not None:
        console().print(f"drawn: {plot}")


def _measure(where: Url, jobs: list[Job]) -> Iterator[Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=error_console(), transient=True) as bars:
        for job in jobs:
            whole = job.ramp_seconds + job.seconds
            bar = bars.add_task(f"depth {job.depth}", total=whole, rate="")

            def watch(seconds: float, rate: float, bar: Any = bar) -> None:
                bars.update(bar, completed=seconds, rate=f"{rate:,.0f}/s")

            yield run(where, job, watch)
            bars.update(bar, completed=whole)


def _show(reports: list[Report]) -> None:
    job = reports[0].job
    kind = "sequential" if job.sequential else "random"
    mix = {100: "reads", 0: "writes"}.get(job.read_percent, f"{job.read_percent} % reads")
    most = max(report.iops for report in reports)
    show_table(
        f"{job.block_size} bytes, {kind}, {mix}, {job.connections} session(s)",
        ("depth#", "operations/s#", "MiB/s#", "p50 µs#", "p90#", "p99#", "p99.9#", "max#", ""),
        [
            (
                report.job.depth,
                f"{report.iops:,.0f}",
                f"{report.iops * job.block_size / 2**20:,.1f}",
                *(f"{value:,}" for value in report.latency.summary().values()),
                "█" * max(1, round(24 * report.iops / most)),
            )
            for report in reports
        ],
        empty="Nothing was measured.",
    )
