"""The control process: the tree, and what its parts share.

Control parses nothing that a stranger sent.  It accepts, places, remembers, and restarts what dies; workers
serve.  ``tree`` is the whole of it as data: read downwards, what is above must live for what is below."""

import gc
import logging
import os
import platform
import random
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

import trio

import scsipub
from scsipub.config import Config
from scsipub.control.accept import Guest, accept, listen
from scsipub.control.catalogue import Catalogue
from scsipub.control.complaints import Complaints
from scsipub.control.console import Console
from scsipub.control.desk import Desk, free_bytes
from scsipub.control.identities import Identities
from scsipub.control.imports import Imports
from scsipub.control.janitor import Janitor, clear_disposable, left_over
from scsipub.control.logs import say, set_up_logs
from scsipub.control.placement import Place, Placement
from scsipub.control.rentals import Rentals
from scsipub.control.sources import Sources
from scsipub.control.state import StateDir
from scsipub.control.suspects import Suspects, suspect_of
from scsipub.control.tls import TlsPortals
from scsipub.control.usage import Usage
from scsipub.control.web import DRAIN_SECONDS as WEB_DRAIN
from scsipub.control.web import WebProcess
from scsipub.errors import OperatorError
from scsipub.storage.images import ImageStore
from scsipub.storage.welcome import welcome
from scsipub.store.store import Opened, Store, open_store
from supervisor.exits import Exit
from supervisor.pool import Worker, WorkerPool
from supervisor.pool_spec import PoolSpec
from supervisor.process import State
from supervisor.spec import Cancel, ChildSpec, Drain, Restart, Strategy, SupervisorSpec
from supervisor.stopping import stopping
from supervisor.tree import Supervisor

log = logging.getLogger("scsipub.control")

# A transaction that has begun may finish.
STORE_SECONDS = 10.0

# Descriptors that are not connections: listeners, channels, bases, the log, and room to say no.
SPARE_DESCRIPTORS = 512


class Control:
    """What the parts of the control process share.  Made once per daemon."""

    def __init__(
        self,
        config: Config,
        instance: bytes,
        announce: Callable[[dict[str, Any]], None] = lambda _: None,
        opened: Opened | None = None,
    ) -> None:
        self.config = config
        self.store = Store(opened) if opened is not None else None
        self.announce = announce
        self.endpoints_said = False
        self.catalogue = Catalogue(config, instance)
        self.placement = Placement(config.limits.grace_seconds)
        self.sources = Sources(config.limits, random.random)
        self.suspects = Suspects(config.limits)
        self.complaints = Complaints(config.limits, say)
        self.desk = Desk(self)
        self.janitor = Janitor(self)
        self.identities = Identities(self)
        self.rentals = Rentals(self, self.store)
        self.imports = Imports(self)
        self.usage = Usage(self.rentals.tenant_of)
        self.console = Console(self)
        self.session_news = trio.lowlevel.ParkingLot()  # somebody logged in, or a session is over
        self.tls = TlsPortals(self)
        self.web = WebProcess(self)
        self.began = monotonic()
        self.endpoints: dict[str, Any] = {}
        self.guests: dict[str, Guest] = {}  # every connection that a worker has, by id
        self.load: dict[Place, int] = {}
        self.counted: dict[Place, dict[str, int]] = {}  # what each worker said last
        self.buried: Counter[str] = Counter()  # what those had counted that are gone
        self.connections = self.refused = self.handed_on = self.tunnels = 0
        self.logins = self.login_failures = self.crashes = 0
        self.pool = WorkerPool(
            PoolSpec(
                argv=partial(_worker_argv, config),
                size=config.workers,
                handlers=self.desk.handlers,
                on_up=self._worker_up,
                on_down=self._worker_down,
                on_stderr=self._worker_said,
                heartbeat_seconds=config.limits.heartbeat_seconds,
                misses=config.limits.heartbeat_misses,
                drain_seconds=config.limits.drain_seconds,
            )
        )
        self.listeners: list[tuple[socket.socket, int]] = []

    # -- workers -----------------------------------------------------------------------------------------

    def least_loaded(self) -> Worker | None:
        """The ready worker with the fewest connections."""
        ready = [w for w in self.pool.workers if w.state is State.READY]
        return min(ready, key=lambda w: self.load.get((w.index, w.incarnation), 0), default=None)

    def ready_worker(self, index: int) -> Worker | None:
        return next((w for w in self.pool.workers if w.index == index and w.state is State.READY), None)

    def worker_at(self, place: Place) -> Worker | None:
        return next((w for w in self.pool.workers if (w.index, w.incarnation) == place), None)

    async def _worker_up(self, worker: Worker) -> None:
        self.load[worker.index, worker.incarnation] = 0
        if self.endpoints_said:
            await trio.to_thread.run_sync(self.say_endpoints)  # its pid is another one

    async def _worker_down(self, worker: Worker, exit: Exit) -> None:
        """Called when the process is reaped: nothing of it writes any more."""
        place = (worker.index, worker.incarnation)
        now = monotonic()
        self._suspect(self.suspects.served_by(place, exit), now)
        lost = self.placement.worker_died(place, now)
        self.session_news.unpark_all()
        self.load.pop(place, None)
        self.buried.update(self.counted.pop(place, {}))
        for connection, guest in list(self.guests.items()):
            if guest.worker == place:
                del self.guests[connection]
                self.sources.leaves(guest.source, now, logged_in=guest.logged_in)
        if lost:
            say("worker lost", worker=worker.index, sessions=len(lost), why=str(exit.reason))

    def _suspect(self, session: str, now: float) -> None:
        """A worker has crashed over this session, if there is one of that id."""
        record = self.placement.records.get(session)
        if record is None:
            return
        if not record.target.shared:
            self.sources.punish(record.key[1], self.config.limits.penalty_crash, now)
        if self.suspects.blame(suspect_of(record.target.shared, record.key), now):
            say(
                "target quarantined",
                target=record.target.name,
                initiator="" if record.target.shared else record.key[0],
                seconds=self.config.limits.poison_seconds,
            )

    def _worker_said(self, index: int, line: bytes) -> None:
        say("worker", worker=index, line=line.decode("utf-8", "replace"))

    # -- the rest ----------------------------------------------------------------------------------------

    def pids(self) -> dict[str, Any]:
        return {"control": os.getpid(), "workers": [w.pid for w in self.pool.workers], "web": self.web.pid}

    def say_endpoints(self) -> None:
        """Tell programs where the listeners are and who serves."""
        self.announce({**self.endpoints, "pids": self.pids()})
        self.endpoints_said = True

    def free_bytes(self) -> int:
        return free_bytes(str(self.config.overlays_dir))

    def shared_overlays(self) -> set[str]:
        """Overlays of shared targets live as long as the daemon."""
        return {
            f"d-{self.catalogue.shared_owner(entry.name)}-{lun.lun}"
            for entry in self.catalogue.targets.values()
            if entry.shared
            for lun in entry.luns
        }

    def open_listeners(self) -> None:
        """Raises OperatorError when one cannot be had."""
        for index, portal in enumerate(self.config.portals):
            if portal.tls:
                continue
            for listener in listen(portal, self.config.limits.listen_backlog):
                self.listeners.append((listener, index))
        self.endpoints = {
            "iscsi": self.address_of(self.listeners[0][0]) if self.listeners else None,
            "tls": None,
            "web": self.web.open(),
        }
        self.tls.try_open()

    @staticmethod
    def address_of(listener: socket.socket) -> str:
        """Where a program on this machine reaches it."""
        where = listener.getsockname()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where[0], where[0])
        return f"[{host}]:{where[1]}" if ":" in host else f"{host}:{where[1]}"

    async def accept_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for listener, portal in self.listeners:
                nursery.start_soon(accept, self, listener, portal)
            nursery.start_soon(self.tls.open_when_ready, nursery)

    async def run_pool(self, task_status: "trio.TaskStatus[Any]" = trio.TASK_STATUS_IGNORED) -> None:
        """Workers live until everything above them has stopped; then they drain."""
        stop = stopping()
        async with trio.open_nursery() as nursery:

            async def drain_when_told() -> None:
                await stop.wait()
                await self.pool.drain()

            nursery.start_soon(drain_when_told)
            await self.pool.run(task_status)
            nursery.cancel_scope.cancel()

    def tree(self) -> SupervisorSpec:
        """Read downwards: what is above must live for what is below to work."""
        return SupervisorSpec(
            Strategy.REST_FOR_ONE,
            [
                *([ChildSpec("store", self.store.run, shutdown=Drain(STORE_SECONDS))] if self.store else []),
                ChildSpec("rentals", self.rentals.run, shutdown=Cancel()),
                ChildSpec("workers", self.run_pool, shutdown=Drain(self.config.limits.drain_seconds + 1.0)),
                ChildSpec("accept", self.accept_all, shutdown=Cancel()),
                ChildSpec("reaper", self.janitor.reap, shutdown=Cancel()),
                ChildSpec("janitor", self.janitor.tick, shutdown=Cancel()),
                ChildSpec("console", self.console.run, shutdown=Cancel()),
                ChildSpec("imports", self.imports.run, shutdown=Cancel()),
                # Last: whatever happens to it, nobody else is restarted.  Without a port it ends.
                ChildSpec("web", self.web.run, restart=Restart.TRANSIENT, shutdown=Drain(WEB_DRAIN + 1.0)),
            ],
            name="control",
        )


def _worker_argv(config: Config, index: int, fd: int) -> list[str]:
    reads = [
        str(place)
        for place in (config.images_dir, config.tls_cert, config.tls_key, config.tls_client_ca)
        if place is not None
    ]
    may = [f"--reads={place}" for place in reads] + [f"--writes={config.disposable_dir}"]
    return [sys.executable, "-m", "scsipub", "worker", "--channel-fd", str(fd), *may]


async def serve(config: Config, state: StateDir, instance: bytes, ending: "Ending", opened: Opened) -> None:
    """Run until SIGTERM or SIGINT."""
    control = Control(config, instance, state.announce, opened)
    # Disposable disks of a daemon that was killed belong to nobody any more.
    clear_disposable(str(config.overlays_dir))
    control.janitor.left_over = left_over(str(config.overlays_dir))
    control.open_listeners()
    tree = Supervisor(control.tree())
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def until_told() -> None:
                async for number in signals:
                    if not ending.told:
                        ending.told = True
                        say("stopping", signal=signal.Signals(number).name)
                        nursery.start_soon(stop)

            async def stop() -> None:
                await tree.stop()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_told)
            await nursery.start(tree.run)
            control.say_endpoints()
            notify_systemd("READY=1")
            say("serving", python=platform.python_version(), version=scsipub.__version__, **control.endpoints)
    swept = await trio.to_thread.run_sync(clear_disposable, str(config.overlays_dir))
    say("stopped", overlays_removed=swept)


def notify_systemd(state: str) -> None:
    """sd_notify(3), if systemd started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Ending:
    """SIGTERM and SIGINT before Trio listens, and after.

    Before, they end the program at once.  After, there is nothing more to be done for them: whoever asks
    again while the last overlays go must not get a process that died of a signal, with overlays left."""

    def __init__(self) -> None:
        self.told = False

    def heed(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._untimely)

    def _untimely(self, number: int, frame: object) -> None:
        if not self.told:
            raise SystemExit(128 + number)


def run(config: Config) -> None:
    """``scsipub serve``.  Raises OperatorError when it cannot start."""
    set_up_logs(config.log_format)
    _raise_descriptor_limit()
    state = StateDir(config)
    instance = state.open()
    ending = Ending()
    ending.heed()
    try:
        welcome(ImageStore(config.images_dir), datetime.now(UTC).isoformat(timespec="seconds"))
        # As in a worker: the records of sessions live long, and looking through them stops the loop.
        gc.set_threshold(2_000, 10, 100)
        opened = open_store(config.database, config.state_dir, instance)
        try:
            trio.run(serve, config, state, instance, ending, opened)
        finally:
            opened.engine.close()
    except BaseExceptionGroup as group:
        refusal = _only(group)
        if isinstance(refusal, OperatorError):
            raise refusal from None
        raise
    finally:
        state.close()


def _only(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
