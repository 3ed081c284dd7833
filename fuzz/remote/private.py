"""Targets of our own to talk to: tgt, istgt and scsipub, each alone in a directory that is thrown away.

Loopback only, one unit of 4 MiB.  Knows processes and files.  ``start`` again after it has died: that is what
makes shrinking a crash possible."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz.remote.address import Address
from scsipub.errors import OperatorError

MIB = 1 << 20
SIZE = 4 * MIB
CRASHED = re.compile(r"crash|Traceback|exception", re.IGNORECASE)
ROOT = Path(__file__).resolve().parents[2]
ISTGT = """\
[Global]
  NodeBase "iqn.2025-01.pub.fuzz"
  PidFile {dir}/istgt.pid
  AuthFile {dir}/auth.conf
  MediaDirectory {dir}
  LogFacility "local7"
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod None
  MaxSessions 64
  MaxConnections 4
  MaxR2T 32
  MaxOutstandingR2T 16
  DefaultTime2Wait 2
  DefaultTime2Retain 60
  FirstBurstLength 262144
  MaxBurstLength 1048576
  MaxRecvDataSegmentLength 262144
  InitialR2T Yes
  ImmediateData Yes
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0
[UnitControl]
  AuthMethod None
  AuthGroup None
  Portal UC1 127.0.0.1:{control}
  Netmask 127.0.0.1
[PortalGroup1]
  Portal DA1 127.0.0.1:{port}
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 127.0.0.0/8
[LogicalUnit1]
  TargetName disk
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UseDigest Auto
  UnitType Disk
  LUN0 Storage {dir}/unit 4MB
"""


class Private:
    """One target process.  ``address`` is where it listens now; ``start`` begins with an empty unit.

    ``units``: so many targets with a unit of their own, for kinds that are ``shared`` by lanes."""

    name = "?"
    package = ""
    program = ""
    shared = False

    def __init__(self, units: int = 1) -> None:
        self.units = units
        self.lock = threading.RLock()  # lanes of a shared one are threads
        self.directory = Path(tempfile.mkdtemp(prefix=f"scsipub-fuzz-{self.name}-"))
        self.process: subprocess.Popen[bytes] | None = None
        self.addresses = [Address("127.0.0.1", 0, "")]
        self.starts = 0

    @property
    def address(self) -> Address:
        return self.addresses[0]

    def start_since(self, seen: int) -> None:
        """Begin anew, unless somebody has done so since ``starts`` was ``seen``."""
        with self.lock:
            if self.starts == seen:
                self.start()

    def start(self) -> None:
        """Stop what runs, and begin anew."""
        self.stop()
        self.starts += 1
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        with (self.directory / "unit").open("wb") as file:
            file.truncate(SIZE)
        port = free_port()
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                start_new_session=True,
            )  # fmt: skip
        try:
            self.addresses = self.ready(port)
        except BaseException:
            self.stop()
            raise

    def command(self, port: int) -> list[str]:
        raise NotImplementedError

    def ready(self, port: int) -> list[Address]:
        raise NotImplementedError

    def died(self) -> str:
        """How it ended by itself; empty while it runs."""
        code = self.process.poll() if self.process is not None else None
        if code is None:
            return ""
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    def restarts(self) -> int:
        """Workers that have died and were replaced.  Others have none."""
        return 0

    def complaints(self) -> str:
        """What a target of ours says about crashes that it survived.  Others do not tell."""
        return ""

    def resident(self) -> int:
        """Bytes of memory that it and its children hold."""
        return sum(_resident(pid) for pid in self.family())

    def family(self) -> list[int]:
        return [self.process.pid] if self.process is not None else []

    def version(self) -> str:
        done = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${Package} ${Version}", self.package],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout if done.returncode == 0 else self.name

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()  # tgtd does not end on SIGTERM while a target is there
        self.process.wait()
        self.process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def wait_for(self, what: Any, seconds: float = 10.0) -> None:
        """Until ``what()`` is true.  Raises ``OperatorError`` with the log."""
        until = time.monotonic() + seconds
        while not what():
            if self.died() or time.monotonic() > until:
                raise OperatorError(
                    f"{self.name} did not start: {self.died()} {self.log()[-500:]}", "see above"
                )
            time.sleep(0.03)


class Tgt(Private):
    """tgtd as Debian has it; it takes digests from whoever asks."""

    name, package, program = "tgt", "tgt", "tgtd"
    target = "iqn.2025-01.pub.fuzz:disk"

    def command(self, port: int) -> list[str]:
        self.channel = str(10_000 + port % 20_000)
        return [found(self), "-f", "-C", self.channel, "--iscsi", f"portal=127.0.0.1:{port}"]

    def _admin(self, *words: str) -> bool:
        done = subprocess.run(
            ["tgtadm", "-C", self.channel, "--lld", "iscsi", *words],
            capture_output=True,
            check=False,
            timeout=10,
        )
        return done.returncode == 0

    def ready(self, port: int) -> list[Address]:
        self.wait_for(lambda: self._admin("--mode", "target", "--op", "show"))
        update = ("--mode", "target", "--op", "update", "--tid", "1", "-v", "CRC32C,None", "-n")
        for step in (
            ("--mode", "target", "--op", "new", "--tid", "1", "-T", self.target),
            (
                "--mode",
                "logicalunit",
                "--op",
                "new",
                "--tid",
                "1",
                "--lun",
                "1",
                "-b",
                str(self.directory / "unit"),
            ),
            ("--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"),
            (*update, "HeaderDigest"),
            (*update, "DataDigest"),
        ):
            if not self._admin(*step):
                raise OperatorError(f"tgtadm {' '.join(step)} failed", "is another tgtd in the way?")
        return [Address("127.0.0.1", port, self.target, 1)]


class Istgt(Private):
    """istgt in the foreground with a configuration of its own."""

    name, package, program = "istgt", "istgt", "istgt"

    def command(self, port: int) -> list[str]:
        config = self.directory / "istgt.conf"
        config.write_text(ISTGT.format(dir=self.directory, port=port, control=free_port()))
        (self.directory / "auth.conf").write_text("")
        (self.directory / "auth.conf").chmod(0o600)
        return [found(self), "-D", "-c", str(config), "-p", str(self.directory / "istgt.pid")]

    def ready(self, port: int) -> list[Address]:
        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        self.wait_for(listens)
        return [Address("127.0.0.1", port, "iqn.2025-01.pub.fuzz:disk", 0)]


class Scsipub(Private):
    """Our own daemon: a rented target for each lane, so that all sessions of a lane see one disk."""

    name, program, shared = "scsipub", sys.executable, True

    def command(self, port: int) -> list[str]:
        self.state = self.directory / "state"
        self.state.mkdir()
        self.read = 0  # bytes of the log that have been looked at
        self.lost = 0
        return [
            sys.executable, "-m", "scsipub", "serve", "--port", "0", "--web-port", "0", "--workers", "1",
            "--state-dir", str(self.state), "--host", "127.0.0.1",
        ]  # fmt: skip

    def ready(self, port: int) -> list[Address]:
        told = self.state / "run" / "endpoints.json"
        self.wait_for(told.exists, 30.0)
        endpoints = json.loads(told.read_text())
        self.ask("tier.put", name="fuzz", allocation_budget=64 * MIB, persistent=True)
        self.ask("tenant.create", name="fuzz", tier="fuzz")
        rented = [self.ask("target.create", tenant="fuzz", luns=[{"size": SIZE}]) for _ in range(self.units)]
        host, _, where = str(endpoints["iscsi"]).rpartition(":")
        self.workers = self.ask("status")["pids"]["workers"]
        return [
            Address(host, int(where), it["name"], 0, it["chap"]["user"], it["chap"]["secret"])
            for it in rented
        ]

    def ask(self, method: str, **params: Any) -> Any:
        """One call on the control socket."""
        frame = json.dumps({"id": 1, "method": method, "params": params}).encode()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.state / "run" / "control.sock"))
            sock.sendall(len(frame).to_bytes(4) + frame)
            with sock.makefile("rb") as answers:
                answer = json.loads(answers.read(int.from_bytes(answers.read(4))))
        if "error" in answer:
            raise OperatorError(f"{method}: {answer['error']}", "see the daemon's log")
        return answer["result"]

    def restarts(self) -> int:
        return self.lost

    def complaints(self) -> str:
        """A crash of one session is a bug, although nobody else notices; so is a worker that died."""
        with self.lock:
            missing = [pid for pid in self.workers if not Path(f"/proc/{pid}").exists()]
            if missing:
                self.lost += len(missing)
                self.workers = [pid for pid in self.workers if pid not in missing]
                return f"a worker died: {missing}"
            with (self.directory / "log").open("rb") as log:
                log.seek(self.read)
                new = log.read()
            whole = new.rpartition(b"\n")[0]
            self.read += len(whole) + bool(whole)
            for line in whole.decode(errors="replace").splitlines():
                if CRASHED.search(line):
                    return line.strip()
            return ""

    def resident(self) -> int:
        """Its share of memory: pages that its processes have in common count once."""
        return sum(_proportional(pid) for pid in self.family())

    def family(self) -> list[int]:
        if self.process is None:
            return []
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry.name))
        all_of_it, new = [], [self.process.pid]
        while new:
            all_of_it.append(new.pop())
            new += children.get(all_of_it[-1], [])
        return all_of_it

    def stop(self) -> None:
        if self.process is None:
            return
        family = self.family()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def version(self) -> str:
        from scsipub import __version__

        return f"scsipub {__version__}"


KINDS: dict[str, type[Private]] = {kind.name: kind for kind in (Tgt, Istgt, Scsipub)}


@contextlib.contextmanager
def private(name: str, units: int = 1) -> Iterator[Private]:
    """A running target of this kind."""
    it = KINDS[name](units)
    try:
        it.start()
        yield it
    finally:
        it.close()


def found(kind: Private) -> str:
    """Where its program is.  Raises ``OperatorError``."""
    path = shutil.which(kind.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise OperatorError(f"{kind.program} is not installed", f"apt-get install {kind.package}")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0
