"""What one tenant meets, and whether its neighbour has to wait for it.

    python -m tests.load.neighbours [--seconds 5] [--rounds 3] [--workers 1]

Three tenants, one after the other, each doing as much as its tier allows: one fills its budget and goes on
writing, one keeps 32 commands in flight against its IOPS limit, one's lifetime ends in the middle of its I/O
and it tries to come back.  The neighbour, by default in the same worker, reads and writes 4 KiB at a time.
Shown: what each was told, and the neighbour's p99 latency beside it as a ratio to that alone.  The machine is
everybody's, so alone and beside are measured in turns, and the median of the rounds counts."""

import contextlib
import json
import multiprocessing
import statistics
import time
from collections import Counter
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import click

from scsipub.iscsi.numbering import serial_distance
from tests.load.common import Findings, place
from tests.support.daemon import Daemon, daemon
from tests.support.initiator import Initiator, LoginFailed
from tests.support.renting import MIB, logged_in, rent

KIB = 1024
TIERS: dict[str, dict[str, Any]] = {
    "budget": {"allocation_budget": 4 * MIB, "bytes_per_second": 16 * MIB, "iops": 500.0},
    "iops": {"allocation_budget": 64 * MIB, "iops": 200.0, "iops_burst": 50.0},
    "lifetime": {"allocation_budget": 64 * MIB, "iops": 500.0, "expiry_grace_seconds": 600.0},
}
LIFETIME = 12.0
LOGOUT_SECONDS = 4.0  # so long may who is asked to log out stay
EXPECTED = {"budget": "07/27/07", "iops": "good", "lifetime": "login 0202"}


def said(result: Any) -> str:
    if not result.status:
        return "good"
    return f"{result.sense[2] & 15:02x}/{result.sense[12]:02x}/{result.sense[13]:02x}"


def work(who: Initiator, kind: str, number: int) -> int:
    """One command of this kind of tenant; its tag."""
    if kind == "budget":
        lba = number * 128 % (60 * MIB // 512)
        return who.start(
            bytes([0x2A, 0]) + lba.to_bytes(4, "big") + bytes([0, 0, 128, 0]), write=bytes(64 * KIB)
        )
    lba = number * 8 % (60 * MIB // 512)
    return who.start(bytes([0x28, 0]) + lba.to_bytes(4, "big") + bytes([0, 0, 8, 0]), read=4096)


def tenant(address: str, rented: dict[str, Any], kind: str, line: Connection) -> None:
    """Does as much as it is let until it is told to stop; then says what it was told."""
    told: Counter[str] = Counter()
    d: Any = SimpleNamespace(iscsi=address)
    number = 0
    while not line.poll():
        try:
            with logged_in(d, rented, patience=0.0) as who:
                who.ping()
                flying: list[int] = []
                while not line.poll():
                    while len(flying) < 32 and serial_distance(who.cmd_sn, who.max_cmd_sn) >= 0:
                        flying.append(work(who, kind, number))
                        number += 1
                    told[said(who.finish(flying.pop(0)))] += 1
        except LoginFailed as refused:
            told[f"login {refused.status:04x}"] += 1
            time.sleep(0.5)
        except OSError:
            told["connection ended"] += 1
    line.send(dict(told))


def p99(who: Initiator, seconds: float) -> float:
    """Of reads and writes in turn, in seconds."""
    took = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        number = len(took)
        if number % 2:
            who.write(number * 8 % 8192, bytes(4096))
        else:
            who.read(number * 8 % 8192, 8)
        took.append(time.perf_counter() - began)
        time.sleep(0.001)
    return statistics.quantiles(took, n=100)[98]


def until_expired(d: Daemon, who: Initiator) -> float:
    """The worst p99 on the way to the end of somebody's lifetime."""
    worst, until = 0.0, time.monotonic() + LIFETIME + 20
    while time.monotonic() < until:
        worst = max(worst, p99(who, 1.0))
        if any(target["state"] == "EXPIRED" for target in d.ask("target.list")["targets"]):
            break
    return worst


@contextlib.contextmanager
def beside(d: Daemon, kind: str) -> Any:
    """A tenant of this kind at work.  Yields a function that stops it and says what it was told."""
    wish = {"lifetime_seconds": LIFETIME} if kind == "lifetime" else {}
    rented = rent(d, 64 * MIB, tier=kind, **wish)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=tenant, args=(d.iscsi, rented, kind, theirs)
    )
    process.start()

    def stop() -> dict[str, int]:
        ours.send("stop")
        return dict(ours.recv()) if ours.poll(60) else {}

    try:
        yield stop
    finally:
        process.kill()
        process.join()
        d.ask("target.destroy", id=rented["id"])


@click.command(context_settings={"show_default": True})
@click.option("--seconds", default=5.0, help="Of each measurement.")
@click.option("--rounds", default=3, help="Alone and beside, in turns.")
@click.option("--workers", default=1)
@click.option("--ratio", default=2.0, help="What the neighbour may wait, against alone.")
@click.option("--only", type=click.Choice(sorted(TIERS)))
def main(seconds: float, rounds: int, workers: int, ratio: float, only: str | None) -> None:
    """One tenant at its limits, and its neighbour's p99."""
    found = Findings()
    with place() as directory, daemon(directory, "--workers", str(workers)) as d:
        free = rent(d, 16 * MIB)
        for name, terms in TIERS.items():
            d.ask("tier.put", name=name, persistent=True, **terms)
        with logged_in(d, free, name="iqn.1993-08.org.debian:01:neighbour") as who:
            p99(who, 1.0)
            for kind in [only] if only else list(TIERS):
                ratios, told = [], Counter[str]()
                for _ in range(rounds):
                    alone = p99(who, seconds)
                    with beside(d, kind) as stop:
                        time.sleep(2.0)  # it logs in, and reaches its limit
                        busy = p99(who, seconds)
                        if kind == "lifetime":
                            busy = max(busy, until_expired(d, who), p99(who, LOGOUT_SECONDS + seconds))
                        told.update(stop())
                    ratios.append(busy / alone)
                    click.echo(f"{kind:9} alone {alone * 1e3:6.2f} ms  beside {busy * 1e3:6.2f} ms")
                click.echo(f"{kind:9} was told {json.dumps(told)}")
                found.check(EXPECTED[kind] in told, f"{kind}: is told {EXPECTED[kind]}")
                middle = statistics.median(ratios)
                found.check(middle < ratio, f"{kind}: the neighbour's p99 is {middle:.2f} of that alone")
    found.end()


if __name__ == "__main__":
    main()
