"""The shape of failure: how login, pings, memory and CPU move from a hundred sessions to thirty thousand,
what sustained writes do, and what one bad initiator of each kind does to 200 busy sessions.

    python -m tests.load.shape [--sessions 100,1000,10000,20000,30000] [--json FILE] [--write]

One daemon, two workers.  Sessions come from many loopback addresses, from several client processes; 200 of
them are busy at each step.  ``--write`` replaces the measured parts of docs/speed.md and docs/limits.md, and
the plot."""

import contextlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import click

from scsipub.bench.client import run as bench
from scsipub.bench.job import Job
from scsipub.bench.wire import TargetError, Url
from tests.load import beside, written
from tests.load.busy import percentiles
from tests.load.common import Findings, cpu_seconds, memory, name_of, place, wait_until
from tests.load.idle import PACE_SECONDS, Sleepers, answers, crowd, login_seconds, ping, shares
from tests.load.pathological import KINDS
from tests.support.daemon import Daemon, daemon, start

KIB, MIB = 1 << 10, 1 << 20
STEPS = "100,1000,10000,20000,30000"
BYTES_EACH, LOGIN_SECONDS, ANSWER_SECONDS = 12 * KIB, 0.5, 1.0  # what is promised ...
PROMISED = 20_000  # ... up to so many sessions
IDLE_SECONDS = 3.0


def say(words: str) -> None:
    """Progress; not part of the result."""
    click.echo(f"  {time.strftime('%H:%M:%S')} {words}", err=True)


@attrs.define
class Ground:
    """A running daemon and what it was like when it was empty."""

    running: Daemon
    url: str
    pids: list[int]
    empty: dict[int, int]

    @classmethod
    def of(cls, running: Daemon) -> "Ground":
        wait_until(lambda: running.pids["web"], 30)
        url = f"iscsi://{running.iscsi}/{running.target('blank')}/0"
        for number in range(50):  # what is paid once is paid now
            login_seconds(url, 90_000 + number)
        time.sleep(1)
        pids = running.all_pids
        return cls(running, url, pids, {pid: memory([pid])["Pss"] for pid in pids})

    def grown(self) -> dict[str, int]:
        """Bytes since it was empty, by kind of process."""
        more: dict[str, int] = {}
        for pid in self.pids:
            name = name_of(pid)
            more[name] = more.get(name, 0) + memory([pid])["Pss"] - self.empty[pid]
        return more

    def cpu(self, seconds: float) -> float:
        """Share of one core, now."""
        before, began = cpu_seconds(self.pids), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(self.pids) - before) / (time.monotonic() - began)


def newcomers(url: str, seconds: float) -> list[float]:
    """Logins one after the other, with a short pause."""
    took, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            took.append(login_seconds(url, 70_000 + len(took)))
        except (OSError, TargetError):
            took.append(15.0)
        time.sleep(0.02)
    return took


def step(
    ground: Ground, people: list[Sleepers], crew: Sleepers, up: int, rate: float, seconds: float, pace: float
) -> dict[str, Any]:
    """One point of the curve: ``up`` sessions idle, then some of them busy."""
    time.sleep(1)
    grown = ground.grown()
    idle_cpu = ground.cpu(min(IDLE_SECONDS, seconds))
    ping(people, 0)
    burst = answers(people)
    grown = {name: max(size, ground.grown()[name]) for name, size in grown.items()}
    before, began = cpu_seconds(ground.pids), time.monotonic()
    ping(people, min(PACE_SECONDS, seconds))
    crew.tell(f"run {seconds} {pace}")
    logins = percentiles(took := newcomers(ground.url, seconds - 0.5))
    busy, paced = crew.said(), answers(people)
    return {
        "sessions": up,
        "logins_per_second": rate,
        "bytes_each": sum(grown.values()) / up,
        "grown": grown,
        "idle_cpu": idle_cpu,
        "busy_cpu": (cpu_seconds(ground.pids) - before) / (time.monotonic() - began),
        "login": logins,
        "logins": len(took),
        "burst": burst,
        "paced": paced,
        "busy": busy,
    }


def curve(
    steps: list[int], busy: int, pace: float, seconds: float, processes: int, found: Findings
) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place())
        running = start(directory, "--workers", "2")
        stack.callback(lambda: say(f"stopped in {running.stop(120):.1f} s"))
        ground = Ground.of(running)
        people = stack.enter_context(crowd(ground.url, 0, processes))
        for one in people:
            one.said()
        crews = stack.enter_context(contextlib.ExitStack())
        idle = working = 0
        for wanted in steps:
            say(f"{wanted:,} sessions: logging in")
            if working != (working := min(busy, max(1, wanted // 2))):  # the last step had room for fewer
                crews.close()
                [crew] = crews.enter_context(crowd(ground.url, working, 1, "tests.load.busy", first=50))
                working = crew.said()["up"]
            began, more = time.monotonic(), max(0, wanted - working - idle)
            for one, share in zip(people, shares(more, processes), strict=True):
                one.tell(f"more {share}")
            idle = sum(one.said()["up"] for one in people)
            up = idle + working
            rate = more / (time.monotonic() - began)
            say(f"{up:,} sessions: measuring")
            try:
                points.append(step(ground, people, crew, up, rate, seconds, pace))
            except (OSError, click.ClickException) as gave_up:
                found.check(False, f"{wanted:,} sessions: {gave_up}")
                break
            click.echo(point_line(points[-1]))
            judge(points[-1], wanted, found)
        log = ground.running.log_text()
        found.check("Traceback" not in log, "no traceback in the log")
    return points


def point_line(point: dict[str, Any]) -> str:
    return (
        f"{point['sessions']:>7,} sessions  {point['bytes_each'] / KIB:5.1f} KiB each  login p99 "
        f"{point['login']['p99'] * 1e3:6.1f} ms  slowest ping {point['paced']['slowest'] * 1e3:6.1f} ms "
        f"(all at once {point['burst']['slowest'] * 1e3:6.0f} ms)  busy {point['busy']['iops']:7,.0f} IOPS "
        f"p99 {point['busy']['p99'] * 1e3:6.1f} ms  "
        f"CPU idle {point['idle_cpu']:.0%} busy {point['busy_cpu']:.0%}"
    )


def judge(point: dict[str, Any], wanted: int, found: Findings) -> None:
    """What is promised, up to the number that it is promised for."""
    up = point["sessions"]
    lost = point["paced"]["lost"] + point["busy"]["lost"] + point["busy"]["unanswered"]
    found.check(up == wanted and not lost, f"{up:,} of {wanted:,} sessions, {lost} lost or unanswered")
    if up > PROMISED:
        return
    if up >= 10_000:  # before that the fixed costs of the processes blur it
        each = point["bytes_each"]
        found.check(each <= BYTES_EACH, f"{up:,}: {each / KIB:.1f} KiB each")
    p99 = point["login"]["p99"]
    found.check(p99 < LOGIN_SECONDS, f"{up:,}: p99 of {point['logins']} logins {p99 * 1e3:.0f} ms")
    slowest = point["paced"]["slowest"]
    found.check(slowest <= ANSWER_SECONDS, f"{up:,}: slowest answer to a NOP {slowest * 1e3:.0f} ms")


def sustained(seconds: float) -> list[dict[str, Any]]:
    """Sequential writes from more and more connections: rate over time, p99, memory, CPU."""
    rows = []
    for connections, size in ((1, 4 * KIB), (1, 128 * KIB), (8, 128 * KIB), (64, 128 * KIB)):
        with place() as directory, daemon(directory, "--workers", "2") as running:
            ground = Ground.of(running)
            say(f"{connections} connections write {size // KIB} KiB at a time for {seconds:g} s")
            depth = 32 if connections == 1 else 4
            job = Job(
                connections=connections, depth=depth, block_size=size, read_percent=0, seconds=seconds,
                sequential=True, span_bytes=32 * MIB,
            )  # fmt: skip
            before = cpu_seconds(ground.pids)
            report = bench(Url.parse(ground.url), job)
            cpu = cpu_seconds(ground.pids) - before
            said = report.as_json()
            rates = [rate for _, rate in report.rates] or [report.iops]
            rows.append(
                {
                    "connections": connections,
                    "block_size": size,
                    "depth": depth,
                    "iops": report.iops,
                    "mib_per_second": said["mib_per_second"],
                    "slowest_tenth": statistics.quantiles(rates, n=10)[0] if len(rates) > 1 else rates[0],
                    "p99": said["latency_us"]["p99"] / 1e6,
                    "cpu_us": cpu / max(1, report.operations_total) * 1e6,
                    "memory_more": sum(ground.grown().values()),
                }
            )
            row = rows[-1]
            click.echo(
                f"{connections:3} connections of depth {depth}, {size // KIB} KiB: "
                f"{row['mib_per_second']:,.0f} MiB/s (a tenth of the time below "
                f"{row['slowest_tenth'] * size / MIB:,.0f}), p99 {row['p99'] * 1e3:.1f} ms, "
                f"CPU {row['cpu_us']:.0f} µs an operation, memory +{row['memory_more'] / MIB:.0f} MiB"
            )
    return rows


@click.command(context_settings={"show_default": True})
@click.option("--sessions", default=STEPS, help="Steps of the curve.")
@click.option("--busy", default=200, help="Busy ones among them, and beside the bad ones.")
@click.option("--pace", default=10.0, help="Commands a second of each; 0: as fast as they are answered.")
@click.option("--seconds", default=10.0, help="Of each step, and of each sustained load.")
@click.option("--processes", default=4, help="Client processes of the idle ones.")
@click.option("--rounds", default=3, help="Of each bad initiator: alone and beside, in turns.")
@click.option("--only", type=click.Choice(["curve", "sustained", "beside"]))
@click.option("--json", "to_json", type=click.Path(path_type=Path), help="Keep the figures in this file.")
@click.option("--figures", type=click.Path(path_type=Path, exists=True), help="Measure nothing, write these.")
@click.option("--write", is_flag=True, help="Replace the measured parts of docs/speed.md and docs/limits.md.")
def main(
    sessions: str,
    busy: int,
    pace: float,
    seconds: float,
    processes: int,
    rounds: int,
    only: str | None,
    to_json: Path | None,
    figures: Path | None,
    write: bool,
) -> None:
    """From a hundred sessions to thirty thousand, and what gives first."""
    found = Findings()
    measured: dict[str, Any] = json.loads(figures.read_text()) if figures else {}
    if not figures:
        measured = {"how": written.how(), "busy": busy, "pace": pace}
        if only in (None, "curve"):
            steps = [int(number) for number in sessions.split(",")]
            measured["curve"] = curve(steps, busy, pace, seconds, processes, found)
        if only in (None, "sustained"):
            measured["sustained"] = sustained(seconds)
        if only in (None, "beside"):
            said, theirs = beside.run(
                busy, beside.PACE, min(seconds, 4.0), rounds, 2, list(KINDS), beside.RATIO
            )
            measured["beside"] = said
            found.failed += theirs.failed
    if to_json:
        to_json.write_text(json.dumps(measured, indent=1))
    click.echo(written.tables(measured))
    if write:
        written.write(measured)
    for what in found.failed:
        click.echo(f"FAILED {what}", err=True)
    sys.stdout.flush()
    found.end()


if __name__ == "__main__":
    main()
