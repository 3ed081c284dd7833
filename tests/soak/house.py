"""The daemon under soak: its ports stay, whatever happens to its processes, and its parts can be counted."""

import contextlib
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import attrs

from tests.load.common import memory, name_of
from tests.soak.record import Record
from tests.support.certificates import Authority
from tests.support.daemon import REPOSITORY, Daemon, start
from tests.support.eventually import eventually
from tests.support.initiator import Initiator
from tests.support.websocket import TunnelSocket, WebSocket

SETTINGS = """
[limits]
grace_seconds = {grace}
janitor_seconds = 5
orphan_age_seconds = 30
penalty_malformed = 1
"""
# What is kept on purpose, and bounded elsewhere.
JOURNALS = {"events", "login_attempts", "idempotency", "alembic_version"}
KEPT = {"tokens": " WHERE revoked IS NULL"}  # a token that was revoked is remembered as that


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in held]


@attrs.define(eq=False)
class House:
    """One state directory and the daemon over it, which may die and be started again."""

    record: Record
    place: Path
    grace: float = 20.0
    running: Daemon = attrs.field(init=False)
    ports: list[int] = attrs.field(factory=lambda: free_ports(3))
    trust: ssl.SSLContext = attrs.field(init=False)
    up: threading.Event = attrs.Factory(threading.Event)
    proxy: subprocess.Popen[bytes] | None = None
    proxy_address: str = ""

    def __attrs_post_init__(self) -> None:
        authority = Authority()
        authority.pair("localhost", "127.0.0.1").write(self.place / "cert.pem", self.place / "key.pem")
        (self.place / "ca.pem").write_bytes(authority.pem)
        (self.place / "scsipub.toml").write_text(SETTINGS.format(grace=self.grace))
        self.trust = ssl.create_default_context(cafile=str(self.place / "ca.pem"))
        self.begin()

    def begin(self) -> None:
        iscsi, tls, web = map(str, self.ports)
        self.running = start(
            self.place / "state", "--workers", "2", "--config", str(self.place / "scsipub.toml"),
            "--tls-port", tls, "--tls-cert", str(self.place / "cert.pem"),
            "--tls-key", str(self.place / "key.pem"), "--web-port", web, "--host", "127.0.0.1",
            port=iscsi, seconds=60,
        )  # fmt: skip
        eventually(lambda: self.running.pids["web"], 60)
        self.up.set()

    def kill(self) -> None:
        """kill -9 of control, and a new start once everything of the old one has ended."""
        family = self.running.all_pids
        self.up.clear()
        self.running.process.kill()
        self.running.process.wait()
        deadline = time.monotonic() + 15
        while any(map(exists, family)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if left := [pid for pid in family if exists(pid)]:
            self.record.error(f"{len(left)} processes outlived control by 15 s")
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        self.record.epoch += 1
        self.begin()

    def stop(self) -> None:
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()
        took = self.running.stop(20)
        self.record.event(f"stopped in {took:.1f} s")

    def weather(self, seed: int) -> None:
        """A port that leads to the daemon through bad weather."""
        [port] = free_ports(1)
        words = [
            sys.executable,
            "-m",
            "scsipub",
            "chaos",
            self.running.iscsi,
            "--listen",
            f"127.0.0.1:{port}",
        ]
        words += ["--cut", "0.0005", "--reset", "0.0005", "--stall", "0.002", "--stall-seconds", "0.5"]
        words += ["--crumbs", "0.02", "--coalesce", "0.002", "--seed", str(seed)]
        self.proxy = subprocess.Popen(
            words, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.proxy_address = f"127.0.0.1:{port}"
        eventually(lambda: socket.create_connection(("127.0.0.1", port), 2).close() is None, 20)

    # -- ways to it --------------------------------------------------------------------------------------

    def plain(self, name: str, source: str | None = None) -> Initiator:
        return Initiator(self.running.iscsi, name=name, timeout=8, source=source)

    def stormy(self, name: str) -> Initiator:
        return Initiator(self.proxy_address, name=name, timeout=8)

    def tls(self, name: str) -> Initiator:
        who = Initiator(f"127.0.0.1:{self.ports[1]}", name=name, timeout=8)
        try:
            who.sock = self.trust.wrap_socket(who.sock, server_hostname="localhost")
        except BaseException:
            who.close()
            raise
        return who

    def tunnel(self, name: str) -> Initiator:
        """Inside a WebSocket, as Caddy would bring it."""
        websocket = WebSocket(
            f"127.0.0.1:{self.ports[2]}", timeout=8, X_Forwarded_For="198.51.100.7", X_Forwarded_Proto="https"
        )
        if websocket.status != 101:
            websocket.close()
            raise ConnectionError(f"no tunnel: {websocket.status}")
        who = self.plain(name)
        who.sock.close()
        who.sock = TunnelSocket(websocket)
        return who

    # -- what it consists of -----------------------------------------------------------------------------

    def census(self) -> dict[str, float]:
        """Everything that must come back to what it was, by name."""
        counted: dict[str, float] = {}

        def add(name: str, number: float) -> None:
            counted[name] = counted.get(name, 0) + number

        for pid in self.running.all_pids:
            kind = name_of(pid)
            with contextlib.suppress(OSError):
                add(f"{kind} processes", 1)
                add(f"{kind} files", len(os.listdir(f"/proc/{pid}/fd")))
                add(f"{kind} threads", len(os.listdir(f"/proc/{pid}/task")))
                add(f"{kind} memory", memory([pid])["Pss"])
        status = self.running.ask("status")
        for kind, tasks in status["tasks"].items():
            add(f"{kind} tasks", tasks)
        add("sessions", status["sessions"])
        add("parked disks", status["parked"])
        add("rented targets", status["rented"])
        add("images", status["images"])
        for folder in ("overlays", "images"):
            files = list((self.place / "state" / folder).rglob("*"))
            add(f"files in {folder}", sum(file.is_file() for file in files))
        for table, rows in self.rows().items():
            add(f"rows of {table}", rows)
        return counted

    def rows(self) -> dict[str, int]:
        url = f"file:{self.place / 'state' / 'scsipub.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(url, uri=True, timeout=10)) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return {
                name: database.execute(f'SELECT count(*) FROM "{name}"{KEPT.get(name, "")}').fetchone()[0]
                for (name,) in names
                if name not in JOURNALS and not name.startswith("sqlite_")
            }

    def workers(self) -> list[int]:
        said: list[Any] = self.running.ask("status")["workers"]
        return [one["pid"] for one in said if one["state"] == "ready"]


def exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
