"""Busy sessions, and one initiator of each bad kind beside them: how much longer do the others wait?

    python -m tests.load.beside [--sessions 200] [--pace 10] [--rounds 3] [--only "ping flood"]

The machine is everybody's, so alone and beside are measured in turns, and the median of the ratios counts.
Also shown: what the bad one managed to do, and how much memory the daemon had at most while it did."""

import contextlib
import json
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import click

from tests.load.common import Findings, cpu_seconds, memory, place, wait_until
from tests.load.idle import Sleepers, crowd
from tests.load.pathological import KINDS
from tests.support.daemon import REPOSITORY, Daemon, daemon

MIB = 1 << 20
RATIO = 2.0
PACE = 0.0  # commands a second of each; 0: as fast as they are answered
SETTLE_SECONDS = 1.5  # until the bad one is at it


class Peak:
    """The most memory that the daemon had while this lasted."""

    def __init__(self, running: Daemon) -> None:
        self.pids = running.all_pids
        self.bytes = self.before = memory(self.pids)["Pss"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.bytes = max(self.bytes, memory(self.pids)["Pss"])

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stop.set()
        self._thread.join()


@contextlib.contextmanager
def mischief(running: Daemon, kind: str) -> Iterator[Any]:
    """It goes on in here.  Yields a function that ends it and says what it came to."""
    words = [sys.executable, "-m", "tests.load.pathological", kind, running.iscsi, running.target("blank")]
    process = subprocess.Popen(
        words, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def stop() -> dict[str, Any]:
        out, _ = process.communicate("", timeout=60)
        return dict(json.loads(out))

    try:
        yield stop
    finally:
        process.kill()
        process.communicate()


def work(crew: Sleepers, seconds: float, pace: float) -> dict[str, Any]:
    crew.tell(f"run {seconds} {pace}")
    return crew.said()


def measure(running: Daemon, crew: Sleepers, kind: str, seconds: float, pace: float, rounds: int) -> Any:
    """The others' p99 alone and beside one of this kind, in turns."""
    alone: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    told: dict[str, int] = {}
    did = 0
    with Peak(running) as peak:
        for _ in range(rounds):
            alone.append(work(crew, seconds, pace))
            with mischief(running, kind) as stop:
                work(crew, SETTLE_SECONDS, pace)
                before = cpu_seconds(running.all_pids)
                beside.append(work(crew, seconds, pace))
                cpu = (cpu_seconds(running.all_pids) - before) / seconds
                said = stop()
            did += said["rounds"]
            told = {name: told.get(name, 0) + n for name, n in said["told"].items()}
    ratios = [b["p99"] / max(a["p99"], 1e-6) for a, b in zip(alone, beside, strict=True)]
    return {
        "kind": kind,
        "alone_p99": statistics.median(one["p99"] for one in alone),
        "beside_p99": statistics.median(one["p99"] for one in beside),
        "beside_longest": max(one["longest"] for one in beside),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "cpu": cpu,
        "memory_more": peak.bytes - peak.before,
        "rounds": did,
        "told": told,
        "lost": max(one["lost"] for one in beside),
        "unanswered": max(one["unanswered"] for one in beside),
    }


def line(said: dict[str, Any]) -> str:
    alone, beside, longest = (said[name] * 1e3 for name in ("alone_p99", "beside_p99", "beside_longest"))
    return (
        f"{said['kind']:24} p99 alone {alone:7.2f} ms, beside {beside:7.2f} ms = {said['ratio']:.2f}, "
        f"longest {longest:6.1f} ms, CPU {said['cpu']:.0%}, memory +{said['memory_more'] / MIB:.0f} MiB; "
        f"{said['rounds']} rounds {said['told']}"
    )


def run(
    sessions: int, pace: float, seconds: float, rounds: int, workers: int, kinds: list[str], ratio: float
) -> tuple[list[dict[str, Any]], Findings]:
    found, all_said = Findings(), []
    with place() as directory, daemon(directory, "--workers", str(workers)) as running:
        url = f"iscsi://{running.iscsi}/{running.target('blank')}/0"
        wait_until(lambda: running.pids["web"], 30)
        with crowd(url, sessions, 1, module="tests.load.busy") as [crew]:
            crew.said()
            work(crew, 2.0, pace)  # what is paid once is paid now: overlays are made
            for kind in kinds:
                said = measure(running, crew, kind, seconds, pace, rounds)
                all_said.append(said)
                click.echo(line(said))
                found.check(said["rounds"] > 0, f"{kind}: something was done")
                found.check(
                    not said["lost"] and not said["unanswered"],
                    f"{kind}: no other session lost, no command unanswered",
                )
                found.check(said["ratio"] < ratio, f"{kind}: the others' p99 is {said['ratio']:.2f} of alone")
        status = running.status()
        found.check(not status["counters"].get("crashes", 0), "no session crashed")
        found.check("Traceback" not in running.log_text(), "no traceback in the log")
    return all_said, found


@click.command(context_settings={"show_default": True})
@click.option("--sessions", default=200, help="Busy ones.")
@click.option("--pace", default=PACE, help="Commands a second of each; 0: as fast as they are answered.")
@click.option("--seconds", default=4.0, help="Of each measurement.")
@click.option("--rounds", default=3, help="Alone and beside, in turns.")
@click.option("--workers", default=2)
@click.option("--ratio", default=RATIO, help="What the others may wait, against alone.")
@click.option("--only", "kinds", multiple=True, type=click.Choice(list(KINDS)))
@click.option("--json", "as_json", is_flag=True)
def main(
    sessions: int,
    pace: float,
    seconds: float,
    rounds: int,
    workers: int,
    ratio: float,
    kinds: tuple[str, ...],
    as_json: bool,
) -> None:
    """One bad initiator of each kind beside busy sessions."""
    said, found = run(sessions, pace, seconds, rounds, workers, list(kinds) or list(KINDS), ratio)
    if as_json:
        click.echo(json.dumps(said))
    found.end()


if __name__ == "__main__":
    main()
