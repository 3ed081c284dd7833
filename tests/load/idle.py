"""Ten thousand idle sessions on two workers: what each costs, and whether anybody has to wait.

    python -m tests.load.idle [--sessions 10000]

Each session is logged in to the blank target and has taken its unit attentions, as a mounted disk has.
Shown: memory of control and workers before and after, every NOP-Out answered within a second (all at once,
and at open-iscsi's pace of one in five seconds), and how long a newcomer's login takes meanwhile."""

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from scsipub.bench.wire import Session, Url
from tests.load.common import Findings, memory, name_of, place, wait_until
from tests.support.daemon import REPOSITORY, daemon

BYTES_EACH = 12 * 1024
ANSWER_SECONDS = 1.0
LOGIN_SECONDS = 0.1
PACE_SECONDS = 5.0  # open-iscsi's noop_out_interval


class Sleepers:
    """One client process full of sessions: idle ones, or those of another module."""

    def __init__(self, url: str, count: int, number: int, module: str = "tests.load.sleepers") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, url, str(count), str(number)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        if self.process.stdin:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def said(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise click.ClickException(f"a client process ended with {self.process.wait()}")
        return dict(json.loads(line))


def shares(count: int, parts: int) -> list[int]:
    """``count`` in so many nearly equal parts."""
    return [count // parts + (number < count % parts) for number in range(parts)]


@contextlib.contextmanager
def crowd(
    url: str, sessions: int, processes: int, module: str = "tests.load.sleepers", first: int = 0
) -> Iterator[list[Sleepers]]:
    """Sessions in several processes, numbered from ``first``; all closed at the end."""
    people = [
        Sleepers(url, share, first + number, module)
        for number, share in enumerate(shares(sessions, processes))
    ]
    try:
        yield people
    finally:
        for sleepers in people:
            sleepers.process.kill()
            sleepers.process.wait()


def login_seconds(url: str, number: int) -> float:
    """From connect to the end of login, as a newcomer sees it."""
    started = time.perf_counter()
    session = Session.open(
        Url.parse(url), f"iqn.1993-08.org.debian:01:new-{number}", isid=number, settle=False
    )
    took = time.perf_counter() - started
    session.close()
    return took


def ping(people: list[Sleepers], seconds: float) -> None:
    for sleepers in people:
        sleepers.tell(f"ping {seconds}")


def answers(people: list[Sleepers]) -> dict[str, float]:
    said = [sleepers.said() for sleepers in people]
    return {
        "answered": sum(one["answered"] for one in said),
        "slowest": max(one["slowest"] for one in said),
        "lost": sum(one["lost"] for one in said),
    }


def each_memory(pids: list[int]) -> dict[int, dict[str, int]]:
    return {pid: memory([pid]) for pid in pids}


def total(each: dict[int, dict[str, int]], kind: str) -> int:
    return sum(one[kind] for one in each.values())


def show(figures: dict[str, Any]) -> None:
    """Memory process by process, then everything that was measured.

    A page that several processes share counts for each in part (PSS), so the lines add up.  What a session
    costs is the growth over all sessions: a worker has only its share of them, control knows them all."""
    moments = ("pss_before", "pss_after", "pss_after_pings")
    processes = figures["processes"]
    everything = {"name": "together", "pid": ""} | {
        moment: sum(process[moment] for process in processes) for moment in moments
    }
    if processes:
        click.echo(
            f"{'memory (PSS)':20} {'empty':>10} {'logged in':>10} {'after pings':>12} {'grown a session':>16}"
        )
    for process in [*processes, everything] if processes else []:
        grown = max(process["pss_after"], process["pss_after_pings"]) - process["pss_before"]
        sizes = [f"{process[moment] / 2**20:.1f} MiB" for moment in moments]
        click.echo(
            f"{process['name']:12} {process['pid']:>7} {sizes[0]:>10} {sizes[1]:>10} {sizes[2]:>12} "
            f"{grown / max(1, figures['sessions']) / 1024:>12.2f} KiB"
        )
    for name, value in figures.items():
        if name != "processes":
            click.echo(f"{name:28} {value:,}")


@click.command(context_settings={"show_default": True})
@click.option("--sessions", default=10_000)
@click.option("--workers", default=2)
@click.option("--processes", default=4, help="Client processes.")
@click.option("--url", help="Measure this unit of a running target; memory is then not looked at.")
@click.option("--pid", "pids", multiple=True, type=int, help="With --url: processes whose memory counts.")
@click.option("--login-seconds", "patience", default=LOGIN_SECONDS, help="What a newcomer's login may take.")
@click.option("--bytes-each", default=BYTES_EACH, help="What a session may take of memory.")
@click.option("--state-dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
def main(
    sessions: int,
    workers: int,
    processes: int,
    url: str | None,
    pids: tuple[int, ...],
    patience: float,
    bytes_each: int,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """Ten thousand idle sessions."""
    found = Findings()
    with contextlib.ExitStack() as stack:
        measured = list(pids)
        if url is None:
            directory = stack.enter_context(place(state_dir))
            running = stack.enter_context(daemon(directory, "--workers", str(workers)))
            wait_until(lambda: running.pids["web"], 30)  # what it costs to start is no session's
            url, measured = f"iscsi://{running.iscsi}/{running.target('blank')}/0", running.all_pids
        for number in range(50):  # what is paid once is paid now
            login_seconds(url, 90_000 + number)
        alone = sorted(login_seconds(url, 80_000 + number) for number in range(50))
        time.sleep(1)
        names = {pid: name_of(pid) for pid in measured}
        before = each_memory(measured)

        started = time.monotonic()
        people = stack.enter_context(crowd(url, sessions, processes))
        up = sum(sleepers.said()["up"] for sleepers in people)
        login_rate = up / (time.monotonic() - started)
        after = each_memory(measured)
        ping(people, 0)
        burst = answers(people)
        time.sleep(1)  # the last answers are heard before the workers' last turns are over

        ping(people, PACE_SECONDS)
        meanwhile: list[float] = []
        deadline = time.monotonic() + PACE_SECONDS
        while time.monotonic() < deadline:
            meanwhile.append(login_seconds(url, 70_000 + len(meanwhile)))
            time.sleep(0.02)
        paced = answers(people)
        last = each_memory(measured)

    def grown(now: dict[int, dict[str, int]], kind: str) -> float:
        """Bytes a session, of all processes together."""
        return (total(now, kind) - total(before, kind)) / max(1, up)

    figures: dict[str, Any] = {
        "sessions": up,
        "logins_per_second": round(login_rate),
        "pss_before": total(before, "Pss"),
        "pss_after": total(after, "Pss"),
        "pss_bytes_each": round(grown(after, "Pss")),
        "rss_bytes_each": round(grown(after, "Rss")),
        "pss_bytes_each_after_pings": round(grown(last, "Pss")),
        "processes": [
            {
                "name": names[pid],
                "pid": pid,
                "pss_before": before[pid]["Pss"],
                "pss_after": after[pid]["Pss"],
                "pss_after_pings": last[pid]["Pss"],
            }
            for pid in measured
        ],
        "burst_slowest_seconds": round(burst["slowest"], 4),
        "paced_slowest_seconds": round(paced["slowest"], 4),
        "login_alone_median": round(statistics.median(alone), 5),
        "login_median": round(statistics.median(meanwhile), 5),
        "login_max": round(max(meanwhile), 5),
        "logins_meanwhile": len(meanwhile),
    }
    if as_json:
        click.echo(json.dumps(figures))
    else:
        show(figures)
    found.check(up == sessions, f"{up:,} of {sessions:,} sessions logged in, {login_rate:,.0f} a second")
    worst = max(figures["pss_bytes_each"], figures["pss_bytes_each_after_pings"])
    if measured:
        found.check(worst <= bytes_each, f"{worst / 1024:.1f} KiB each, at most {bytes_each // 1024}")
    for name, round_ in (("all at once", burst), (f"within {PACE_SECONDS:g} s", paced)):
        found.check(
            round_["answered"] == up and round_["slowest"] <= ANSWER_SECONDS and not round_["lost"],
            f"{round_['answered']:,} NOP-Outs {name} answered, slowest {round_['slowest'] * 1000:.0f} ms",
        )
    found.check(
        max(meanwhile) <= patience,
        f"{len(meanwhile)} logins meanwhile: median {figures['login_median'] * 1000:.1f} ms, "
        f"slowest {max(meanwhile) * 1000:.1f} ms",
    )
    found.end()


if __name__ == "__main__":
    main()
