"""The host's side of a scenario: the daemon, and what scripts may ask to be done to it.

Knows the daemon's outside: its command line, its control socket and its processes."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.guest.machine import LOOPBACK_OF_HOST, Deed
from tests.guest.scenarios import SECRET, TARGET_SECRET, TARGET_USER, USER
from tests.support import daemon as daemons

PORTALS = 2
# The supervisor rests for a minute when one worker dies six times in thirty seconds.
KILL_SECONDS = 7.0

# One target asks for a password, both ways; two are what machines share.  The anonymous ones need no words.
CONFIGURATION = f"""
[[target]]
name = "chap"
luns = [{{ size = "64 MiB" }}]

[[target.users]]
user = "{USER}"
secret = "{SECRET}"
mutual_user = "{TARGET_USER}"
mutual_secret = "{TARGET_SECRET}"

[[target]]
name = "shared"
shared = true
luns = [{{ size = "64 MiB" }}]

[[target]]
name = "ports"
shared = true
nexus = "initiator-port"
luns = [{{ size = "64 MiB" }}]
"""
# Discovery must give an address that guests can reach.
PORTAL = """
[[portal]]
host = "127.0.0.1"
port = {port}
public_host = "{there}:{port}"
"""


@attrs.frozen
class Side:
    """The target that the guests talk to, as they see it."""

    portal: str
    prefix: str
    second: str = ""  # another portal of it
    deeds: Mapping[str, Deed] = attrs.field(factory=dict)


@attrs.define
class Host:
    """A daemon in a folder of its own, on ports that stay the same when it is started again."""

    folder: Path
    ports: tuple[int, ...]
    daemon: daemons.Daemon | None = None
    killed_at: float = 0.0

    @classmethod
    def prepare(cls, folder: Path) -> "Host":
        host = cls(folder, free_ports(PORTALS))
        portals = [PORTAL.format(there=LOOPBACK_OF_HOST, port=port) for port in host.ports]
        host.configuration.write_text(CONFIGURATION + "".join(portals))
        return host

    @property
    def configuration(self) -> Path:
        return self.folder / "scsipub.toml"

    def start(self) -> None:
        words = ("--config", str(self.configuration))
        self.daemon = daemons.start(self.folder / "state", *words, port=None)

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()

    def log_text(self) -> str:
        return self._running.log_text()

    def side(self, prefix: str) -> Side:
        first, second = (f"{LOOPBACK_OF_HOST}:{port}" for port in self.ports)
        deeds = (
            *(self.kill_worker, self.restart_workers, self.kill_daemon, self.restart_daemon),
            *(self.kick, self.rent),
        )
        named = {deed.__name__.replace("_", "-"): _in_a_thread(deed) for deed in deeds}
        return Side(first, prefix, second, named)

    # -- deeds -------------------------------------------------------------------------------------------

    def kill_worker(self) -> str:
        """Kill the worker that has a session, as a crash of it would; some other when none has."""
        time.sleep(max(0.0, self.killed_at + KILL_SECONDS - time.monotonic()))
        self.killed_at = time.monotonic()
        workers = self._running.status()["workers"]
        busy = [worker for worker in workers if worker["sessions"]] or workers
        os.kill(busy[0]["pid"], signal.SIGKILL)
        return f"killed worker {busy[0]['index']} (pid {busy[0]['pid']})"

    def restart_workers(self) -> str:
        """Replace one worker after the other, as a new version of the daemon's code would want it."""
        before = self._running.status()["workers"]
        self._running.ask("worker.restart")
        after = self._running.status()["workers"]
        if any(old["pid"] == new["pid"] for old, new in zip(before, after, strict=True)):
            raise RuntimeError(f"not all were replaced: {before}, then {after}")
        return f"restarted {len(after)} workers"

    def kill_daemon(self) -> str:
        """Kill the control process, whose workers must end by themselves, and start the daemon again."""
        process = self._running.process
        process.kill()
        process.wait()
        self.start()
        return f"killed the daemon (pid {process.pid}); it is {self._running.process.pid} now"

    def restart_daemon(self) -> str:
        self.stop()
        self.start()
        return f"restarted the daemon; it is {self._running.process.pid} now"

    def rent(self, *mebibytes: str) -> str:
        """A target with a disk of each size; says its name, user and secret."""
        running = self._running
        with contextlib.suppress(RuntimeError):  # they are there already
            running.ask("tier.put", name="guest", allocation_budget=1 << 30, persistent=True)
            running.ask("tenant.create", name="guest", tier="guest")
        luns = [{"size": int(each) << 20} for each in mebibytes]
        rented = running.ask("target.create", tenant="guest", luns=luns)
        return f"{rented['name']} {rented['chap']['user']} {rented['chap']['secret']}"

    def kick(self, number: str) -> str:
        """End a session, the first (0) or another by the order in which they came."""
        sessions: list[dict[str, Any]] = sorted(
            self._running.cli("session", "list"), key=lambda s: s["since"]
        )
        chosen = sessions[int(number)]["id"]
        self._running.cli("session", "kick", chosen)
        return f"ended session {chosen} of {len(sessions)}"

    @property
    def _running(self) -> daemons.Daemon:
        if self.daemon is None:
            raise RuntimeError("the daemon was not started")
        return self.daemon


def _in_a_thread(deed: Any) -> Deed:
    async def run(*words: str) -> str:
        return str(await trio.to_thread.run_sync(deed, *words))

    return run


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that are free now.  They must be known before the daemon starts: its file names them."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return tuple(int(server.getsockname()[1]) for server in servers)
    finally:
        for server in servers:
            server.close()
