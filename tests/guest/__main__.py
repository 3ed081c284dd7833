"""``python -m tests.guest``: real Linux guests against a daemon, one scenario each.

    python -m tests.guest                            every scenario, against a daemon of its own
    python -m tests.guest --short                    what every change runs
    python -m tests.guest chap digests               these
    python -m tests.guest --portal 10.0.2.2:3260     against a target that runs already on this host

Ends with 0 when every scenario did what it shows."""

import argparse
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import attrs
import trio

from tests.guest import initramfs
from tests.guest.machine import LOOPBACK_OF_HOST, Deed, Guest, GuestFailed
from tests.guest.pieces import PiecesMissing
from tests.guest.scenarios import SCENARIOS, SECRET, TARGET_SECRET, TARGET_USER, USER, Scenario
from tests.support import daemon as daemons

# A target that asks for a password, both ways; the anonymous ones need no words.
CONFIGURATION = f"""
[[target]]
name = "chap"
luns = [{{ size = "64 MiB" }}]

[[target.users]]
user = "{USER}"
secret = "{SECRET}"
mutual_user = "{TARGET_USER}"
mutual_secret = "{TARGET_SECRET}"
"""


@attrs.frozen
class Side:
    """The target that the guests talk to, as they see it."""

    portal: str
    prefix: str
    deeds: Mapping[str, Deed] = attrs.field(factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.guest", description="Real Linux guests against a target."
    )
    parser.add_argument(
        "names", nargs="*", metavar="SCENARIO", help=", ".join(each.name for each in SCENARIOS)
    )
    parser.add_argument("--short", action="store_true", help="only the scenarios that every change runs")
    parser.add_argument(
        "--portal", help="a target that runs already, as guests reach it (10.0.2.2: this host)"
    )
    parser.add_argument("--prefix", default=daemons.PREFIX, help="what the target's names begin with")
    parser.add_argument("--verbose", action="store_true", help="show what the guests print")
    asked = parser.parse_args()
    unknown = set(asked.names) - {each.name for each in SCENARIOS}
    if unknown:
        parser.error(f"no scenario is called {', '.join(sorted(unknown))}")
    chosen = [
        each
        for each in SCENARIOS
        if (not asked.names or each.name in asked.names) and (not asked.short or each.short)
    ]
    try:
        failed = trio.run(partial(_run_all, chosen, asked.portal, asked.prefix, verbose=asked.verbose))
    except PiecesMissing as missing:
        print(f"guest: {missing}", file=sys.stderr)
        return 2
    return 1 if failed else 0


async def _run_all(chosen: list[Scenario], portal: str | None, prefix: str, *, verbose: bool) -> int:
    _say("preparing the guest (cached in build/guest)")
    await trio.to_thread.run_sync(initramfs.prepare)
    if portal is not None:
        return await _run_on(Side(portal, prefix), chosen, verbose=verbose)
    with tempfile.TemporaryDirectory(prefix="scsipub-guest-") as state:
        port = free_port()
        configuration = Path(state) / "scsipub.toml"
        configuration.write_text(CONFIGURATION)
        public = f"{LOOPBACK_OF_HOST}:{port}"
        words = ("--config", str(configuration), "--port", str(port), "--public-host", public)
        daemon = await trio.to_thread.run_sync(daemons.start, Path(state) / "state", *words)
        try:
            side = Side(public, prefix, {"kill-worker": partial(kill_worker, daemon)})
            failed = await _run_on(side, chosen, verbose=verbose)
            if failed:
                _say(f"the daemon's log ends with\n{daemon.log_text()[-4000:]}")
            return failed
        finally:
            await trio.to_thread.run_sync(daemon.stop)


async def _run_on(side: Side, chosen: list[Scenario], *, verbose: bool) -> int:
    """Run one after the other; the number of those that failed."""
    started = time.monotonic()
    failed: list[str] = []
    for scenario in chosen:
        missing = scenario.deeds - side.deeds.keys()
        if missing:
            _say(f"skipped  {scenario.name}: nobody here can {', '.join(sorted(missing))}")
            continue
        why, seconds = await _run_one(side, scenario, verbose=verbose)
        _say(f"{'FAILED ' if why else 'passed '}  {scenario.name}  {seconds:5.1f} s  {scenario.shows}")
        if why:
            failed.append(scenario.name)
            print(why, flush=True)
    _say(
        f"{len(failed)} failed{': ' if failed else ''}{', '.join(failed)}; {time.monotonic() - started:.0f} s"
    )
    return len(failed)


async def _run_one(side: Side, scenario: Scenario, *, verbose: bool) -> tuple[str, float]:
    """Why it failed (nothing when it passed), and how long it took."""
    started = time.monotonic()
    guest = Guest(
        f"PORTAL={side.portal}\nPREFIX={side.prefix}\n{scenario.script}",
        name=scenario.name,
        deeds=side.deeds,
        watch=(lambda line: print(f"    {line}", flush=True)) if verbose else None,
    )
    try:
        result = await guest.run(scenario.seconds)
    except GuestFailed as failure:
        return str(failure), time.monotonic() - started
    if result.code:
        return (
            f"it ended with {result.code}:\n{result.output[-4000:]}\n{result.console[-2000:]}",
            result.seconds,
        )
    return "", result.seconds


async def kill_worker(daemon: daemons.Daemon) -> str:
    """Kill the worker that has a session, as a crash of it would; the others when none says so."""

    def kill() -> str:
        workers = daemon.status()["workers"]
        busy = [worker for worker in workers if worker["sessions"]] or workers
        os.kill(busy[0]["pid"], signal.SIGKILL)
        return f"killed worker {busy[0]['index']} (pid {busy[0]['pid']})"

    return await trio.to_thread.run_sync(kill)


def free_port() -> int:
    """A port that is free now.  It must be known before the daemon starts, for --public-host names it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _say(line: str) -> None:
    print(f"guest: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
