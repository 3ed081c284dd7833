"""The web process: kept alive beside the workers, and what it may ask.

Knows trio and ``supervisor.pool``.  Control opens the port and hands it over, so that it stays the same when
the process is replaced; control itself reads nothing from it.  Whatever becomes of the web process, targets
are served: each trouble is said once, and the next try comes by itself.

The process holds no secret and is trusted with nothing: what is not public it can only ask for with a token
that a stranger has shown it, and control looks at that token for each call."""

import contextlib
import functools
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from scsipub.certificates import host_of
from scsipub.config import Portal
from scsipub.control.accept import admit_tunnel, keep_alive, listen
from scsipub.control.admin_token import AdminToken
from scsipub.control.api.door import Door
from scsipub.control.api.methods import make_door
from scsipub.control.console import TOTALS
from scsipub.control.logs import say, warn
from scsipub.errors import OperatorError
from supervisor.channel import CallError, Handler, Reply
from supervisor.exits import Exit
from supervisor.pool import StartFailed, Worker, WorkerPool
from supervisor.pool_spec import PoolSpec
from supervisor.process import State
from supervisor.stopping import stopping
from supervisor.telemetry import Event, WorkerUp

if TYPE_CHECKING:
    from scsipub.control.app import Control

BACKLOG = 100
DRAIN_SECONDS = 1.5
# Between two rows of tries, when the process never became ready.
AGAIN_SECONDS = 60.0
ADDRESS = "127.0.0.1"  # a proxy in front speaks TLS with the world

log = logging.getLogger("supervisor")


class WebProcess:
    """See the module."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.token = AdminToken()
        self.listener: socket.socket | None = None
        self.in_trouble = False
        self.pool = WorkerPool(
            PoolSpec(
                argv=_argv,
                name="web",
                handlers=self.handlers,
                on_up=self._up,
                on_down=self._down,
                on_stderr=self._said,
                on_event=self._event,
                drain_seconds=DRAIN_SECONDS,
            )
        )

    # -- the life of it ----------------------------------------------------------------------------------

    def open(self) -> str | None:
        """Listen; the address, or None when it cannot be had."""
        config = self.control.config
        try:
            self.token.open(config.state_dir / "admin.token")
        except OperatorError as error:
            warn("no admin token", why=error.what, do=error.do)
        try:
            [self.listener] = listen(Portal(host=ADDRESS, port=config.web_port), BACKLOG)
            keep_alive(self.listener)  # an idle tunnel may have lost its other end
        except OperatorError as error:
            warn("no web interface", why=error.what, do="Choose another --web-port.")
            return None
        return self.control.address_of(self.listener)

    @property
    def pid(self) -> int | None:
        return next((w.pid for w in self.pool.workers if w.state is State.READY), None)

    async def run(self) -> None:
        """Keep the process alive until asked to stop.  Never fails."""
        stop = stopping()
        while self.listener is not None and not stop.is_set():
            try:
                await self.pool.run()
            except StartFailed:
                pass  # said already
            except Exception:
                if not self.in_trouble:
                    log.exception("the keeper of the web process failed")
                self.in_trouble = True
            with trio.move_on_after(AGAIN_SECONDS):
                await stop.wait()

    async def _up(self, worker: Worker) -> None:
        if self.control.endpoints_said:
            await trio.to_thread.run_sync(self.control.say_endpoints)  # there is a pid to tell

    async def _down(self, worker: Worker, exit: Exit) -> None:
        if self.control.endpoints_said and not stopping().is_set():
            await trio.to_thread.run_sync(self.control.say_endpoints)

    def _said(self, index: int, line: bytes) -> None:
        if not self.in_trouble:
            say("web", line=line.decode("utf-8", "replace"))

    def _event(self, event: Event) -> None:
        """Once for each trouble: a process that cannot start is tried again for ever."""
        if isinstance(event, WorkerUp):
            self.in_trouble = False
        if event.level >= logging.WARNING:
            if self.in_trouble:
                return
            self.in_trouble = True
        log.log(event.level, "%s", event)

    # -- what it may ask ---------------------------------------------------------------------------------

    @functools.cached_property
    def door(self) -> Door:
        """One for all incarnations of the process: it knows which requests are being answered."""
        return make_door(self.control)

    def handlers(self, worker: Worker) -> Mapping[str, Handler]:
        return {
            "configure": self.settings,
            "status": self.status,
            "disks": self.disks,
            "images": self.images,
            "tunnel": self.tunnel,
            **self.door.handlers(),
        }

    def settings(self, params: Any, fds: list[int]) -> Any:
        """The port to serve, and what to know for it."""
        if self.listener is None:
            raise CallError("no_port", "There is no port to serve.")
        config = self.control.config
        said = {"tunnels": config.limits.tunnels, "trusted_proxies": list(config.trusted_proxies)}
        return Reply(said, fds=[os.dup(self.listener.fileno())])

    def tunnel(self, params: Any, fds: list[int]) -> Any:
        """One end of a socket pair: to a worker with it, as if we had accepted it from there."""
        with contextlib.ExitStack() as closing:
            for fd in fds:
                closing.callback(os.close, fd)
            source, port = str(params["source"]), int(params["source_port"])
            if len(fds) != 1 or not admit_tunnel(
                self.control, fds[0], source, port, bool(params["encrypted"])
            ):
                raise CallError("busy", "No more connections are taken now.")
        return True

    async def status(self, params: Any, fds: list[int]) -> Any:
        """What everybody may know: numbers, no names and no addresses."""
        control = self.control
        full = await control.console.status({}, [])
        counted = {index: totals for (index, _), totals in control.counted.items()}
        times = {index: counts for (index, _), counts in control.console.times.items()}
        nothing = dict.fromkeys(TOTALS, 0)
        return {
            **{key: full[key] for key in ("version", "uptime_seconds", "sessions", "parked", "counters")},
            "images": full["images"],
            "workers": [
                {key: worker[key] for key in ("index", "state", "sessions", "restarts")}
                | counted.get(worker["index"], nothing)
                | {"times": times.get(worker["index"], [])}
                for worker in full["workers"]
            ],
        }

    def disks(self, params: Any, fds: list[int]) -> Any:
        """Targets that everybody may use, and where."""
        control = self.control
        names = control.catalogue.names("")
        entries = [entry for name in names if (entry := control.catalogue.find(name)) is not None]
        public = control.config.public_host
        return {
            "host": host_of(public) if public else None,
            "port": _port(public) or _port(control.endpoints.get("iscsi")),
            "tls_port": _port(control.endpoints.get("tls")),
            "disks": [
                {
                    "target": entry.name,
                    "shared": entry.shared,
                    "luns": [
                        {"lun": lun.lun, "image": lun.image, "bytes": self._bytes(lun.image, lun.size)}
                        for lun in entry.luns
                    ],
                }
                for entry in entries
                if not entry.users and not entry.initiators
            ],
        }

    def _bytes(self, image: str | None, size: int | None) -> int:
        found = self.control.catalogue.images.get(image) if image is not None else None
        return found.bytes if found is not None else size or self.control.config.limits.blank_bytes

    def images(self, params: Any, fds: list[int]) -> Any:
        """Without looking at the directory again: strangers ask this."""
        return [
            {"name": i.name, "format": i.format, "bytes": i.bytes, "sha256": i.sha256, "imported": i.imported}
            for i in self.control.catalogue.images.values()
        ]


def _port(address: str | None) -> int | None:
    port = (address or "").rpartition("]")[2].rpartition(":")[2]
    return int(port) if address and ":" in address.rpartition("]")[2] and port.isdigit() else None


def _argv(index: int, fd: int) -> list[str]:
    return [sys.executable, "-m", "scsipub", "web", "--channel-fd", str(fd)]
