"""The tunnel: a local port whose connections come out at the daemon.

Knows trio; not what is carried.  An iSCSI session is bound to its connection, so nothing is resumed: when the
way breaks, the initiator's connection is closed, the initiator logs in again as it would over any network,
and finds the tunnel dialling for it, with growing pauses, for as long as an initiator waits."""

from collections.abc import Callable

import attrs
import trio

from scsipub.connect.dial import Dial, Unreachable
from scsipub.errors import OperatorError

CHUNK = 256 * 1024
# open-iscsi gives a login 15 seconds; longer than that nobody waits at the other end.
PATIENCE_SECONDS = 15.0
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 4.0


@attrs.define
class Traffic:
    """What has gone through, in bytes; ``up`` is towards the daemon."""

    up: int = 0
    down: int = 0
    open: int = 0  # connections now
    opened: int = 0  # and ever


class Tunnel:
    """``say`` is told in plain words what the person at the terminal should know."""

    def __init__(self, dial: Dial, say: Callable[[str], None]) -> None:
        self.dial = dial
        self.say = say
        self.traffic = Traffic()

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Until cancelled."""
        await trio.serve_listeners(self.carry, listeners)

    async def carry(self, local: trio.SocketStream) -> None:
        """One connection of the initiator, from its first byte to its last."""
        local.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        async with local:
            remote = await self._reach()
            if remote is None:
                return
            self.traffic.open += 1
            self.traffic.opened += 1
            try:
                await self._both_ways(local, remote)
            finally:
                self.traffic.open -= 1
                await trio.aclose_forcefully(remote)

    async def _reach(self) -> trio.abc.Stream | None:
        """Dial until it works.  None: it cannot, or nobody waits any more."""
        pause, told = FIRST_PAUSE, ""
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                try:
                    return await self.dial()
                except Unreachable as why:
                    if str(why) != told:
                        told = str(why)
                        self.say(f"{told}; trying again")
                except OperatorError as why:
                    self.say(str(why))
                    return None
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return None

    async def _both_ways(self, local: trio.abc.Stream, remote: trio.abc.Stream) -> None:
        """Until either side ends; then what is on its way to the other has been sent."""
        lost = ""
        async with trio.open_nursery() as nursery:

            async def upward() -> None:
                try:
                    while data := await local.receive_some(CHUNK):
                        await remote.send_all(data)
                        self.traffic.up += len(data)
                except trio.BrokenResourceError:
                    pass
                nursery.cancel_scope.cancel()

            async def downward() -> None:
                nonlocal lost
                try:
                    while data := await remote.receive_some(CHUNK):
                        await local.send_all(data)
                        self.traffic.down += len(data)
                    lost = "the daemon closed a connection"
                except trio.BrokenResourceError:
                    lost = "a connection to the daemon was lost"
                nursery.cancel_scope.cancel()

            nursery.start_soon(upward)
            nursery.start_soon(downward)
        if lost:
            self.say(lost)
