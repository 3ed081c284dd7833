"""So many rented targets: how long it takes to make one, to list them, and to start with all of them.

python -m tests.load.rentals [--targets 2000] [--postgresql]

Everything goes over HTTP, with a token of a tenant and one connection that is kept, as a program would do it.
The bounds that it holds itself to: a start within 5 s, making one within 50 ms at the 99th percentile, a page
of the list within 100 ms."""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon, start
from tests.support.eventually import eventually
from tests.support.http import admin_token
from tests.support.postgres import server

MIB = 1 << 20
START_SECONDS, MAKE_SECONDS, PAGE_SECONDS = 5.0, 0.050, 0.100


class Client:
    """One kept connection."""

    def __init__(self, d: Daemon, token: str) -> None:
        self.connection = http.client.HTTPConnection(d.endpoints["web"], timeout=60)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[Any, float]:
        """The answer, and how many seconds it took."""
        began = time.perf_counter()
        said = json.dumps(body) if body is not None else None
        for again in (True, False):
            try:
                self.connection.request(method, f"/api/v1{path}", said, self.headers)
                with self.connection.getresponse() as answer:
                    raw = answer.read()
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                # The server ends a connection after so many requests; who keeps one begins another.
                self.connection.close()
                if not again:
                    raise
        took = time.perf_counter() - began
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {raw.decode()}")
        return json.loads(raw) if raw else None, took


def share(times: list[float], part: float) -> float:
    """Of sorted times."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def figures(what: str, times: list[float]) -> None:
    parts = ", ".join(
        f"{name} {share(times, part) * 1e3:.1f} ms"
        for name, part in (("median", 0.5), ("p99", 0.99), ("longest", 1.0))
    )
    print(f"{what}: {len(times)} times, {parts}", flush=True)


def processor(d: Daemon) -> dict[str, float]:
    """Seconds of it that control and the web process have had: what other work on the machine cannot blur."""
    found = {}
    web = eventually(lambda: d.pids["web"], 30)
    for name, pid in (("control", d.process.pid), ("web", web)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


@contextlib.contextmanager
def costing(d: Daemon, what: str, count: Callable[[], int]) -> Iterator[None]:
    before = processor(d)
    yield
    after = processor(d)
    each = ", ".join(f"{name} {(after[name] - before[name]) / count() * 1e3:.2f} ms" for name in before)
    print(f"processor for {what}: {each}", flush=True)


def make_all(d: Daemon, count: int) -> tuple[str, list[float]]:
    """A tenant's token, and how long each target took."""
    admin = Client(d, admin_token(d))
    admin(
        "PUT",
        "/tiers/load",
        {"allocation_budget": MIB, "persistent": True, "targets": count, "disk_bytes": MIB},
    )
    admin("POST", "/tenants", {"name": "load", "tier": "load"})
    token = admin("POST", "/tokens", {"tenant": "load"})[0]["token"]
    tenant = Client(d, token)
    return token, [tenant("POST", "/targets", {"size": MIB})[1] for _ in range(count)]


def list_all(d: Daemon, token: str, limit: int, times: list[float]) -> int:
    """How many targets the pages have; how long each page took goes to ``times``."""
    client, seen, after = Client(d, token), 0, ""
    while after is not None:
        page, took = client("GET", f"/targets?limit={limit}{'&after=' + after if after else ''}")
        seen, after = seen + len(page["items"]), page["next"]
        times.append(took)
    return seen


@contextlib.contextmanager
def database(postgresql: bool) -> Iterator[list[str]]:
    if not postgresql:
        yield []
        return
    with server() as running:
        running.execute("CREATE DATABASE load")
        yield ["--database", running.url("load")]


def run(count: int, postgresql: bool, directory: Path) -> list[str]:
    """Prints the figures; what was too slow."""
    slow = []
    with database(postgresql) as options:
        d = start(directory, "--workers", "2", *options)
        try:
            with costing(d, "each target", lambda: count):
                token, made = make_all(d, count)
            figures("making a target", made)
            pages: list[float] = []
            for limit in (50, 200):
                times: list[float] = []
                with costing(d, f"each page of {limit}", lambda times=times: len(times)):
                    seen = list_all(d, token, limit, times)
                figures(f"a page of {limit}", times)
                pages += times
                if seen != count:
                    raise RuntimeError(f"{seen} targets in the list, of {count}")
            print(f"stopping: {d.stop(60):.2f} s", flush=True)
            began = time.perf_counter()
            d = start(directory, "--workers", "2", *options)
            started = time.perf_counter() - began
            print(f"starting with {count} targets: {started:.2f} s", flush=True)
            resumed = [line for line in d.log_text().splitlines() if "rented targets," in line]
            print(f"  of that, {resumed[-1].partition(']')[2].strip()}")
            said = d.ask("status")
            if said["rented"] != count:
                raise RuntimeError(f"{said['rented']} targets after the start, of {count}")
        finally:
            d.stop(60)
    if started > START_SECONDS:
        slow.append(f"a start took more than {START_SECONDS:g} s")
    if share(made, 0.99) > MAKE_SECONDS:
        slow.append(f"making a target took more than {MAKE_SECONDS * 1e3:g} ms")
    if share(pages, 1.0) > PAGE_SECONDS:
        slow.append(f"a page took more than {PAGE_SECONDS * 1e3:g} ms")
    return slow


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--postgresql", action="store_true", help="a server of our own instead of SQLite")
    parser.add_argument(
        "--directory", type=Path, help="where the disks are made; a temporary one unless told"
    )
    said = parser.parse_args()
    directory = said.directory or Path(tempfile.mkdtemp(dir="/var/tmp", prefix="scsipub-load-"))
    try:
        slow = run(said.targets, said.postgresql, directory)
    finally:
        if said.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    for words in slow:
        print(f"TOO SLOW: {words}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
