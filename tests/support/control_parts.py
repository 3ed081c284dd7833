"""The control process without its workers: everything real but the far ends of the channels.

    house = await keep(nursery, tmp_path)
    guest = house.arrives("192.0.2.1")
    verdict = await house.workers[0].call("resolve", house.ask(guest, "blank"))

The pool is a list; each worker in it is a real channel whose other end the test holds.  Knows trio."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import trio

from scsipub.config import Config
from scsipub.control.accept import Guest
from scsipub.control.app import Control
from scsipub.store.store import Opened
from supervisor.channel import Channel, channel_pair
from supervisor.exits import Exit, ProcessSignalled
from supervisor.process import State

FAR_METHODS = (
    *("kick", "sessions", "statistics", "release", "dismiss", "rates", "grow_unit", "add_unit"),
    *("remove_unit", "faults", "disk_faults"),
)
NAME = "iqn.1993-08.org.debian:01:a"
ISID = "800000000001"


@attrs.define(eq=False)
class FarWorker:
    """A worker process, as control sees it, and the end of the line where that would sit."""

    index: int
    incarnation: int
    channel: Channel  # control's end
    state: State = State.READY
    pid: int = 1
    there: Channel = attrs.field(init=False)
    taken: list[tuple[dict[str, Any], socket.socket]] = attrs.field(factory=list)
    alive: dict[str, bool] = attrs.field(factory=dict)  # what ``still_there`` answers; not named: no
    asked: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    answers: dict[str, Any] = attrs.field(factory=dict)

    @property
    def place(self) -> tuple[int, int]:
        return self.index, self.incarnation

    def handlers(self) -> dict[str, Any]:
        def take(params: Any, fds: list[int]) -> None:
            self.taken.append((params, socket.socket(fileno=fds[0])))

        def still_there(params: Any, fds: list[int]) -> bool:
            self.asked.append(("still_there", params))
            return self.alive.get(params["id"], False)

        def other(method: str) -> Any:
            def handle(params: Any, fds: list[int]) -> Any:
                self.asked.append((method, params))
                return self.answers[method]

            return handle

        return {
            "take": take,
            "still_there": still_there,
            **{name: other(name) for name in FAR_METHODS},
        }

    async def call(self, method: str, params: Any, fds: Any = ()) -> Any:
        """Ask control."""
        return await self.there.call(method, params, fds)

    async def tell(self, method: str, **params: Any) -> None:
        """Tell control, and wait until it has heard."""
        await self.there.cast(method, params)
        await self.there.call("list_targets", {"initiator": ""})


@attrs.define(eq=False)
class House:
    """Control, and the workers it believes in."""

    control: Control
    workers: list[FarWorker]
    said: list[tuple[str, dict[str, Any]]]
    guests: int = 0

    def target(self, name: str) -> str:
        return f"{self.control.config.iqn_prefix}:{name}"

    def arrives(self, source: str, worker: int = 0) -> str:
        """A connection that ``worker`` has been given; its id."""
        self.guests += 1
        guest = f"{self.guests:016x}"
        self.control.guests[guest] = Guest(source, self.workers[worker].place)
        self.control.sources.arrives(source, 0.0)
        return guest

    def ask(self, guest: str, target: str, **fields: Any) -> dict[str, Any]:
        """What a worker wants to know about a login; ``principal``: who has proved to be that user."""
        name = self.target(target) if ":" not in target else target
        if fields.get("principal") and guest in self.control.guests:
            self.control.guests[guest].proven = (name, fields["principal"])
        return {
            "connection": guest,
            "discovery": False,
            "initiator": NAME,
            "target": name,
            "isid": ISID,
            "tsih": 0,
            "cid": 0,
            "source": self.control.guests[guest].source if guest in self.control.guests else "192.0.2.1",
            "portal": 0,
            "tls": False,
            "principal": "",
            **fields,
        }

    async def dies(self, worker: int) -> None:
        """The process is reaped."""
        gone = self.workers[worker]
        self.control.pool.workers.remove(gone)
        killed = Exit("worker", ProcessSignalled(9, ()), 1.0)
        await self.control._worker_down(gone, killed)


async def keep(
    nursery: trio.Nursery,
    state_dir: Path,
    workers: int = 2,
    *,
    first: int = 1,
    opened: Opened | None = None,
    **settings: Any,
) -> House:
    """A house with so many ready workers; ``opened``: with a store."""
    settings.setdefault("host", ("127.0.0.1",))
    config = Config(state_dir=state_dir, port=0, **settings)
    for directory in (config.disposable_dir, config.images_dir, config.run_dir):
        directory.mkdir(parents=True, exist_ok=True)
    control = Control(config, b"i" * 32, opened=opened)
    if control.store is not None:
        await nursery.start(control.store.run)
    said: list[tuple[str, dict[str, Any]]] = []
    control.complaints.log = lambda event, **fields: said.append((event, fields))
    far = []
    for index in range(workers):
        ours, theirs = channel_pair()
        handlers: dict[str, Any] = {}
        worker = FarWorker(index, first, Channel(ours, handlers))
        worker.there = Channel(theirs, worker.handlers())
        handlers.update(control.desk.handlers(worker))  # type: ignore[arg-type]
        await nursery.start(worker.channel.run)
        await nursery.start(worker.there.run)
        far.append(worker)
        control.load[worker.place] = 0
    slots = [SimpleNamespace(index=w.index, incarnation=w.incarnation, pid=w.pid, state=w.state) for w in far]
    control.pool = SimpleNamespace(  # type: ignore[assignment]
        workers=list(far), statistics=lambda: SimpleNamespace(slots=slots)
    )
    return House(control, far, said)
