"""A real PostgreSQL for tests: initdb and postgres in a temporary directory, on a Unix socket only.

PostgreSQL refuses to run as root, so under root it runs as the user that Debian's package made, or nobody.
It can be killed and started again, which is what half of the tests are about."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import psycopg

# A crash of the server is survived without fsync, a crash of the machine is not: right for tests.
SETTINGS = ("fsync=off", "listen_addresses=", "max_connections=50", "shared_buffers=32MB")


def programs() -> Path:
    """Where initdb and postgres are.  Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    if there is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    return Path(there).resolve().parent


def _unprivileged() -> dict[str, str | int]:
    """For Popen: whom to be."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid}
    raise KeyError("there is no user to run PostgreSQL as")


@attrs.define(eq=False)
class Server:
    """One server with its data."""

    directory: Path
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://tester@/{database}?host={self.directory}"

    def start(self) -> None:
        log = (self.directory / "log").open("ab")
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        self.process = subprocess.Popen(
            [programs() / "postgres", "-D", self.directory / "data", "-k", self.directory, *settings],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd="/",
            **_unprivileged(),
        )
        log.close()
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(), autocommit=True).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9 of the whole server; its children notice and end."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Every process of it stands still, as on a machine that swaps itself to death."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        if self.process is not None:
            self.go_on()
            self.process.send_signal(signal.SIGQUIT)  # at once, without a checkpoint
            self.process.wait()
            self.process = None

    def execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A running server; gone with its data at the end."""
    directory = Path(tempfile.mkdtemp(prefix="scsipub-pg-", dir="/tmp"))
    them = _unprivileged()
    if them:
        os.chown(directory, int(them["user"]), int(them["group"]))
    made = Server(directory)
    try:
        subprocess.run(
            [
                *(programs() / "initdb", "-D", directory / "data", "-U", "tester", "-A", "trust"),
                *("-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
            **_unprivileged(),
        )
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)
