"""The whole daemon as a child process, for tests that talk to it from outside.

    with daemon(tmp_path, "--workers", "2") as d:
        Initiator(d.iscsi).login(d.target("blank"))

Free ports, a state directory of its own, log in a file, every wait bounded.  Knows the daemon's outside only:
its command line, ``run/endpoints.json`` and its exit."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from tests.support import secrecy

PREFIX = "iqn.2025-01.pub.scsipub:"
REPOSITORY = Path(__file__).resolve().parents[2]


@attrs.define(eq=False)
class Daemon:
    """A running ``scsipub serve``."""

    process: subprocess.Popen[bytes]
    state_dir: Path
    log: Path
    endpoints: dict[str, Any] = attrs.Factory(dict)

    @property
    def iscsi(self) -> str:
        """ "host:port" of the plain listener."""
        return str(self.endpoints["iscsi"])

    @property
    def pids(self) -> dict[str, Any]:
        """{"control": pid, "workers": [pid, …]}, read again because workers are replaced."""
        pids: dict[str, Any] = dict(self._read_endpoints()["pids"])
        with contextlib.suppress(subprocess.SubprocessError, ValueError, KeyError):
            pids |= self.status()["pids"]
        return pids

    @property
    def all_pids(self) -> list[int]:
        """The control process and every descendant of it that runs now."""
        return descendants(self.process.pid)

    def target(self, name: str) -> str:
        return PREFIX + name

    def status(self) -> dict[str, Any]:
        return dict(self.cli("status"))

    def ask(self, method: str, **params: Any) -> Any:
        """One call on the control socket, without the cost of starting the command line."""
        frame = json.dumps({"id": 1, "method": method, "params": params}).encode()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.state_dir / "run" / "control.sock"))
            sock.sendall(len(frame).to_bytes(4, "big") + frame)
            with sock.makefile("rb") as answers:
                answer = json.loads(answers.read(int.from_bytes(answers.read(4), "big")))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        secrecy.remember_all(answer)
        return answer["result"]

    def cli(self, *words: str) -> Any:
        """Runs ``scsipub WORDS… --json`` against this daemon and returns what it printed, decoded."""
        done = subprocess.run(
            command(*words, "--state-dir", str(self.state_dir), "--json"),
            cwd=REPOSITORY,
            capture_output=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
        said = json.loads(done.stdout)
        secrecy.remember_all(said)
        return said

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, seconds: float = 10.0) -> float:
        """SIGTERM and the wait for it; returns how long that took.  SIGKILL to all of it when it is late."""
        started = time.monotonic()
        family = self.all_pids if self.process.poll() is None else []
        if family:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(5)
            raise
        return time.monotonic() - started

    def _read_endpoints(self) -> dict[str, Any]:
        return dict(json.loads((self.state_dir / "run" / "endpoints.json").read_text()))


def descendants(pid: int) -> list[int]:
    """``pid`` and every process below it that runs now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, new = [], [pid]
    while new:
        found.append(new.pop())
        new += children.get(found[-1], [])
    return found


def command(*words: str) -> list[str]:
    """The command line that runs ``scsipub WORDS…`` from this tree."""
    return [sys.executable, "-m", "scsipub", *words]


def start(
    state_dir: Path,
    *args: str,
    seconds: float = 20.0,
    env: dict[str, str] | None = None,
    port: str | None = "0",
) -> Daemon:
    """Starts the daemon and waits until it has said where it listens.  ``port`` None: the configuration file
    lists portals."""
    state_dir.mkdir(parents=True, exist_ok=True)
    told = state_dir / "run" / "endpoints.json"
    told.unlink(missing_ok=True)  # one left by a daemon that was killed
    log = state_dir / "daemon.log"
    secrecy.watch(log)
    config = Path(args[args.index("--config") + 1]) if "--config" in args else None
    listen = () if port is None else ("--port", port)
    words = ("serve", *listen, "--web-port", "0", "--state-dir", str(state_dir), *args)
    with log.open("ab") as out:
        process = subprocess.Popen(
            command(*words),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | (env or {}),
        )
    found = Daemon(process, state_dir, log)
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError):
            found.endpoints = found._read_endpoints()
            secrecy.remember_files(state_dir, config)
            return found
        if process.poll() is not None:
            raise RuntimeError(f"scsipub serve ended with {process.returncode}:\n{found.log_text()}")
        if time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"scsipub serve was not up in {seconds} s:\n{found.log_text()}")
        time.sleep(0.02)


@contextlib.contextmanager
def daemon(state_dir: Path, *args: str, **how: Any) -> Iterator[Daemon]:
    """``start`` on entering, ``stop`` on leaving."""
    running = start(state_dir, *args, **how)
    try:
        yield running
    finally:
        running.stop()
