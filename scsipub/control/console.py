"""The console: what the operator's commands ask the daemon, over a Unix socket in the state directory.

Knows trio and ``supervisor.channel``.  The socket has mode 0600: whoever can open it may do everything."""

import contextlib
import os
import socket
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs
import trio

import scsipub
from scsipub.errors import OperatorError
from supervisor.channel import CallError, Channel, ChannelClosed, Handler

if TYPE_CHECKING:
    from scsipub.control.app import Control

ASK_WORKER_SECONDS = 2.0


class Console:
    """See the module."""

    def __init__(self, control: "Control") -> None:
        self.control = control

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
                task_status.started()
                while True:
                    peer, _ = await listener.accept()
                    nursery.start_soon(Channel(peer, self.handlers()).run)
        finally:
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "status": self.status,
            "session.list": self.sessions,
            "session.kick": self.kick,
            "image.list": self.images,
            "image.adopt": self.adopt,
            "image.remove": self.remove,
            "janitor.run": self.sweep,
        }

    async def _ask_all(self, method: str, params: Any = None) -> list[tuple[int, Any]]:
        """Every ready worker's answer; who does not answer in time is left out."""
        answers: list[tuple[int, Any]] = []

        async def one(worker: Any) -> None:
            with contextlib.suppress(CallError, ChannelClosed):
                answers.append(
                    (
                        worker.index,
                        await worker.channel.call(method, params or {}, timeout=ASK_WORKER_SECONDS),
                    )
                )

        async with trio.open_nursery() as nursery:
            for worker in self.control.pool.workers:
                nursery.start_soon(one, worker)
        return sorted(answers)

    async def status(self, params: Any, fds: list[int]) -> Any:
        control = self.control
        answers = dict(await self._ask_all("statistics"))
        slots = control.pool.statistics().slots
        totals = {
            key: sum(a[key] for a in answers.values()) + control.buried.get(key, 0)
            for key in ("bytes_read", "bytes_written", "operations")
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
                    "sessions": answers.get(slot.index, {}).get("sessions", 0),
                    "restarts": max(0, slot.incarnation - 1),
                }
                for slot in slots
            ],
            "sessions": sum(a["sessions"] for a in answers.values()),
            "parked": control.placement.parked_count,
            "counters": {
                "connections": control.connections,
                "refused": control.refused,
                "handed_on": control.handed_on,
                "logins": control.logins,
                "login_failures": control.login_failures,
                "malformed": dict(control.complaints.counts),
                "crashes": control.crashes,
                **totals,
            },
            "images": len(control.catalogue.images),
            "state_dir": str(control.config.state_dir),
        }

    async def sessions(self, params: Any, fds: list[int]) -> Any:
        return [
            {"worker": index, **session}
            for index, listed in await self._ask_all("sessions")
            for session in listed
        ]

    async def kick(self, params: Any, fds: list[int]) -> Any:
        kicked = any(found for _, found in await self._ask_all("kick", {"id": params["id"]}))
        if not kicked:
            raise CallError(
                "not_found",
                f"There is no session {params['id']}.",
                {"do": "`scsipub session list` shows them."},
            )
        return {"kicked": params["id"]}

    def images(self, params: Any, fds: list[int]) -> Any:
        self.control.catalogue.reload()
        return [attrs.asdict(image) for image in self.control.catalogue.images.values()]

    def adopt(self, params: Any, fds: list[int]) -> Any:
        self.control.catalogue.reload()
        return params["name"] in self.control.catalogue.images

    def remove(self, params: Any, fds: list[int]) -> Any:
        try:
            image = self.control.catalogue.store.remove(params["name"])
        except OperatorError as error:
            raise CallError("refused", error.what, {"do": error.do}) from None
        self.control.catalogue.reload()
        return attrs.asdict(image)

    async def sweep(self, params: Any, fds: list[int]) -> Any:
        swept = await self.control.janitor.run()
        return {"swept": [*swept.removed, *swept.put_aside], "kept": swept.kept, "doubts": swept.doubts}
