"""Sessions and events over HTTP: who is connected, and what happened.

A tenant sees the sessions at its own targets and may end those; the operator sees all."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from scsipub.control.api.caller import Caller, target_of
from scsipub.control.api.door import Ask, Method
from scsipub.store import tenants
from scsipub.store.errors import NotFound

if TYPE_CHECKING:
    from scsipub.control.app import Control

# Rows for Prometheus: each is a time series that it keeps for weeks.
MOST_SESSIONS = 100


class News:
    """Methods whose names begin with ``session.`` and ``event.``."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.rentals = control.rentals

    def methods(self) -> dict[str, Method]:
        return {
            "session.list": Method(run=self.sessions, scope="sessions:read", sees=self.sees_target),
            "session.show": Method(run=self.session, scope="sessions:read", sees=self.sees_session),
            "session.kick": Method(run=self.kick, scope="sessions:write", sees=self.sees_session),
            "metrics": Method(run=self.metrics, scope="admin"),
            "event.list": Method(run=self.events, scope="events:read", sees=self.sees_both),
        }

    async def sees_target(self, caller: Caller, ask: Ask) -> None:
        if ask.get("target") is not None:
            target_of(self.control, caller, ask["target"])

    async def sees_both(self, caller: Caller, ask: Ask) -> None:
        await self.sees_target(caller, ask)
        if ask.get("tenant") is not None:
            found = await self.rentals.store.call(tenants.tenant, ask["tenant"])
            if not caller.sees_tenant(found.id):
                raise NotFound("tenant", ask["tenant"])

    async def sees_session(self, caller: Caller, ask: Ask) -> None:
        if not any(said["id"] == ask["id"] for said in await self._its(caller)):
            raise NotFound("session", ask["id"])

    async def _its(self, caller: Caller) -> list[dict[str, Any]]:
        every = await self.control.console.sessions({}, [])
        return [said for said in every if self._shown_to(caller, said["target"])]

    def _shown_to(self, caller: Caller, name: str) -> bool:
        if caller.tenant_id is None:
            return True
        target = self.rentals.known.get(name.removeprefix(self.rentals.name("")))
        return target is not None and target.tenant_id == caller.tenant_id

    async def sessions(self, caller: Caller, ask: Ask) -> Any:
        every = sorted(await self._its(caller), key=lambda said: str(said["id"]))
        if ask.get("target") is not None:
            name = self.rentals.name(target_of(self.control, caller, ask["target"]).id)
            every = [said for said in every if said["target"] == name]
        rest = [said for said in every if said["id"] > (ask.get("after") or "")]
        limit: int = ask.get("limit", 50)
        more = rest[limit - 1]["id"] if len(rest) > limit else None
        return {"items": rest[:limit], "total": len(every), "next": more}

    async def metrics(self, caller: Caller, ask: Ask) -> Any:
        """For Prometheus: a row for each tenant that has moved something, and for the busiest sessions."""
        sessions = await self.control.console.sessions({}, [])
        usage = self.control.usage.with_living(sessions)
        busiest = sorted(sessions, key=lambda said: said["operations"], reverse=True)[:MOST_SESSIONS]
        names = await self.rentals.store.call(tenants.names, usage)
        targets = Counter(target.tenant_id for target in self.rentals.known.values())
        return {
            "tenants": [
                {**moved, "tenant": names.get(id, id), "targets": targets[id]} for id, moved in usage.items()
            ],
            "sessions": [
                {key: said[key] for key in ("id", "target", "bytes_read", "bytes_written", "operations")}
                for said in busiest
            ],
        }

    async def session(self, caller: Caller, ask: Ask) -> Any:
        for said in await self._its(caller):
            if said["id"] == ask["id"]:
                return said
        raise NotFound("session", ask["id"])

    async def kick(self, caller: Caller, ask: Ask) -> Any:
        return await self.control.console.kick(ask, [])

    async def events(self, caller: Caller, ask: Ask) -> Any:
        if caller.tenant_id is not None:
            ask["tenant"] = caller.tenant_id
        answer = await self.control.console.counter.events(ask)
        return {"items": answer["events"], "next": answer["next"]}
