"""A fenced node writes on, and nothing of it reaches the disk.

    python -m tests.load.fencing --runs 200

B writes 1,000 blocks, again and again, with as many commands outstanding as it may have, half of them through
(FUA) and half of them with data that is asked for.  strace makes the worker that owns the disk wait before
every pwrite.  A preempts B and aborts its commands; from the moment of GOOD on the file of the disk is read
again and again, and so is the disk by A, while B goes on trying: not one block may change, and B hears
nothing but reservation conflicts.  Every block that B was told is written must be there.

B's connection always lands in another worker than the one that owns the disk.  The runs take turns: over TCP
handed on; over TLS relayed; B loses its connection just before; the owner is killed (-9) just after GOOD; it
is killed before GOOD, and then B is registered or it is not, with all that follows from either.

With ``--plain`` A only preempts, which promises less: then blocks do change, and this program ends with 1."""

import contextlib
import itertools
import os
import random
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from tests.load.common import Findings, place, wait_until
from tests.support import chap
from tests.support.certificates import Authority
from tests.support.daemon import Daemon, daemon
from tests.support.initiator import Initiator, LoginFailed

BLOCKS, SIZE = 1000, 512
NODE_A, NODE_B = "iqn.1993-08.org.debian:01:node-a", "iqn.1993-08.org.debian:01:node-b"
KEY_A, KEY_B = 0xA1, 0xB2
REGISTER, RESERVE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE = 0, 1, 3, 4, 5, 6
REGISTRANTS_ONLY = 5
GOOD, CHECK, CONFLICT = 0x00, 0x02, 0x18
WAYS = ("tcp", "tls", "dropped", "killed after", "killed before")
# Workers are forgiven so many deaths: supervisor/budget.py, six in thirty seconds.
KILL_SECONDS = 7.0
PATIENCE = 60.0  # seconds, for what takes milliseconds where nobody else is
OUTSTANDING = 100
# So often the disk is looked at after GOOD, and for at least as long as this many delays of pwrite.
LOOKS, DELAYS = 12, 8


class Broken(Exception):
    """The fence did not hold."""


def reserve_out(
    who: Initiator, action: int, key: int = 0, new_key: int = 0, kind: int = REGISTRANTS_ONLY
) -> int:
    """The status of PERSISTENT RESERVE OUT, past unit attentions."""
    cdb = struct.pack(">BBB2xIx", 0x5F, action, kind, 24)
    while True:
        result = who.command(cdb, write=struct.pack(">QQ8x", key, new_key))
        if result.status != CHECK or result.sense[2] & 0x0F != 6:
            return result.status


def keys(who: Initiator) -> tuple[int, list[int]]:
    """PRGENERATION and the registered keys."""
    data = who.settle().command(bytes([0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0]), read=256).good().data
    count = int.from_bytes(data[4:8]) // 8
    return int.from_bytes(data[:4]), sorted(struct.unpack_from(f">{count}Q", data, 8))


def snapshot(who: Initiator) -> list[bytes]:
    """What A is told.  Its READ waits for writes that are under way in the same range."""
    return cut(who.settle().read(0, BLOCKS))


def cut(data: bytes) -> list[bytes]:
    return [data[at : at + SIZE] for at in range(0, len(data), SIZE)]


@attrs.define
class Tracer:
    """strace at one process: each pwrite of it waits."""

    pid: int
    process: subprocess.Popen[str]

    @classmethod
    def attach(cls, pid: int, delay: float) -> "Tracer":
        calls = "pwrite64,pwritev,pwritev2"
        words = [
            "strace",
            "-f",
            "-e",
            f"trace={calls}",
            "-e",
            f"inject={calls}:delay_enter={delay * 1e6:.0f}",
        ]
        process = subprocess.Popen(
            [*words, "-o", "/dev/null", "-p", str(pid)], stderr=subprocess.PIPE, text=True
        )
        if process.stderr is None or "attached" not in (said := process.stderr.readline()):
            raise RuntimeError(f"strace does not attach: {said}")
        return cls(pid, process)

    def detach(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


class House:
    """A daemon with two workers and a rented disk; the owner of the disk is slow at writing."""

    def __init__(self, running: Daemon, authority: Authority, delay: float) -> None:
        self.running, self.authority, self.delay = running, authority, delay
        self.tracer: Tracer | None = None
        self.killed_at = 0.0
        running.ask("tier.put", name="cluster", allocation_budget=1 << 24, persistent=True)
        running.ask("tenant.create", name="lab", tier="cluster")
        self.rented: dict[str, Any] = running.ask(
            "target.create", tenant="lab", luns=[{"size": BLOCKS * SIZE + 4096 - BLOCKS * SIZE % 4096}]
        )
        unit = self.rented["luns"][0]["uuid"]
        self.file = running.state_dir / "overlays" / f"t-{unit}-0.data"

    def lies_there(self) -> list[bytes]:
        """What the file of the disk holds now.  Waits for nobody."""
        with self.file.open("rb", buffering=0) as file:
            return cut(os.pread(file.fileno(), BLOCKS * SIZE, 0))

    def whole(self) -> None:
        """Waits until every worker serves."""

        def serving() -> bool:
            return all(one["state"] == "ready" for one in self.running.ask("status")["workers"])

        if wait_until(serving, PATIENCE) is None:
            raise Broken("a worker does not come back")

    def login(self, name: str, *, tls: bool = False, r2t: bool = False) -> Initiator:
        """As initiators do: again while the target is away."""
        until = time.monotonic() + PATIENCE
        chapped = self.rented["chap"]
        offer = {"ImmediateData": "No", "InitialR2T": "Yes"} if r2t else {}
        while True:
            who = None
            try:
                where = self.running.endpoints["tls"] if tls else self.running.iscsi
                who = Initiator(where, name=name, timeout=PATIENCE)
                if tls:
                    context = self.authority.client_context()
                    who.sock = context.wrap_socket(who.sock, server_hostname="localhost")
                chap.begin(who, self.rented["name"])
                chap.prove(who, chap.choose(who, "7"), chapped["user"], chapped["secret"].encode())
                return who.finish_login(**offer).settle()
            except (LoginFailed, OSError):
                if who is not None:
                    who.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def login_elsewhere(self, name: str, **how: bool) -> Initiator:
        """By way of a worker that does not own the disk."""
        for _ in range(20):
            before = self.running.ask("status")["counters"]["handed_on"]
            who = self.login(name, **how)
            if self.running.ask("status")["counters"]["handed_on"] > before:
                return who
            who.close()
        raise Broken(f"{name} always lands in the owner")

    def owner(self) -> int:
        """The process that A's session is in."""
        place = {one["initiator"]: one["worker"] for one in self.running.ask("session.list")}
        pids = {one["index"]: one["pid"] for one in self.running.ask("status")["workers"]}
        return int(pids[place[NODE_A]])

    def slow_down(self) -> None:
        """The owner waits before each pwrite."""
        pid = self.owner()
        if self.tracer is None or self.tracer.pid != pid:
            if self.tracer is not None:
                self.tracer.process.wait()
            self.tracer = Tracer.attach(pid, self.delay)

    def kill_owner(self) -> None:
        if self.tracer is not None:
            os.kill(self.tracer.pid, signal.SIGKILL)
            self.killed_at = time.monotonic()

    def close(self) -> None:
        if self.tracer is not None:
            self.tracer.detach()


class Storm:
    """B, in a thread: writes without end and without heed, and remembers what it was told."""

    def __init__(self, house: House, number: int, *, tls: bool) -> None:
        self.house, self.number, self.tls = house, number, tls
        self.stamps = itertools.count(1)
        self.sent: dict[int, tuple[int, int]] = {}  # tag -> block, stamp
        self.good: dict[int, int] = {}  # block -> the last stamp that was acknowledged
        self.done = self.refused = 0
        self.fenced = self.forgotten = False  # its aborted commands are never answered
        self.stopping = False
        self.error = ""
        self.who = house.login_elsewhere(NODE_B, tls=tls, r2t=bool(number % 2))
        self.pick = random.Random(number)
        self.order = itertools.cycle(self.pick.sample(range(BLOCKS), BLOCKS))
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.stopping:
            try:
                if self.fenced and not self.forgotten:
                    self._forget()
                self._write()
                if not self.who.hear(0.05):
                    self.who.ping()  # all of the window was aborted: its new end is told with any answer
                self._look()
            except OSError:
                self.sent.clear()
                if not self.stopping:
                    self._again()
            except Exception as crash:
                self.error = f"{type(crash).__name__}: {crash}"
                return

    def _again(self) -> None:
        self.who.close()
        with contextlib.suppress(OSError, LoginFailed):
            self.who = self.house.login(NODE_B, tls=self.tls, r2t=bool(self.number % 2))

    def _write(self) -> None:
        who = self.who
        while len(self.sent) < OUTSTANDING and who.cmd_sn <= who.max_cmd_sn:
            block, stamp = next(self.order), next(self.stamps)
            through = 0x08 * (self.pick.random() < 0.5)
            cdb = struct.pack(">BBIxHx", 0x2A, through, block, 1)
            self.sent[who.start(cdb, write=stamped(self.number, block, stamp))] = (block, stamp)

    def _look(self) -> None:
        for tag, (block, stamp) in list(self.sent.items()):
            ended = self.who.over(tag)
            if ended is None:
                continue
            del self.sent[tag]
            if ended.status == GOOD:
                self.done += 1
                self.good[block] = max(stamp, self.good.get(block, 0))
            elif ended.status == CONFLICT:
                self.refused += 1

    def _forget(self) -> None:
        self.forgotten = True
        for tag in list(self.sent):
            self.who._running.pop(tag, None)
        self.sent.clear()

    def stop(self) -> None:
        self.stopping = True
        if self.thread.ident is not None:
            self.thread.join()
        self.who.close()


def stamped(number: int, block: int, stamp: int) -> bytes:
    return struct.pack(">III", number, block, stamp).ljust(SIZE, b"b")


def one_run(house: House, number: int, way: str, *, plain: bool = False) -> str:
    """Raises Broken.  Says what was seen."""
    pick = random.Random(number)
    if way.startswith("killed"):
        time.sleep(max(0.0, house.killed_at + KILL_SECONDS - time.monotonic()))
    house.whole()
    a = house.login(NODE_A)
    house.slow_down()
    _prepare(a)
    storm = Storm(house, number, tls=way == "tls")
    try:
        if reserve_out(storm.who, IGNORE, 0, KEY_B) != GOOD:
            raise Broken("B cannot register")
        generation, both = keys(a)
        if both != [KEY_A, KEY_B]:
            raise Broken(f"registered are {both}")
        storm.thread.start()
        enough = pick.randrange(20, 600)
        if wait_until(lambda: storm.done >= enough or storm.error, PATIENCE, pause=0.002) is None:
            raise Broken(f"B wrote only {storm.done} times: {storm.error}")
        if way == "dropped":
            storm.who.sock.shutdown(2)  # its writes are under way, and its session ends
        if way == "killed before":
            a = _killed_before(house, a, generation)
        action = PREEMPT if plain else PREEMPT_AND_ABORT
        if KEY_B in keys(a)[1] and reserve_out(a, action, KEY_A, KEY_B) != GOOD:
            raise Broken("A cannot preempt")
        at_good = house.lies_there()
        if way == "killed after":
            house.kill_owner()
            a = house.login(NODE_A)
        looked = _keeps_still(house, a, storm, at_good)
    finally:
        storm.stop()
    if storm.error:
        raise Broken(f"B: {storm.error}")
    _what_was_told(storm, at_good)
    if snapshot(a) != at_good or house.lies_there() != at_good:
        raise Broken("blocks changed when B left")
    generation, left = keys(a)
    if left != [KEY_A]:
        raise Broken(f"registered are {left}")
    told = f"B wrote {storm.done} times, then was refused {storm.refused} times; looked {looked} times"
    reserve_out(a, CLEAR, KEY_A)
    a.logout()
    a.close()
    return told


def _prepare(a: Initiator) -> None:
    """A alone is registered and holds the disk, which is all zeros."""
    reserve_out(a, IGNORE, 0, KEY_A)
    reserve_out(a, CLEAR, KEY_A)
    for action, key, new in ((IGNORE, 0, KEY_A), (RESERVE, KEY_A, 0)):
        if reserve_out(a, action, key, new) != GOOD:
            raise Broken("A cannot reserve")
    a.write(0, bytes(BLOCKS * SIZE))


def _killed_before(house: House, a: Initiator, generation: int) -> Initiator:
    """A has asked, and the owner dies before, while or after it is done: all of it happened, or nothing."""
    cdb = struct.pack(">BBB2xIx", 0x5F, PREEMPT_AND_ABORT, REGISTRANTS_ONLY, 24)
    with contextlib.suppress(OSError):
        a.start(cdb, write=struct.pack(">QQ8x", KEY_A, KEY_B))
        time.sleep(random.Random(generation).random() * 0.05)
    house.kill_owner()
    a.close()
    a = house.login(NODE_A)
    now, left = keys(a)
    if (now, left) not in ((generation, [KEY_A, KEY_B]), (generation + 1, [KEY_A])):
        raise Broken(f"half a state: generation {generation}, now {now}, registered {left}")
    return a


def _keeps_still(house: House, a: Initiator, storm: Storm, at_good: list[bytes]) -> int:
    """Looks again and again, until B has been refused often enough."""
    storm.fenced = True
    looked, began, refused = 0, time.monotonic(), storm.refused
    while looked < LOOKS or time.monotonic() - began < DELAYS * house.delay or storm.refused < refused + 100:
        if time.monotonic() - began > PATIENCE:
            raise Broken(f"B was refused only {storm.refused - refused} times: {storm.error}")
        told = snapshot(a) if looked % 4 == 3 else house.lies_there()
        changed = [n for n, (old, new) in enumerate(zip(at_good, told, strict=True)) if old != new]
        if changed:
            raise Broken(f"{len(changed)} blocks changed after GOOD, {changed[:5]} for example")
        looked += 1
        time.sleep(house.delay / 4)
    return looked


def _what_was_told(storm: Storm, disk: list[bytes]) -> None:
    """Whatever B was told is written is there, or something that it wrote later."""
    for block, stamp in storm.good.items():
        number, at, found = struct.unpack_from(">III", disk[block])
        if (number, at) != (storm.number, block) or found < stamp:
            raise Broken(f"block {block} was acknowledged as {stamp}, and holds {(number, at, found)}")


@contextlib.contextmanager
def house_in(directory: Path, delay: float) -> Iterator[House]:
    directory.mkdir(parents=True, exist_ok=True)
    authority = Authority()
    cert, key, settings = (directory / name for name in ("cert.pem", "key.pem", "scsipub.toml"))
    authority.pair().write(cert, key)
    settings.write_text("[limits]\nsource_connections_per_second = 5000\nsource_connections_burst = 5000\n")
    options = ("--tls-port", "0", "--tls-cert", str(cert), "--tls-key", str(key), "--config", str(settings))
    with daemon(directory / "state", "--workers", "2", *options) as running:
        house = House(running, authority, delay)
        try:
            yield house
        finally:
            house.close()


@click.command(context_settings={"show_default": True})
@click.option("--runs", default=200, help="How often A fences B.")
@click.option("--way", "ways", multiple=True, type=click.Choice(WAYS), help="Only these; repeatable.")
@click.option("--delay", default=8.0, help="Milliseconds before each pwrite.")
@click.option("--plain", is_flag=True, help="PREEMPT alone: shows that the looks see what they look for.")
@click.option("--state-dir", type=click.Path(path_type=Path))
def main(runs: int, ways: tuple[str, ...], delay: float, plain: bool, state_dir: Path | None) -> None:
    """Fence a node that writes, and look whether it still does."""
    found = Findings()
    started = time.monotonic()
    with place(state_dir) as directory, house_in(directory, delay / 1000) as house:
        for number in range(1, runs + 1):
            way = (ways or WAYS)[number % len(ways or WAYS)]
            try:
                told = one_run(house, number, way, plain=plain)
            except Broken as broken:
                found.check(False, f"run {number}, {way}: {broken}")
            else:
                found.check(True, f"run {number}, {way}: {told}")
        log = house.running.log_text()
        found.check("Traceback" not in log, "no traceback in the log")
    held = runs - len(found.failed)
    click.echo(f"{held} of {runs} runs held, {time.monotonic() - started:.0f} s")
    found.end()


if __name__ == "__main__":
    main()
