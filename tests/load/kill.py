"""Processes are killed and stopped under load, and nobody loses what was acknowledged.

    python -m tests.load.kill

Four verifying clients on two workers.  One worker is killed: the sessions of the other see nothing, a new
one serves within two seconds, whoever comes back within the grace finds all that was acknowledged, and what
nobody came back for is gone after the grace.  One worker is stopped: noticed and replaced.  Control is
killed: everything ends, and the next start is clean."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import click

from tests.load.common import Findings, Witness, alive, place, wait_until
from tests.support.daemon import Daemon, daemon, start
from tests.support.initiator import Initiator

GRACE_SECONDS = 6
NEW_WORKER_SECONDS = 2.0
STOPPED_SECONDS = 15.0
CHILDREN_SECONDS = 5.0
WITNESSES = 4


def sessions_of(running: Daemon) -> dict[str, int]:
    """Initiator name -> index of the worker that serves it."""
    return {one["initiator"]: one["worker"] for one in running.ask("session.list")}


def worker_pids(running: Daemon) -> dict[int, int]:
    """Index -> pid of the workers that serve."""
    return {one["index"]: one["pid"] for one in running.ask("status")["workers"] if one["state"] == "ready"}


def overlays(running: Daemon) -> list[str]:
    return sorted(file.name for file in (running.state_dir / "overlays").rglob("*.*"))


def serves(running: Daemon) -> bool:
    """Whether a newcomer can mount a disk now."""
    with Initiator(running.iscsi, name="iqn.1993-08.org.debian:01:newcomer", timeout=2) as newcomer:
        newcomer.login(running.target("blank")).settle()
        newcomer.read(0, 8)
        newcomer.logout()
    return True


def begin(running: Daemon, seconds: float, prefix: str, *more: str) -> list[Witness]:
    """Witnesses under way, once control knows them all."""
    blank = running.target("blank")
    witnesses = [
        Witness(
            running.iscsi, blank, f"{prefix}-{number}", seconds, "--zeros", "--seed", str(number + 1), *more
        )
        for number in range(WITNESSES)
    ]
    wait_until(lambda: {one.name for one in witnesses} <= sessions_of(running).keys(), 10)
    time.sleep(0.5)
    return witnesses


def strike(running: Daemon, found: Findings, number: int, limit: float, prefix: str) -> None:
    """Sends a signal to one worker under load and looks at everybody."""
    witnesses = begin(running, limit + 8, prefix, "--reconnect", "25")
    # One more that will not come back: its overlay must go.
    leaver = Witness(running.iscsi, running.target("blank"), f"{prefix}-leaver", 60, "--zeros")
    wait_until(lambda: leaver.name in sessions_of(running), 10)
    where, before = sessions_of(running), worker_pids(running)
    found.check(
        len({where.get(one.name) for one in witnesses}) == 2, f"sessions lie on both workers: {where}"
    )
    victim = where[leaver.name]
    word = signal.Signals(number).name
    os.kill(before[victim], number)

    def replaced() -> bool:
        return worker_pids(running).get(victim, before[victim]) != before[victim]

    took = wait_until(replaced, limit + 5)
    found.check(took is not None and took <= limit, f"{word}: replaced within {limit:g} s: {took}")
    took = wait_until(lambda: serves(running), 5)
    found.check(took is not None and took <= limit, f"{word}: a newcomer is served {took} s after that")
    leaver.process.kill()
    leaver.process.wait()
    for one in witnesses:
        saw: dict[str, Any] = one.report(limit + 60)
        told = f"{saw['operations']:,} operations, reconnects {saw['reconnects']} {saw['error']}"
        if where.get(one.name) == victim:
            held = not saw["error"] and len(saw["reconnects"]) == 1
            found.check(held, f"{word}: a session of the lost worker came back to its data: {told}")
        else:
            held = not saw["error"] and not saw["reconnects"]
            found.check(held, f"{word}: a session of the other worker saw nothing: {told}")


@click.command(context_settings={"show_default": True})
@click.option("--state-dir", type=click.Path(path_type=Path))
@click.option("--seconds", default=2.0, help="How long everything runs before control is killed.")
def main(state_dir: Path | None, seconds: float) -> None:
    """kill -9 and -STOP of workers, kill -9 of control."""
    found = Findings()
    with place(state_dir) as directory:
        settings = directory / "scsipub.toml"
        directory.mkdir(parents=True, exist_ok=True)
        settings.write_text(f"[limits]\ngrace_seconds = {GRACE_SECONDS}\n")
        options = ("--workers", "2", "--config", str(settings))
        with daemon(directory / "state", *options) as running:
            strike(running, found, signal.SIGKILL, NEW_WORKER_SECONDS, "killed")
            strike(running, found, signal.SIGSTOP, STOPPED_SECONDS, "stopped")
            time.sleep(GRACE_SECONDS + 1)
            running.cli("janitor", "run")
            left = overlays(running)
            found.check(not left, f"no overlay is left after the grace: {left}")
            found.check("Traceback" not in running.log_text(), "no traceback in the log")

        running = start(directory / "state", *options)
        witnesses = begin(running, 60, "orphan")
        time.sleep(seconds)
        family = running.all_pids
        running.process.kill()
        running.process.wait()
        took = wait_until(lambda: not any(map(alive, family)), CHILDREN_SECONDS + 5)
        left_over = [pid for pid in family if alive(pid)]
        in_time = took is not None and took <= CHILDREN_SECONDS
        found.check(in_time, f"control killed: {len(family) - 1} children ended in {took} s {left_over}")
        for one in witnesses:
            one.process.kill()
            one.process.wait()
        for pid in left_over:
            os.kill(pid, signal.SIGKILL)

        started = time.monotonic()
        with daemon(directory / "state", *options) as running:
            took = time.monotonic() - started
            found.check(serves(running), f"it starts cleanly afterwards, in {took:.1f} s, and serves")
            running.cli("janitor", "run")
            left = overlays(running)
            found.check(not left, f"no overlay of the killed one is left: {left}")
            seconds_to_stop = running.stop()
            found.check(seconds_to_stop < 5, f"SIGTERM: gone in {seconds_to_stop:.1f} s")
    found.end()


if __name__ == "__main__":
    main()
