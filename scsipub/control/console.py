"""The console: what the operator's commands ask the daemon, over a Unix socket in the state directory.

Knows trio and ``supervisor.channel``.  The socket has mode 0600: whoever can open it may do everything."""

import contextlib
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs
import trio

import scsipub
from scsipub.control.counter import Counter
from scsipub.control.faults import set_disk_faults, set_faults
from scsipub.control.placement import Place
from scsipub.errors import OperatorError
from scsipub.storage.broom import Swept
from supervisor.channel import CallError, Channel, ChannelClosed, Handler
from supervisor.pool import Worker

if TYPE_CHECKING:
    from scsipub.control.app import Control

ASK_WORKER_SECONDS = 2.0
ACCEPT_PAUSE = 0.1
TOTALS = ("bytes_read", "bytes_written", "operations")


class Console:
    """See the module."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.counter = Counter(control)
        self.nursery: trio.Nursery | None = None  # while we listen
        self.replacing = False
        self.times: dict[Place, list[int]] = {}  # how long commands took, see ``worker.latency``

    async def run(self, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        path = str(self.control.config.control_socket)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            await listener.bind(path)
        finally:
            os.umask(mask)
        listener.listen(16)
        try:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                task_status.started()
                while True:
                    try:
                        peer, _ = await listener.accept()
                    except OSError:  # we are out of descriptors, for example
                        await trio.sleep(ACCEPT_PAUSE)
                        continue
                    nursery.start_soon(Channel(peer, self.handlers()).run)
        finally:
            self.nursery = None
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "status": self.status,
            "worker.restart": self.restart_workers,
            "session.list": self.sessions,
            "session.kick": self.kick,
            "session.faults": self.faults,
            "session.disk_faults": self.disk_faults,
            "image.list": self.images,
            "image.adopt": self.adopt,
            "image.remove": self.remove,
            "janitor.run": self.sweep,
            **self.counter.handlers(),
        }

    async def ask_all(self, method: str, params: Any = None) -> dict[Place, Any]:
        """Every ready worker's answer; who does not answer in time is left out."""
        answers: dict[Place, Any] = {}

        async def one(worker: Worker) -> None:
            with contextlib.suppress(CallError, ChannelClosed):
                answer = await worker.channel.call(method, params or {}, timeout=ASK_WORKER_SECONDS)
                answers[worker.index, worker.incarnation] = answer

        async with trio.open_nursery() as nursery:
            for worker in self.control.pool.workers:
                nursery.start_soon(one, worker)
        return dict(sorted(answers.items()))

    async def _count(self) -> dict[Place, Any]:
        """Statistics of the workers that answer.  What they said last stands for those that do not."""
        answers = await self.ask_all("statistics")
        living = {(w.index, w.incarnation) for w in self.control.pool.workers}
        for place, answer in answers.items():
            if place in living:
                self.control.counted[place] = {key: answer[key] for key in TOTALS}
        self.times = {place: answer["times"] for place, answer in answers.items()}
        return answers

    async def status(self, params: Any, fds: list[int]) -> Any:
        control = self.control
        answers = await self._count()
        slots = control.pool.statistics().slots
        totals = {
            key: sum(counted[key] for counted in control.counted.values()) + control.buried[key]
            for key in TOTALS
        }
        return {
            "version": scsipub.__version__,
            "uptime_seconds": round(monotonic() - control.began, 1),
            "listeners": control.endpoints,
            "pids": control.pids(),
            "workers": [
                {
                    "index": slot.index,
                    "incarnation": slot.incarnation,
                    "pid": slot.pid,
                    "state": slot.state.value,
                    "sessions": answers.get((slot.index, slot.incarnation), {}).get("sessions", 0),
                    "restarts": max(0, slot.incarnation - 1),
                }
                for slot in slots
            ],
            "sessions": sum(a["sessions"] for a in answers.values()),
            "tasks": {
                "control": trio.lowlevel.current_statistics().tasks_living,
                "worker": sum(a["tasks"] for a in answers.values()),
            },
            "parked": control.placement.parked_count,
            "counters": {
                "connections": control.connections,
                "refused": control.refused,
                "handed_on": control.handed_on,
                "tunnels": control.tunnels,
                "logins": control.logins,
                "login_failures": control.login_failures,
                "malformed": dict(control.complaints.counts),
                "crashes": control.crashes,
                **totals,
            },
            "images": len(control.catalogue.images),
            "rented": len(control.rentals.known),
            "database": control.store is None or control.store.available,
            "state_dir": str(control.config.state_dir),
        }

    async def restart_workers(self, params: Any, fds: list[int]) -> Any:
        """Replace one worker after the other; answers when all are new."""
        pool = self.control.pool
        before = {(worker.index, worker.incarnation) for worker in pool.workers}
        await pool.rolling_restart()
        after = {(worker.index, worker.incarnation) for worker in pool.workers}
        return {"restarted": len(after - before), "workers": len(before)}

    def begin_restart(self) -> bool:
        """As ``restart_workers``, and nobody waits for it.  False: it is under way already."""
        if self.replacing or self.nursery is None:
            return False
        self.replacing = True
        self.nursery.start_soon(self._replace)
        return True

    async def _replace(self) -> None:
        try:
            await self.control.pool.rolling_restart()
        finally:
            self.replacing = False

    async def sessions(self, params: Any, fds: list[int]) -> Any:
        """All of them; with ``most``: so many of each worker, the busiest."""
        return [
            {"worker": index, **session}
            for (index, _), listed in (
                await self.ask_all("sessions", {"most": (params or {}).get("most")})
            ).items()
            for session in listed
        ]

    async def kick(self, params: Any, fds: list[int]) -> Any:
        found = await self.ask_all("kick", {"id": params["id"]})
        if not any(found.values()):
            raise CallError(
                "not_found",
                f"There is no session {params['id']}.",
                {"do": "`scsipub session list` shows them."},
            )
        return {"kicked": params["id"]}

    async def faults(self, params: Any, fds: list[int]) -> Any:
        return await set_faults(self, params)

    async def disk_faults(self, params: Any, fds: list[int]) -> Any:
        return await set_disk_faults(self, params)

    def images(self, params: Any, fds: list[int]) -> Any:
        self.control.catalogue.reload()
        return [attrs.asdict(image) for image in self.control.catalogue.images.values()]

    def adopt(self, params: Any, fds: list[int]) -> Any:
        self.control.catalogue.reload()
        return params["name"] in self.control.catalogue.images

    def remove(self, params: Any, fds: list[int]) -> Any:
        if self.control.rentals.image_in_use(params["name"]):
            raise CallError(
                "refused", f"A rented target stands on {params['name']}.", {"do": "It must stay."}
            )
        try:
            image = self.control.catalogue.store.remove(params["name"])
        except OperatorError as error:
            raise CallError("refused", error.what, {"do": error.do}) from None
        self.control.catalogue.reload()
        return attrs.asdict(image)

    async def sweep(self, params: Any, fds: list[int]) -> Any:
        return _swept(await self.control.janitor.run())

    def last_sweep(self) -> Any:
        """Of the janitor; None before the first."""
        if self.control.janitor.last is None:
            return None
        at, swept = self.control.janitor.last
        return {"at": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"), **_swept(swept)}


def _swept(swept: Swept) -> dict[str, Any]:
    return {"swept": [*swept.removed, *swept.put_aside], "kept": swept.kept, "doubts": swept.doubts}
