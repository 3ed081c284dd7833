"""A thousand malformed PDUs of twenty kinds while somebody else verifies data: only the sender notices.

    python -m tests.load.malformed [--count 1000]

Shown: the verifying client saw no error and no pause over a second, the daemon counted every mistake, its log
has no traceback and no flood, and it still serves."""

import random
import time
from collections import Counter
from pathlib import Path

import click

from tests.load import garbage
from tests.load.common import Findings, Witness, place
from tests.support.daemon import daemon
from tests.support.initiator import Initiator

PAUSE_SECONDS = 1.0


def torment(address: str, target: str, count: int, seed: int) -> dict[str, Counter[str]]:
    """``count`` mistakes, kind after kind; how each was taken."""
    chance = random.Random(seed)
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in garbage.KINDS}
    for number in range(count):
        kind = garbage.KINDS[number % len(garbage.KINDS)]
        outcomes[kind][garbage.make(kind, address, target, chance)] += 1
    return outcomes


def show(outcomes: dict[str, Counter[str]]) -> None:
    for kind, ways in outcomes.items():
        click.echo(f"       {kind:36} {', '.join(f'{way} × {n}' for way, n in ways.items())}")


@click.command(context_settings={"show_default": True})
@click.option("--count", default=1000)
@click.option("--seed", default=1)
@click.option("--state-dir", type=click.Path(path_type=Path))
@click.option("--address", help="HOST:PORT of a running target instead of a daemon of our own.")
@click.option("--target", help="With --address: its name; LUN 0 must be a disk.")
def main(count: int, seed: int, state_dir: Path | None, address: str | None, target: str | None) -> None:
    """Malformed PDUs beside a client that verifies."""
    found = Findings()
    if address and target:
        show(torment(address, target, count, seed))
        return
    with place(state_dir) as directory, daemon(directory, "--workers", "1") as running:
        blank = running.target("blank")
        witness = Witness(running.iscsi, blank, "witness", 3600, "--zeros")
        time.sleep(0.5)
        started = time.monotonic()
        outcomes = torment(running.iscsi, blank, count, seed)
        took = time.monotonic() - started
        witness.stop()
        saw = witness.report()
        status = running.status()
        show(outcomes)
        found.check(
            not saw["error"], f"the witness saw no error in {saw['operations']:,} operations {saw['error']}"
        )
        pause = saw["longest_pause"]
        found.check(pause <= PAUSE_SECONDS, f"its longest pause: {pause * 1000:.0f} ms ({took:.1f} s in all)")
        counted = status["counters"]["malformed"]
        found.check(sum(counted.values()) == count, f"{sum(counted.values())} of {count} were counted")
        for kind, times in sorted(counted.items()):
            click.echo(f"       {kind:36} × {times}")
        log = running.log_text()
        found.check("Traceback" not in log, "no traceback in the log")
        lines = log.count("\n")
        # One line per kind and source, and the daemon's own dozens.
        found.check(lines <= 100, f"{lines} lines in the log")
        found.check(status["counters"].get("crashes", 0) == 0, f"{status['counters'].get('crashes')} crashes")
        with Initiator(running.iscsi) as newcomer:
            newcomer.login(blank).settle()
            found.check(newcomer.read(0, 8) is not None, "a newcomer is served")
            newcomer.logout()
    found.end()


if __name__ == "__main__":
    main()
