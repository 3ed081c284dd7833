"""Certificates replaced under load: by all that is wrong, and at last by a good pair.

    python -m tests.load.rotation                      the cooldown as it is, 60 s: six minutes
    python -m tests.load.rotation --cooldown 2         the same in short

Clients shake hands 200 times a second, each believing one authority and nothing else.  Meanwhile the two
files become halves, a pair that does not match, one that has expired, one of another authority's chain; each
stays for longer than a cooldown, so that every worker has looked.  Shown: no handshake fails, whatever was
there; each bad state is said once; the good pair is served a cooldown and a second after it is in place; and
strace sees no system call about the files before a cooldown is over."""

import contextlib
import itertools
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import click
from cryptography import x509

from tests.load.common import Findings, place
from tests.support.certificates import DAY, Authority, Pair, now
from tests.support.daemon import Daemon, daemon

THREADS = 8
# A handshake that begins within the cooldown asks nothing; clocks and strace are this exact.
EXACT_SECONDS = 0.05
# Two looks of one worker are further apart than the calls of one look.
ONE_LOOK_SECONDS = 0.2
WORDS = {
    "half a certificate": "is not whole",
    "half a key": "the key is not whole",
    "a key that does not match": "the key belongs to another certificate",
    "an expired pair": "the certificate has expired",
    "the chain of another": "the chain behind the certificate is that of another one",
}


class Callers:
    """Clients that shake hands about ``rate`` times a second, and what became of it."""

    def __init__(self, address: str, authority: Authority, rate: float) -> None:
        host, _, port = address.rpartition(":")
        self.address = (host, int(port))
        self.context = authority.client_context()
        self.pause = THREADS / rate
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.done = 0
        self.failed: list[str] = []
        self.slowest = 0.0
        self.first_served: dict[int, float] = {}  # serial -> when
        self.last_served: dict[int, float] = {}
        self.threads = [threading.Thread(target=self._call, args=(n,)) for n in range(THREADS)]

    def _call(self, number: int) -> None:
        due = time.monotonic() + self.pause * number / THREADS
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            due = max(due + self.pause, began - 1.0)  # late by more than that is not made up for
            try:
                serial = self._shake_hands()
            except OSError as error:
                with self.lock:
                    self.failed.append(f"{type(error).__name__}: {error}")
                continue
            ended = time.monotonic()
            with self.lock:
                self.done += 1
                self.slowest = max(self.slowest, ended - began)
                self.first_served.setdefault(serial, ended)
                self.last_served[serial] = ended

    def _shake_hands(self) -> int:
        with (
            socket.create_connection(self.address, 10) as sock,
            self.context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            shown = tls.getpeercert(True)
        if shown is None:
            raise ssl.SSLError("no certificate was shown")
        return x509.load_der_x509_certificate(shown).serial_number

    def __enter__(self) -> "Callers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(15)


@attrs.define
class Trace:
    """What one worker asked the kernel about the two files: moments, in seconds of the epoch."""

    file: Path
    paths: tuple[str, ...]

    def looks(self) -> list[float]:
        """When each look began, and how long until the next may be told from these."""
        moments = [
            float(line.split()[1])
            for line in self.file.read_text(errors="replace").splitlines()
            if any(path in line for path in self.paths)
        ]
        starts = moments[:1]
        for before, after in itertools.pairwise(moments):
            if after - before > ONE_LOOK_SECONDS:
                starts.append(after)
        return starts


@contextlib.contextmanager
def traced(pids: list[int], directory: Path, paths: tuple[str, ...]) -> Iterator[list[Trace]]:
    """strace on each of them, for every call that takes a path."""
    traces, tracers = [], []
    try:
        for pid in pids:
            file = directory / f"trace.{pid}"
            words = ["strace", "-f", "-ttt", "-e", "trace=%file", "-o", str(file), "-p", str(pid)]
            tracer = subprocess.Popen(words, stderr=subprocess.PIPE)
            tracers.append(tracer)
            if tracer.stderr is None or b"attached" not in tracer.stderr.readline():
                raise click.ClickException(f"strace cannot look at process {pid}")
            traces.append(Trace(file, paths))
        yield traces
    finally:
        for tracer in tracers:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)


def wrong_pairs(authority: Authority, first: Pair) -> Mapping[str, Pair]:
    """Everything that must not be served, by name."""
    other, stranger = authority.pair(), Authority("Another authority")
    leaf = other.certificate[: -len(authority.pem)]
    return {
        "half a certificate": Pair(first.certificate[: len(first.certificate) // 3], first.key),
        "half a key": Pair(other.certificate, other.key[: len(other.key) // 2]),
        "a key that does not match": Pair(other.certificate, first.key),
        "an expired pair": authority.pair(begins=now() - 3 * DAY, ends=now() - DAY / 2),
        "the chain of another": Pair(leaf + stranger.pem, other.key),
    }


def stay(what: str, seconds: float, callers: Callers) -> None:
    """Let time pass, and say so."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        if not sys.stderr.isatty():
            time.sleep(left)
            return
        progress = f"{callers.done:,} handshakes, {len(callers.failed)} failed; {what}: {left:.0f} s more "
        click.echo(f"\r{progress:<90}", nl=False, err=True)
        time.sleep(min(1.0, left))
    if sys.stderr.isatty():
        click.echo(f"\r{'':<90}\r", nl=False, err=True)


def endpoint(running: Daemon) -> str | None:
    told = json.loads((running.state_dir / "run" / "endpoints.json").read_text())["tls"]
    return str(told) if told else None


def wait_for_port(running: Daemon, seconds: float) -> tuple[str | None, float]:
    began = time.monotonic()
    while (tls := endpoint(running)) is None and time.monotonic() - began < seconds:
        time.sleep(0.05)
    return tls, time.monotonic() - began


def said(running: Daemon) -> list[str]:
    """Every warning that a pair is not used."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", running.log_text())
    return [line for line in text.splitlines() if "certificate not used" in line]


@click.command(context_settings={"show_default": True})
@click.option("--rate", default=200.0, help="Handshakes a second.")
@click.option("--cooldown", default=60.0, help="tls_reload_seconds.")
@click.option("--workers", default=2)
@click.option("--slack", default=0.9, help="Part of the rate that must be reached.")
def main(rate: float, cooldown: float, workers: int, slack: float) -> None:
    """Ends with 1 when anything did not hold."""
    findings = Findings()
    with place() as directory:
        cert, key = directory / "cert.pem", directory / "key.pem"
        config = directory / "scsipub.toml"
        config.write_text(f"[limits]\ntls_reload_seconds = {cooldown}\n")
        options = ("--config", str(config), "--workers", str(workers))
        options += ("--tls-port", "0", "--tls-cert", str(cert), "--tls-key", str(key))
        with daemon(directory / "state", *options) as running:
            findings.check(endpoint(running) is None, "without a certificate there is no listener")
            authority = Authority()
            first = authority.pair()
            first.write(cert, key)
            tls, took = wait_for_port(running, 10)
            if not findings.check(tls is not None, f"{took:.1f} s after it arrived there is one"):
                findings.end()
            with (
                traced(running.pids["workers"], directory, (str(cert), str(key))) as traces,
                Callers(str(tls), authority, rate) as callers,
            ):
                began = time.monotonic()
                rotate(findings, running, callers, (cert, key), (authority, first), cooldown)
                seconds = time.monotonic() - began
            report(findings, callers, traces, rate * slack, seconds, cooldown)
    findings.end()


def rotate(
    findings: Findings,
    running: Daemon,
    callers: Callers,
    files: tuple[Path, Path],
    served: tuple[Authority, Pair],
    cooldown: float,
) -> None:
    """All that is wrong, one after the other, and at last what is right."""
    cert, key = files
    authority, first = served
    quiet = len(said(running))
    for what, pair in wrong_pairs(authority, first).items():
        before = len(said(running))
        # As a careless program does it: in place, the certificate first.
        cert.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        stay(what, cooldown + max(0.5, cooldown / 10), callers)
        lines = said(running)[before:]
        right = [line for line in lines if WORDS[what] in line]
        findings.check(
            len(lines) == len(right) == 1, f"{what}: said {len(lines)} times, in {len(right)} right"
        )
    findings.check(len(said(running)) - quiet == len(WORDS), f"{len(WORDS)} warnings in all")
    findings.check(set(callers.first_served) == {first.serial}, "only the first pair was served until now")

    last = authority.pair()
    last.write(cert, key)
    put = time.monotonic()
    stay("a good pair", cooldown + 2.0, callers)
    after = callers.first_served.get(last.serial, float("inf")) - put
    until = callers.last_served[first.serial] - put
    findings.check(after <= cooldown + 1, f"the good pair was served first after {after:.1f} s")
    findings.check(until <= cooldown + 1, f"and nothing else from {until:.1f} s on")


def report(
    findings: Findings,
    callers: Callers,
    traces: list[Trace],
    rate: float,
    seconds: float,
    cooldown: float,
) -> None:
    reached = callers.done / seconds
    findings.check(reached >= rate, f"{callers.done:,} handshakes, {reached:.0f} a second")
    findings.check(not callers.failed, f"{len(callers.failed)} failed {callers.failed[:3] or ''}".rstrip())
    click.echo(f"      the slowest took {callers.slowest * 1000:.0f} ms")
    looked = 0
    for number, trace in enumerate(traces):
        looks = trace.looks()
        looked += len(looks)
        gaps = [after - before for before, after in itertools.pairwise(looks)]
        findings.check(
            min(gaps, default=cooldown) >= cooldown - EXACT_SECONDS,
            f"worker {number} looked {len(looks)} times, never less than {min(gaps, default=0):.2f} s apart",
        )
    # Which of them has handshakes to do is up to control.
    findings.check(looked > len(WORDS), f"together {looked} times")


if __name__ == "__main__":
    main()
