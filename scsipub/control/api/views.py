"""What pages show beside the rest: how full disks are, who holds them, and how the daemon is doing.

The first half is for who may read the target; the second, with the deeds of the daemon's own, for the
operator."""

from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import trio

from scsipub.control.api.caller import Caller, target_of
from scsipub.control.api.door import Ask, Method
from scsipub.control.rentals import now as wall
from scsipub.store.errors import NotFound

if TYPE_CHECKING:
    from scsipub.control.app import Control

READ, ADMIN = "targets:read", "admin"
MOST_SESSIONS = 100


class Views:
    """Methods whose names say what is looked at."""

    def __init__(self, control: "Control") -> None:
        self.control = control

    def methods(self) -> dict[str, Method]:
        return {
            "target.usage": Method(run=self.usage, scope=READ, sees=self.sees),
            "target.reservations": Method(run=self.reservations, scope=READ, sees=self.sees),
            "live.look": Method(run=self.look, scope=ADMIN),
            "image.remove": Method(run=self.remove_image, scope="images:write", sees=self.is_operator),
            "complaint.list": Method(run=self.complaints, scope=ADMIN),
            "worker.restart": Method(run=self.restart, scope=ADMIN),
            "janitor.run": Method(run=self.sweep, scope=ADMIN),
            "janitor.last": Method(run=self.last_sweep, scope=ADMIN),
        }

    async def sees(self, caller: Caller, ask: Ask) -> None:
        target_of(self.control, caller, ask.get("id"))

    async def usage(self, caller: Caller, ask: Ask) -> Any:
        """Bytes that each unit takes on our disks, and may."""
        target = target_of(self.control, caller, ask["id"])
        used = await trio.to_thread.run_sync(self.control.rentals.disks.used, target)
        return [
            {"lun": unit.lun, "used": used.get(unit.id, 0), "budget": unit.budget, "size": unit.size}
            for unit in target.served
        ]

    async def reservations(self, caller: Caller, ask: Ask) -> Any:
        return await self.control.console.counter.reservations(ask)

    # -- the daemon --------------------------------------------------------------------------------------

    async def look(self, caller: Caller, ask: Ask) -> Any:
        """Its numbers, and the busiest sessions."""
        most = max(1, min(MOST_SESSIONS, int(ask.get("most") or MOST_SESSIONS)))
        return {
            "status": await self.control.web.status({}, []),
            "sessions": await self.control.console.sessions({"most": most}, []),
        }

    async def is_operator(self, caller: Caller, ask: Ask) -> None:
        """As for uploads: a tenant has no images to change."""
        if caller.tenant_id is not None or ask.get("name") not in self.control.catalogue.images:
            raise NotFound("image", str(ask.get("name")))

    async def remove_image(self, caller: Caller, ask: Ask) -> Any:
        """Unless a rented target stands on it."""
        return self.control.console.remove({"name": str(ask.get("name"))}, [])

    async def complaints(self, caller: Caller, ask: Ask) -> Any:
        """What peers did wrong lately, the newest first."""
        now, clock = wall(), monotonic()
        items = [
            {
                "initiator": "",
                "why": "",
                **each,
                "at": (now - timedelta(seconds=clock - each["at"])).isoformat(timespec="seconds"),
            }
            for each in reversed(self.control.complaints.lately)
        ]
        return {"items": items}

    async def restart(self, caller: Caller, ask: Ask) -> Any:
        """Replace the workers, one after the other, in the background: it takes as long as sessions need."""
        return {"begun": self.control.console.begin_restart()}

    async def sweep(self, caller: Caller, ask: Ask) -> Any:
        return await self.control.console.sweep({}, [])

    async def last_sweep(self, caller: Caller, ask: Ask) -> Any:
        return self.control.console.last_sweep()
