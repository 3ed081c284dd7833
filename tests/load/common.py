"""What the load scripts share: a place for the state, a list of what held, memory of processes."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from tests.support.daemon import REPOSITORY


@attrs.define
class Findings:
    """What was looked at, and whether it held."""

    failed: list[str] = attrs.Factory(list)

    def check(self, held: bool, what: str) -> bool:
        click.echo(f"{'ok    ' if held else 'FAILED'} {what}")
        if not held:
            self.failed.append(what)
        return held

    def end(self) -> None:
        """Ends the program: 1 when anything failed."""
        raise SystemExit(1 if self.failed else 0)


@contextlib.contextmanager
def place(kept: Path | None = None) -> Iterator[Path]:
    """A state directory on a real disk, removed afterwards unless it was named."""
    directory = kept or Path(tempfile.mkdtemp(dir="/var/tmp", prefix="scsipub-load-"))
    try:
        yield directory
    finally:
        if kept is None:
            shutil.rmtree(directory, ignore_errors=True)


def memory(pids: list[int]) -> dict[str, int]:
    """Bytes of all these processes: their share (PSS) and what is resident (RSS)."""
    total = {"Pss": 0, "Rss": 0}
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in total:
                    total[name] += int(rest.split()[0]) * 1024
    return total


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of all these processes, so far."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def name_of(pid: int) -> str:
    """What the process is, as its command line tells: control, worker, or the program's name."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "gone"
    for word, name in (("worker", "worker"), ("serve", "control"), ("web", "web")):
        if "scsipub" in words and word in words:
            return name
    return Path(words[0]).name


class Witness:
    """A verifying client in a process of its own."""

    def __init__(self, address: str, target: str, name: str, seconds: float, *more: str) -> None:
        self.name = f"iqn.1993-08.org.debian:01:{name}"
        words = [sys.executable, "-m", "scsipub.bench.verify", f"iscsi://{address}/{target}/0"]
        words += ["--seconds", str(seconds), "--initiator", self.name, *more]
        self.process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)

    def stop(self) -> None:
        """Asks it to end now; ``report`` then says what it found."""
        self.process.send_signal(signal.SIGINT)

    def report(self, seconds: float = 60.0) -> dict[str, Any]:
        """Waits for its end; what it found."""
        try:
            out, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, _ = self.process.communicate()
        try:
            return dict(json.loads(out))
        except ValueError:
            return {"error": f"said {out!r}", "operations": 0, "reconnects": [], "longest_pause": 0.0}


def wait_until(what: Any, seconds: float, pause: float = 0.05) -> float | None:
    """Asks ``what()`` until it says yes; how long that took, or None when it was too long."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        with contextlib.suppress(OSError, ValueError, KeyError, subprocess.SubprocessError):
            if what():
                return time.monotonic() - started
        time.sleep(pause)
    return None


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
