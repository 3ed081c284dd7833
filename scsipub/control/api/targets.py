"""Targets over HTTP: what tenants rent, see and change.

Thin: ``counter`` does the work for the operator's commands as well; here stands whose it may be."""

from typing import TYPE_CHECKING, Any

from scsipub.control.api.caller import Caller, target_of
from scsipub.control.api.door import Ask, Method
from scsipub.control.counter import position
from scsipub.store.errors import Invalid, NotFound

if TYPE_CHECKING:
    from scsipub.control.app import Control

READ, WRITE = "targets:read", "targets:write"


class Targets:
    """Methods whose names begin with ``target.`` and ``lun.``."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.rentals = control.rentals
        self.counter = control.console.counter

    def methods(self) -> dict[str, Method]:
        def about(run: Any, scope: str = WRITE, *, creates: bool = False) -> Method:
            return Method(run=run, scope=scope, sees=self.sees, creates=creates)

        return {
            "target.create": Method(run=self.create, scope=WRITE, sees=self.sees_tenant, creates=True),
            "target.list": Method(run=self.listed, scope=READ, sees=self.sees_tenant),
            "target.show": about(self.show, READ),
            "target.destroy": about(self.destroy),
            "target.suspend": about(self.suspend),
            "target.resume": about(self.resume),
            "target.secret": about(self.secret, creates=True),
            "target.extend": about(self.extend, creates=True),
            "target.attempts": about(self.attempts, READ),
            "attempt.list": Method(run=self.attempts, scope="admin"),
            "lun.list": about(self.luns, READ),
            "lun.show": about(self.lun, READ),
            "lun.resize": about(self.resize),
            "lun.add": about(self.add_lun, creates=True),
            "lun.remove": about(self.remove_lun),
        }

    async def sees(self, caller: Caller, ask: Ask) -> None:
        target_of(self.control, caller, ask.get("id"))

    async def sees_tenant(self, caller: Caller, ask: Ask) -> None:
        """A tenant is named by its id or its name, and a tenant's token names none but its own."""
        if (own := caller.tenant) is not None:
            if ask.get("tenant") not in (None, own.id, own.name):
                raise NotFound("tenant", ask["tenant"])
            ask["tenant"] = own.id

    # -- targets -----------------------------------------------------------------------------------------

    async def create(self, caller: Caller, ask: Ask) -> Any:
        if ask.get("tenant") is None:
            raise Invalid("the operator says for which tenant", "tenant")
        if caller.tenant is not None and ask.get("tier") not in (None, caller.tenant.tier):
            raise NotFound("tier", ask["tier"])
        luns = [{"image": name} for name in ask.pop("images", None) or ()]
        size = ask.pop("size", None)
        luns += [{"size": size}] if size is not None else []
        luns += ask.pop("luns", None) or []
        return await self.counter.create({**ask, "luns": luns})

    async def listed(self, caller: Caller, ask: Ask) -> Any:
        answer = await self.counter.listed(ask)
        return {"items": answer["targets"], "next": answer["next"]}

    async def show(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.shown(target_of(self.control, caller, ask["id"]))

    async def destroy(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.destroy(ask)

    async def suspend(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.suspend(ask)

    async def resume(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.resume(ask)

    async def secret(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.new_secret(ask)

    async def extend(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.extend(ask)

    async def attempts(self, caller: Caller, ask: Ask) -> Any:
        answer = await self.counter.attempts(ask)
        return {"items": answer["attempts"], "next": answer["next"]}

    # -- logical units -----------------------------------------------------------------------------------

    async def luns(self, caller: Caller, ask: Ask) -> Any:
        listed = (await self.show(caller, ask))["luns"]
        after, limit = ask.get("after"), ask.get("limit", 50)
        last = position(after) if after is not None else -1
        rest = [lun for lun in listed if lun["lun"] > last]
        more = str(rest[limit - 1]["lun"]) if len(rest) > limit else None
        return {"items": rest[:limit], "next": more}

    async def lun(self, caller: Caller, ask: Ask) -> Any:
        for lun in (await self.show(caller, ask))["luns"]:
            if lun["lun"] == ask["lun"]:
                return lun
        raise NotFound("unit", str(ask["lun"]))

    async def add_lun(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.add_lun(ask)

    async def remove_lun(self, caller: Caller, ask: Ask) -> Any:
        await self.lun(caller, ask)
        return await self.counter.remove_lun(ask)

    async def resize(self, caller: Caller, ask: Ask) -> Any:
        await self.lun(caller, ask)
        return await self.counter.resize(ask)
