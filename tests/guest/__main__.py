"""``python -m tests.guest``: real Linux guests against a daemon, one scenario each.

    python -m tests.guest                            every scenario, against a daemon of its own
    python -m tests.guest --short                    what every change runs
    python -m tests.guest chap digests               these
    python -m tests.guest cluster                    those with several machines or paths
    python -m tests.guest --portal 10.0.2.2:3260     against a target that runs already on this host

Ends with 0 when every scenario did what it shows."""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from tests.guest import initramfs
from tests.guest.clusters import CLUSTERS
from tests.guest.host import Host, Side
from tests.guest.machine import Guest, GuestFailed, run_many
from tests.guest.netboot import NETBOOT
from tests.guest.pieces import PiecesMissing
from tests.guest.scenarios import SCENARIOS, Scenario
from tests.support import daemon as daemons

EVERY = (*SCENARIOS, NETBOOT, *CLUSTERS)
CLUSTER = "cluster"  # on the command line: all of those
TOLD = "told: "  # a line of a guest that people want to see, whether or not all is well


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.guest", description="Real Linux guests against a target."
    )
    parser.add_argument(
        "names", nargs="*", metavar="SCENARIO", help=", ".join([*(each.name for each in EVERY), CLUSTER])
    )
    parser.add_argument("--short", action="store_true", help="only the scenarios that every change runs")
    parser.add_argument(
        "--portal", help="a target that runs already, as guests reach it (10.0.2.2: this host)"
    )
    parser.add_argument("--prefix", default=daemons.PREFIX, help="what the target's names begin with")
    parser.add_argument("--verbose", action="store_true", help="show what the guests print")
    asked = parser.parse_args()
    unknown = set(asked.names) - {each.name for each in EVERY} - {CLUSTER}
    if unknown:
        parser.error(f"no scenario is called {', '.join(sorted(unknown))}")
    chosen = [
        each
        for each in EVERY
        if (not asked.names or each.name in asked.names or (each.cluster and CLUSTER in asked.names))
        and (not asked.short or each.short)
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
    with tempfile.TemporaryDirectory(prefix="scsipub-guest-") as folder:
        host = Host.prepare(Path(folder))
        await trio.to_thread.run_sync(host.start)
        try:
            failed = await _run_on(host.side(prefix), chosen, verbose=verbose)
            if failed:
                _say(f"the daemon's log ends with\n{host.log_text()[-4000:]}")
            return failed
        finally:
            await trio.to_thread.run_sync(host.stop)


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
    scripts = {scenario.name: scenario.script}
    if scenario.beside:
        scripts = {"a": scenario.script, "b": scenario.beside}
    words = f"PORTAL={side.portal}\nSECOND={side.second}\nPREFIX={side.prefix}\n"
    guests = [
        Guest(
            words + script,
            name=name,
            deeds=side.deeds,
            watch=partial(_echo, name if scenario.beside else "") if verbose else None,
        )
        for name, script in scripts.items()
    ]
    why = ""
    try:
        for guest, result in zip(guests, await run_many(guests, scenario.seconds), strict=True):
            for line in result.output.splitlines():
                if line.startswith(TOLD) and not verbose:
                    _say(f"         {line.removeprefix(TOLD)}")
            if result.code:
                why += f"{guest.name} ended with {result.code}:\n"
                why += f"{result.output[-4000:]}\n{result.console[-2000:]}\n"
    except* GuestFailed as failures:
        why = "\n".join(str(each) for each in failures.exceptions)
    return why, time.monotonic() - started


def _echo(name: str, line: str) -> None:
    print(f"    {name:{2 if name else 0}}{line}", flush=True)


def _say(line: str) -> None:
    print(f"guest: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
