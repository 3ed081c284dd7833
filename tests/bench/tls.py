"""4 KiB reads over TLS: this daemon's own, beside tgt behind stunnel, measured in turn.

    python -m tests.bench.tls --seconds 3 --runs 5

The client is the same for both: ``scsipub.bench`` through a stunnel of its own, because no common initiator
speaks TLS.  What differs is the server's side: the daemon, or a second stunnel in front of tgtd.  Both stay
up while the other is measured."""

import contextlib
import json
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tests.bench import servers, tools
from tests.bench.rows import KIB, Row
from tests.support.certificates import Authority

ROWS = [
    Row("4 KiB random reads, depth 32", 4 * KIB, 32),
    Row("4 KiB random writes, depth 32", 4 * KIB, 32, write=True),
    Row("4 KiB random reads, depth 1", 4 * KIB, 1),
    Row("128 KiB sequential reads, depth 32", 128 * KIB, 32, sequential=True),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def stunnel(place: Path, name: str, accept: int, connect: str, *more: str) -> Iterator[int]:
    """One stunnel with one service.  Nagle off: stunnel's own advice for many small packets."""
    config = place / f"{name}.conf"
    lines = ["foreground = yes", "pid =", "syslog = no", "debug = crit"]
    lines += ["socket = l:TCP_NODELAY=1", "socket = r:TCP_NODELAY=1", f"[{name}]", *more]
    lines += [f"accept = 127.0.0.1:{accept}", f"connect = {connect}"]
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(["stunnel4", config])
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", accept), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"stunnel did not start with {config}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.kill()
        process.wait()


class Behind(servers.Server):
    """A server, and the stunnel in front of it."""

    front: int = 0

    def pids(self) -> list[int]:
        return [*super().pids(), self.front] if self.front else super().pids()


@contextlib.contextmanager
def both(place: Path, image: Path) -> Iterator[list[Behind]]:
    cert, key, ca = place / "cert.pem", place / "key.pem", place / "ca.pem"
    authority = Authority()
    authority.pair().write(cert, key)
    ca.write_bytes(authority.pem)
    believe = ("client = yes", f"CAfile = {ca}", "verifyChain = yes", "checkHost = localhost")
    options = ("--tls-port", "0", "--tls-cert", str(cert), "--tls-key", str(key))
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(servers.scsipub(place, image, *options))
        tls = json.loads((place / "scsipub" / "run" / "endpoints.json").read_text())["tls"]
        peer = stack.enter_context(servers.tgt(place, image))
        front, near, far = free_port(), free_port(), free_port()
        plain = peer.url.split("/")[2]
        pair = (f"cert = {cert}", f"key = {key}")
        pid = stack.enter_context(stunnel(place, "server", front, plain, *pair))
        stack.enter_context(stunnel(place, "to-scsipub", near, tls, *believe))
        stack.enter_context(stunnel(place, "to-tgt", far, f"127.0.0.1:{front}", *believe))
        found = []
        for server, local in ((ours, near), (peer, far)):
            url = f"iscsi://127.0.0.1:{local}/" + server.url.split("/", 3)[3]
            found.append(Behind(server.name, url, server.control))
        found[1].front = pid
        yield found


@click.command(context_settings={"show_default": True})
@click.option("--seconds", default=3.0)
@click.option("--runs", default=5)
@click.option("--only", default="", help="Part of a row's name.")
def main(seconds: float, runs: int, only: str) -> None:
    """Prints medians and their ratio, row by row."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="scsipub-bench-") as name:
        place = Path(name)
        image = place / "bench.img"
        servers.make_image(image, 256)
        with both(place, image) as up:
            click.echo("| load | scsipub IOPS | tgt IOPS | ratio | of single runs | CPU µs | tgt CPU µs |")
            click.echo("|---|---:|---:|---:|---:|---:|---:|")
            for row in [row for row in ROWS if only in row.key]:
                click.echo(line(row, up, runs, seconds))


def line(row: Row, up: list[Behind], runs: int, seconds: float) -> str:
    """One row of the table."""
    iops: dict[str, list[float]] = {server.name: [] for server in up}
    cpu: dict[str, list[float]] = {server.name: [] for server in up}
    for run in range(runs):
        for server in up if run % 2 == 0 else up[::-1]:
            before = server.cpu_seconds()
            outcome = tools.ours(server.url, row, seconds)
            iops[server.name].append(outcome.iops)
            cpu[server.name].append((server.cpu_seconds() - before) * 1e6 / outcome.operations)
    ratios = [a / b for a, b in zip(iops["scsipub"], iops["tgt"], strict=True)]
    mine, theirs = (statistics.median(iops[name]) for name in ("scsipub", "tgt"))
    costs = " | ".join(f"{statistics.median(cpu[name]):.1f}" for name in ("scsipub", "tgt"))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"| {row.name} | {mine:,.0f} | {theirs:,.0f} | {mine / theirs:.2f} | {spread} | {costs} |"


if __name__ == "__main__":
    main()
