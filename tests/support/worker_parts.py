"""A worker without its process: real sessions on socket pairs, and a control that answers from a dial.

    bench = await set_up(nursery, tmp_path)
    peer = await bench.connect()
    await peer.login("blank")
    answer = await peer.ask(ScsiCommand(...))

Everything is real but control and the network.  Knows trio."""

import socket
from pathlib import Path
from time import monotonic
from typing import Any

import attrs
import cattrs
import trio

from scsipub.iscsi import pdu
from scsipub.iscsi.text import format_text
from scsipub.limits import DEFAULT, Limits
from scsipub.target.descriptor import Arrival, AuthDescriptor, LunDescriptor, TargetDescriptor, Verdict
from scsipub.target.discovery import PortalPolicy
from scsipub.worker.main import Worker
from supervisor.channel import Channel, channel_pair

NAME = "iqn.1993-08.org.debian:01:a"
PREFIX = "iqn.2025-01.pub.scsipub"
SIZE = 1 << 20
OPERATIONAL, FULL_FEATURE = 1, 3


@attrs.define(eq=False)
class FarControl:
    """Control's end of the line: remembers what it is told, answers what it is asked."""

    told: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    handed_on: list[tuple[dict[str, Any], socket.socket]] = attrs.field(factory=list)
    refuse: dict[str, Verdict] = attrs.field(factory=dict)  # "resolve" or "admit": what is said instead
    shared: bool = False
    silent: set[str] = attrs.field(factory=set)  # methods that never answer
    count: int = 0
    budget: int = SIZE
    auth: AuthDescriptor = attrs.field(factory=AuthDescriptor)

    def handlers(self) -> dict[str, Any]:
        def news(what: str) -> Any:
            return lambda params, fds: self.told.append((what, params))

        def hand_on(params: Any, fds: list[int]) -> bool:
            self.handed_on.append((params, socket.socket(fileno=fds[0])))
            return True

        return {
            **{what: news(what) for what in ("opened", "ended", "closed", "complaint", "certificate")},
            "resolve": self.resolve,
            "admit": self.admit,
            "hand_on": hand_on,
            "list_targets": self.list_targets,
            "check_secret": self.check_secret,
        }

    async def resolve(self, params: Any, fds: list[int]) -> Any:
        await self._maybe("resolve")
        if "resolve" in self.refuse:
            return self.refuse["resolve"].to_json()
        if params["discovery"]:
            return Verdict().to_json()
        return Verdict(target=self._target(params["target"], "")).to_json()

    async def admit(self, params: Any, fds: list[int]) -> Any:
        await self._maybe("admit")
        if "admit" in self.refuse:
            return self.refuse["admit"].to_json()
        self.count += 1
        return Verdict(target=self._target(params["target"], f"{self.count:016x}")).to_json()

    async def list_targets(self, params: Any, fds: list[int]) -> Any:
        await self._maybe("list_targets")
        return [f"{PREFIX}:blank"]

    async def check_secret(self, params: Any, fds: list[int]) -> Any:
        await self._maybe("check_secret")
        return {"ok": True, "principal": params["user"]}

    async def _maybe(self, method: str) -> None:
        if method in self.silent:
            await trio.sleep_forever()

    def _target(self, name: str, session: str) -> TargetDescriptor:
        owner = "aaaaaaaaaaaaaaaa" if self.shared else session or "0"
        lun = LunDescriptor(
            lun=0, uuid="00" * 16, overlay=f"d-{owner}-0", size=SIZE, budget=self.budget, adopt=self.shared
        )
        return TargetDescriptor(name=name, session=session, luns=(lun,), shared=self.shared, auth=self.auth)

    def heard(self, what: str) -> list[dict[str, Any]]:
        return [params for method, params in self.told if method == what]

    @property
    def complaints(self) -> list[str]:
        return [params["kind"] for params in self.heard("complaint")]


class Hung(Exception):
    """The worker closed the connection."""


@attrs.define(eq=False)
class Peer:
    """The initiator's end."""

    sock: trio.socket.SocketType
    id: str
    cmd_sn: int = 1
    tag: int = 0
    buffer: bytearray = attrs.field(factory=bytearray)

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[await self.sock.send(view) :]

    async def say(self, request: pdu.Pdu) -> None:
        await self.send(pdu.wire(request))

    async def hear(self) -> pdu.Pdu:
        """The next answer.  Raises Hung at the end of the stream."""
        await self._fill(48)
        length = int.from_bytes(self.buffer[5:8])
        total = 48 + (length + 3 & ~3)
        await self._fill(total)
        bhs, data = bytes(self.buffer[:48]), bytes(self.buffer[48 : 48 + length])
        del self.buffer[:total]
        return pdu.parse_untrusted(bhs, b"", data, from_initiator=False)

    async def _fill(self, size: int) -> None:
        while len(self.buffer) < size:
            try:
                more = await self.sock.recv(1 << 20)
            except ConnectionError:
                raise Hung from None
            if not more:
                raise Hung
            self.buffer += more

    async def hung_up(self) -> bool:
        """Reads to the end of the stream; waits for ever when there is none."""
        try:
            while True:
                await self.hear()
        except Hung:
            return True

    def login_request(self, keys: dict[str, str], *, csg: int = OPERATIONAL, nsg: int | None = FULL_FEATURE,
                      **fields: Any) -> pdu.LoginRequest:  # fmt: skip
        return pdu.LoginRequest(
            immediate=True,
            transit=nsg is not None,
            current_stage=csg,
            next_stage=nsg or 0,
            isid=bytes.fromhex("800000000001"),
            cmd_sn=self.cmd_sn,
            data=format_text(list(keys.items())),
            **fields,
        )

    def names(self, target: str | None) -> dict[str, str]:
        who = {"InitiatorName": NAME, "SessionType": "Normal" if target else "Discovery"}
        return who | ({"TargetName": f"{PREFIX}:{target}"} if target else {})

    async def login(self, target: str | None = "blank", **keys: str) -> pdu.LoginResponse:
        """One step to full feature phase; the answer, whatever it is."""
        await self.say(self.login_request(self.names(target) | {"InitialR2T": "No"} | keys))
        answer = await self.hear()
        if not isinstance(answer, pdu.LoginResponse):
            raise AssertionError(f"{answer} to a login")
        return answer

    async def command(self, cdb: bytes = bytes(16), **fields: Any) -> int:
        """Sends a SCSI Command; returns its tag."""
        self.tag += 1
        await self.say(
            pdu.ScsiCommand(
                initiator_task_tag=self.tag,
                attribute=1,
                cdb=cdb.ljust(16, b"\0"),
                cmd_sn=self.cmd_sn,
                **{"final": True, **fields},
            )
        )
        self.cmd_sn += 1
        return self.tag

    async def settle(self) -> None:
        """Takes the attention of a new nexus away."""
        await self.command()
        await self.hear()

    async def write(self, lba: int, data: bytes) -> pdu.Pdu:
        cdb = b"\x2a\0" + lba.to_bytes(4) + b"\0" + (len(data) // 512).to_bytes(2)
        await self.command(cdb, write=True, expected_data_transfer_length=len(data), data=data)
        return await self.hear()

    async def read(self, lba: int, blocks: int) -> bytes:
        cdb = b"\x28\0" + lba.to_bytes(4) + b"\0" + blocks.to_bytes(2)
        await self.command(cdb, read=True, expected_data_transfer_length=blocks * 512)
        data = b""
        while len(data) < blocks * 512:
            answer = await self.hear()
            if not isinstance(answer, pdu.DataIn):
                raise AssertionError(f"{answer} to a read")
            data += answer.data
        return data

    async def ping(self, data: bytes = b"there?") -> bytes:
        await self.say(pdu.NopOut(immediate=True, initiator_task_tag=0x1234, cmd_sn=self.cmd_sn, data=data))
        answer = await self.hear()
        if not isinstance(answer, pdu.NopIn):
            raise AssertionError(f"{answer} to a ping")
        return answer.data


@attrs.define(eq=False)
class Bench:
    """The worker, its control, and as many peers as one likes."""

    worker: Worker
    control: FarControl
    line: Channel  # control's end
    peers: int = 0

    async def connect(self, *, age: float = 0.0, buffer: int = 0, **fields: Any) -> Peer:
        """A connection that was accepted ``age`` seconds ago."""
        ours, theirs = socket.socketpair()
        if buffer:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.peers += 1
        arrival = Arrival(
            **{
                "id": f"{self.peers:016x}", "source": "192.0.2.1", "source_port": 1, "local": "127.0.0.1",
                "local_port": 3260, "portal": 0, "tls": False, "accepted": monotonic() - age, **fields,
            }
        )  # fmt: skip
        with theirs:
            await self.line.cast("take", arrival.to_json(), [theirs.fileno()])
        return Peer(trio.socket.from_stdlib_socket(ours), arrival.id)

    async def open(self, target: str | None = "blank", **how: Any) -> Peer:
        """A session without attention."""
        peer = await self.connect(**how)
        answer = await peer.login(target)
        if answer.status:
            raise AssertionError(f"login status {answer.status:04x}")
        if target is not None:
            await peer.settle()
        return peer

    async def until(self, what: Any) -> Any:
        """What ``what()`` says, as soon as that is true."""
        with trio.fail_after(60):
            while not (said := what()):
                await trio.sleep(0.01)
        return said


async def set_up(nursery: trio.Nursery, tmp_path: Path, limits: Limits = DEFAULT) -> Bench:
    """A worker that serves until the nursery is cancelled."""
    ours, theirs = channel_pair()
    worker, control = Worker(), FarControl()
    (tmp_path / "disposable").mkdir(exist_ok=True)
    line, channel = Channel(ours, control.handlers()), Channel(theirs, worker.handlers())
    worker.configure(
        channel,
        {
            "limits": cattrs.unstructure(limits),
            "portals": [PortalPolicy().to_json()],
            "overlays_dir": str(tmp_path),
            "tls": None,
            "index": 0,
            "incarnation": 1,
        },
    )
    worker.nursery = nursery
    await nursery.start(line.run)
    await nursery.start(channel.run)
    await nursery.start(worker.sessions.run)
    return Bench(worker, control, line)
