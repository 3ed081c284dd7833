"""``make soak``: an hour of everything at once, processes killed at random, and then all is as it was.

    python -m tests.soak [--minutes 60] [--seed 1] [--json FILE]

Clients that verify every byte (anonymous and rented disks; plain, TLS, in WebSockets, through bad weather,
with faults of their own), sessions that come and go, an operator who rents, resizes, throttles, uploads and
kicks, nodes that fence each other; and kill -9, -STOP and restarts of workers, the web process and control
itself.  At the end there must be no wrong byte, and files, threads, tasks, memory, overlays and rows are back
within 2 %."""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click

from tests.load.common import wait_until
from tests.soak.clients import LOST, Client, Dial, Passers
from tests.soak.house import House
from tests.soak.operator import TIER, Operator, Reservers
from tests.soak.record import Record
from tests.support import chap
from tests.support.eventually import eventually
from tests.support.initiator import Initiator

MIB = 1 << 20
SLACK = 0.02
# Below these nothing is said about 2 %: a page here and there, a file that is just being looked at, the
# second connection to the database that control opens when two want it at once.
LEAST = {"memory": 1.5 * MIB, "files": 3, "threads": 1, "tasks": 1}
QUIET_SECONDS = 240.0  # at most, until everything is back
WARM_SHARE, WARM_MOST = 0.1, 120.0


def anonymous(house: House, way: Callable[[str], Initiator], name: str) -> Initiator:
    who = way(name)
    try:
        return who.login(house.running.target("blank")).settle()
    except BaseException:
        who.close()
        raise


def rented(house: House, way: Callable[[str], Initiator], target: dict[str, Any], name: str) -> Initiator:
    who = way(name)
    try:
        chap.begin(who, target["name"])
        chap.prove(who, chap.choose(who, "7"), target["chap"]["user"], target["chap"]["secret"].encode())
        return who.finish_login().settle()
    except BaseException:
        who.close()
        raise


@attrs.define(eq=False)
class Soak:
    """Everything that lives in it."""

    record: Record
    house: House
    seed: int
    targets: list[dict[str, Any]] = attrs.Factory(list)
    clients: list[Client] = attrs.Factory(list)
    others: list[Any] = attrs.Factory(list)

    def begin(self) -> None:
        ask = self.house.running.ask
        with contextlib.suppress(RuntimeError):
            ask("tenant.create", name="soak", tier="soak")
        self.targets = [ask("target.create", tenant="soak", luns=[{"size": 16 * MIB}]) for _ in range(5)]
        house, numbers = self.house, itertools.count(self.seed)
        ways: list[tuple[str, Callable[[str], Initiator]]] = [
            ("plain", house.plain), ("tls", house.tls), ("tunnel", house.tunnel), ("stormy", house.stormy),
        ]  # fmt: skip

        def client(name: str, dial: Dial, **how: Any) -> None:
            full = f"iqn.1993-08.org.debian:01:{name}"
            self.clients.append(
                Client(self.record, full, dial, next(numbers) * 7919, grace=house.grace, **how)
            )

        for (name, way), target in zip(ways, self.targets, strict=False):
            client(f"{name}-anonymous", partial(anonymous, house, way))
            client(
                f"{name}-rented", partial(rented, house, way, target), lasting=True, troubled=name == "stormy"
            )
        client("troubled", partial(anonymous, house, house.plain), troubled=True)
        troubled = [one for one in self.clients if one.troubled]
        operator = Operator(self.record, house, self.seed, self.targets[:4], troubled)
        passers = Passers(self.record, house.plain, house.running.target("blank"), self.seed)
        self.others = [operator, passers, Reservers(self.record, house, self.targets[4])]
        for one in (*self.clients, *self.others):
            one.thread.start()

    def end(self) -> None:
        """Everybody goes; what lasts is looked at once more, and everything that was made is removed."""
        self.record.stopping.set()
        for one in (*self.clients, *self.others):
            one.thread.join(90)
            if one.thread.is_alive():
                self.record.error(f"{one.thread.name} does not come to an end")
        eventually(lambda: self.house.running.ask("status"), 60)  # it may have been killed a moment ago
        for client in self.clients:
            if client.lasting:
                self._last_look(client)
        self.others[0].tidy()
        self.record.stopping.clear()

    def _last_look(self, client: Client) -> None:
        for _ in range(40):
            flying: dict[int, tuple[int, int]] = {}
            try:
                with client.dial(client.name) as who:
                    for block in sorted(client.acknowledged.keys() | client.perhaps.keys()):
                        client._start(who, block, 0, flying)
                        client._finish(who, flying)
                return
            except LOST as lost:
                self.record.event(f"last look of {client.name}: {lost}")
                time.sleep(0.5)
        self.record.error(f"{client.name} could not look a last time")


class Killer:
    """Ends processes at random.  ``deeds`` by name, each as often as its number says."""

    def __init__(self, record: Record, house: House, seed: int) -> None:
        self.record, self.house = record, house
        self.chance = random.Random(seed)
        self.deeds: list[tuple[Callable[[], str], int]] = [
            (self.kill_worker, 4), (self.stop_worker, 2), (self.kill_web, 3),
            (self.restart_workers, 2), (self.kill_control, 1), (self.another_storm, 1),
        ]  # fmt: skip
        # Each once, in some order, before chance decides.
        self.first = [deed for deed, _ in self.deeds]
        self.chance.shuffle(self.first)

    def strike(self) -> None:
        deeds, weights = zip(*self.deeds, strict=True)
        deed = self.first.pop() if self.first else self.chance.choices(deeds, weights)[0]
        self.record.event(f"now: {deed.__name__}")
        try:
            said = deed()
        except (RuntimeError, OSError, ValueError, AssertionError) as wrong:
            self.record.error(f"{deed.__name__}: {type(wrong).__name__}: {str(wrong)[:300]}")
            return
        self.record.event(said)
        self.record.count(deed.__name__)

    def kill_worker(self) -> str:
        pid = self.chance.choice(self.house.workers())
        os.kill(pid, signal.SIGKILL)
        return f"kill -9 of worker {pid}"

    def stop_worker(self) -> str:
        pid = self.chance.choice(self.house.workers())
        os.kill(pid, signal.SIGSTOP)
        if self.chance.random() < 0.5:
            time.sleep(1.5)
            os.kill(pid, signal.SIGCONT)
            return f"worker {pid} stood still for 1.5 s"
        return f"kill -STOP of worker {pid}, for good"

    def kill_web(self) -> str:
        pid = self.house.running.ask("status")["pids"]["web"]
        if pid:
            os.kill(pid, signal.SIGKILL)
        return f"kill -9 of the web process {pid}"

    def restart_workers(self) -> str:
        self.house.running.cli("restart")
        return "workers replaced one after the other"

    def kill_control(self) -> str:
        began = time.monotonic()
        self.house.kill()
        return f"kill -9 of control; a new one serves after {time.monotonic() - began:.1f} s"

    def another_storm(self) -> str:
        if self.house.proxy is not None:
            self.house.proxy.kill()
            self.house.proxy.wait()
        self.house.weather(seed := self.chance.randrange(1 << 16))
        return f"the weather changes: seed {seed}"


def live(soak: Soak, seconds: float, killer: Killer | None, gap: float) -> None:
    """Lets it live, and shows how it is."""
    until, strike = time.monotonic() + seconds, time.monotonic() + gap
    shown = 0.0
    while (now := time.monotonic()) < until and not soak.record.errors:
        if killer is not None and now >= strike and until - now > 10:
            killer.strike()
            strike = time.monotonic() + killer.chance.uniform(0.5, 1.5) * gap
        if now - shown > 10:
            shown = now
            operations = sum(client.operations for client in soak.clients)
            click.echo(
                f"{soak.record.now:7.0f} s  {operations:,} operations verified, "
                f"{soak.record.counts['passers']:,} passers, {soak.record.counts['connections lost']:,} "
                f"connections lost, {len(soak.record.errors)} errors; {until - now:.0f} s left",
                err=True,
            )
        time.sleep(0.2)


def compare(before: dict[str, float], after: dict[str, float]) -> list[dict[str, Any]]:
    """Row by row: what it was, what it is, and whether it is back."""
    rows = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name, 0), after.get(name, 0)
        kind = name.rpartition(" ")[2]
        slack = max(abs(was) * SLACK, LEAST.get(kind, 0))
        rows.append({"what": name, "before": was, "after": now, "back": now <= was + slack})
    return rows


def quiesce(house: House, before: dict[str, float]) -> list[dict[str, Any]]:
    """Waits until everything is back; says how it was in the end."""
    deadline = time.monotonic() + QUIET_SECONDS
    rows: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            house.running.ask("janitor.run")
            rows = compare(before, house.census())
            missing = [
                f"{row['what']} ({row['before']:,.0f} → {row['after']:,.0f})"
                for row in rows
                if not row["back"]
            ]
            if not missing:
                break
            click.echo(f"not back yet: {', '.join(missing)}", err=True)
        time.sleep(1)
    return rows


def show(row: dict[str, Any]) -> str:
    unit = MIB if row["what"].endswith("memory") else 1
    before, after = row["before"] / unit, row["after"] / unit
    words = "MiB" if unit == MIB else "   "
    return f"{row['what']:32} {before:10,.1f} {after:10,.1f} {words}  {'' if row['back'] else 'NOT BACK'}"


@click.command(context_settings={"show_default": True})
@click.option(
    "--minutes", default=60.0, help="Of everything at once; warming up and quieting down come on top."
)
@click.option("--seed", default=1)
@click.option("--gap", default=12.0, help="Seconds between two deaths, about.")
@click.option("--warm", default=15.0, help="Seconds, at least, before everything is counted.")
@click.option("--grace", default=20.0, help="Seconds that a disposable disk waits for its initiator.")
@click.option("--json", "to_json", type=click.Path(path_type=Path), help="Keep all of it in this file.")
@click.option("--keep", is_flag=True, help="Leave the state directory and the log.")
def main(
    minutes: float, seed: int, gap: float, warm: float, grace: float, to_json: Path | None, keep: bool
) -> None:
    """An hour of everything at once, and then everything is as it was."""
    place = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="scsipub-soak-"))
    record = Record()
    house = House(record, place, grace)
    rows: list[dict[str, Any]] = []
    try:
        house.running.ask("tier.put", name="soak", **TIER)
        house.weather(seed)
        warm = min(WARM_MOST, max(warm, minutes * 60 * WARM_SHARE))
        click.echo(f"warming up for {warm:.0f} s: what is paid once is paid before the first count", err=True)
        first = Soak(record, house, seed + 1000)
        first.begin()
        live(first, warm, None, gap)
        first.end()
        time.sleep(grace)
        wait_until(lambda: not any(house.running.ask("status")[key] for key in ("parked", "sessions")), 30)
        house.running.ask("janitor.run")
        before = house.census()
        click.echo(f"{minutes:g} minutes of everything, seed {seed}", err=True)
        soak = Soak(record, house, seed)
        soak.begin()
        live(soak, minutes * 60, Killer(record, house, seed), gap)
        soak.end()
        click.echo("quieting down", err=True)
        time.sleep(grace)
        rows = quiesce(house, before)
        for row in rows:
            if not row["back"]:
                record.error(f"{row['what']}: {row['before']:,.0f} before, {row['after']:,.0f} after")
        log = house.running.log_text()
        if "Traceback" in log:
            record.error("a traceback in the log:\n" + log[log.index("Traceback") - 300 :][:2500])
        operations = sum(client.operations for client in soak.clients)
    finally:
        with contextlib.suppress(Exception):
            house.stop()
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
    click.echo(f"{'':32} {'before':>10} {'after':>10}")
    for row in rows:
        click.echo(show(row))
    for name, number in sorted(record.counts.items()):
        click.echo(f"       {name:40} × {number:,}")
    click.echo(f"{operations:,} operations verified, {len(record.errors)} errors, seed {seed}")
    if to_json:
        to_json.write_text(json.dumps({"seed": seed, "rows": rows, **record.to_json()}, indent=1))
    for at, what in record.errors[:10]:
        click.echo(f"\nFAILED at {at:.3f} s: {what}", err=True)
    if record.errors:
        click.echo("\nwhat had happened before the first:", err=True)
        for line in record.around(record.errors[0][0]):
            click.echo(f"  {line}", err=True)
    raise SystemExit(1 if record.errors else 0)


if __name__ == "__main__":
    sys.exit(main())
