"""Tenants, tokens and tiers over HTTP.

A tenant sees itself, its own tokens, and the tiers of what it rents; the rest is not there for it.  A token
makes no token that may more than itself."""

from typing import TYPE_CHECKING, Any

from scsipub.control.api.caller import Caller, same_tenant
from scsipub.control.api.door import Ask, Method
from scsipub.control.counter import position
from scsipub.store import tenants
from scsipub.store.errors import NotFound
from scsipub.store.records import SCOPES, Tenant, Token
from supervisor.channel import CallError

if TYPE_CHECKING:
    from scsipub.control.app import Control

ADMIN, TOKENS = "admin", "tokens:write"


class Accounts:
    """Methods whose names begin with ``tenant.``, ``token.`` and ``tier.``."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.counter = control.console.counter
        self.store = control.rentals

    def methods(self) -> dict[str, Method]:
        return {
            "me": Method(run=self.me),
            "tenant.create": Method(run=self.create_tenant, scope=ADMIN, creates=True),
            "tenant.list": Method(run=self.list_tenants),
            "tenant.show": Method(run=self.show_tenant, sees=self.sees_tenant),
            "tenant.change": Method(run=self.change_tenant, scope=ADMIN, sees=self.sees_tenant),
            "tenant.remove": Method(run=self.remove_tenant, scope=ADMIN, sees=self.sees_tenant),
            "certificate.list": Method(run=self.certificates, sees=self.sees_tenant),
            "certificate.add": Method(
                run=self.add_certificate, scope=ADMIN, sees=self.sees_tenant, creates=True
            ),
            "certificate.remove": Method(
                run=self.remove_certificate, scope=ADMIN, sees=self.sees_certificate
            ),
            "token.create": Method(
                run=self.create_token, scope=TOKENS, sees=self.sees_its_tenant, creates=True
            ),
            "token.list": Method(run=self.list_tokens, scope=TOKENS, sees=self.sees_its_tenant),
            "token.show": Method(run=self.show_token, scope=TOKENS, sees=self.sees_token),
            "token.revoke": Method(run=self.revoke_token, scope=TOKENS, sees=self.sees_token),
            "tier.list": Method(run=self.list_tiers),
            "tier.show": Method(run=self.show_tier, sees=self.sees_tier),
            "tier.put": Method(run=self.put_tier, scope=ADMIN, sees=self.sees_tier_or_admin),
            "tier.remove": Method(run=self.remove_tier, scope=ADMIN, sees=self.sees_tier),
        }

    async def me(self, caller: Caller, ask: Ask) -> Any:
        """Whose token this is."""
        tenant = caller.tenant.name if caller.tenant is not None else None
        return {"tenant": tenant, "tenant_id": caller.tenant_id, "scopes": sorted(caller.scopes)}

    # -- tenants -----------------------------------------------------------------------------------------

    async def _tenant(self, id_or_name: str) -> Tenant:
        found: Tenant = await self.store.store.call(tenants.tenant, id_or_name)
        return found

    async def sees_tenant(self, caller: Caller, ask: Ask) -> None:
        same_tenant(caller, (await self._tenant(ask["tenant"])).id)

    async def sees_its_tenant(self, caller: Caller, ask: Ask) -> None:
        """Where naming a tenant may be left out."""
        if ask.get("tenant") is not None:
            await self.sees_tenant(caller, ask)
        elif caller.tenant_id is not None:
            ask["tenant"] = caller.tenant_id

    async def create_tenant(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.create_tenant(ask)

    async def list_tenants(self, caller: Caller, ask: Ask) -> Any:
        if caller.tenant_id is not None:
            return {"items": [await self.counter.show_tenant({"tenant": caller.tenant_id})], "next": None}
        caller.require(ADMIN)
        answer = await self.counter.list_tenants(ask)
        return {"items": answer["tenants"], "next": answer["next"]}

    async def show_tenant(self, caller: Caller, ask: Ask) -> Any:
        if caller.tenant_id is None:
            caller.require(ADMIN)
        return await self.counter.show_tenant(ask)

    async def change_tenant(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.change_tenant(ask)

    async def remove_tenant(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.remove_tenant(ask)

    # -- their client certificates -----------------------------------------------------------------------

    async def _certificates(self, ask: Ask) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.control.identities.listed({"tenant": ask["tenant"]})
        return found

    async def sees_certificate(self, caller: Caller, ask: Ask) -> None:
        """It is the tenant's that is named, and that is one's own."""
        await self.sees_tenant(caller, ask)
        if not any(each["id"] == ask["id"] for each in await self._certificates(ask)):
            raise NotFound("certificate", ask["id"])

    async def certificates(self, caller: Caller, ask: Ask) -> Any:
        if caller.tenant_id is None:
            caller.require(ADMIN)
        listed, begin, limit = await self._certificates(ask), position(ask.get("after")), ask.get("limit", 50)
        more = str(begin + limit) if len(listed) > begin + limit else None
        return {"items": listed[begin : begin + limit], "next": more}

    async def add_certificate(self, caller: Caller, ask: Ask) -> Any:
        """The operator's alone: who could claim a name would be let in by another's authority."""
        return await self.control.identities.add(ask)

    async def remove_certificate(self, caller: Caller, ask: Ask) -> Any:
        return await self.control.identities.remove(ask)

    # -- tokens ------------------------------------------------------------------------------------------

    async def _token(self, id: str) -> Token:
        found: Token = await self.store.store.call(tenants.token, id)
        return found

    async def sees_token(self, caller: Caller, ask: Ask) -> None:
        if not caller.sees_tenant((await self._token(ask["id"])).tenant_id):
            raise NotFound("token", ask["id"])

    async def create_token(self, caller: Caller, ask: Ask) -> Any:
        own = caller.scopes if not caller.may(ADMIN) else SCOPES
        if not ask.get("scopes"):
            ask["scopes"] = sorted(own - {ADMIN} if ask.get("tenant") else own)
        if beyond := set(ask["scopes"]) - own:
            raise CallError("forbidden", f"The token has itself not {', '.join(sorted(beyond))}.")
        if ask.get("tenant") is None:
            caller.require(ADMIN)  # the operator's: everybody's things
        return await self.counter.create_token(ask)

    async def list_tokens(self, caller: Caller, ask: Ask) -> Any:
        answer = await self.counter.list_tokens(ask)
        return {"items": answer["tokens"], "next": answer["next"]}

    async def show_token(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.show_token(ask)

    async def revoke_token(self, caller: Caller, ask: Ask) -> Any:
        if (await self._token(ask["id"])).tenant_id is None:
            caller.require(ADMIN)
        return await self.counter.revoke_token(ask)

    # -- tiers -------------------------------------------------------------------------------------------

    def _its_tiers(self, caller: Caller) -> set[str]:
        """A tier may be made for one customer: others do not learn of it."""
        if caller.tenant is None:
            return set(self.store.tiers)
        return {t.tier for t in self.store.known.values() if t.tenant_id == caller.tenant_id} | {
            caller.tenant.tier
        }

    async def sees_tier(self, caller: Caller, ask: Ask) -> None:
        if ask["name"] not in self._its_tiers(caller):
            raise NotFound("tier", ask["name"])

    async def sees_tier_or_admin(self, caller: Caller, ask: Ask) -> None:
        if caller.tenant_id is not None:
            await self.sees_tier(caller, ask)

    async def list_tiers(self, caller: Caller, ask: Ask) -> Any:
        listed = await self.counter.list_tiers({})
        its = self._its_tiers(caller)
        if caller.tenant_id is not None:
            listed = [tier for tier in listed if tier["name"] in its]
        rest = [tier for tier in listed if tier["name"] > (ask.get("after") or "")]
        limit: int = ask.get("limit", 50)
        more = rest[limit - 1]["name"] if len(rest) > limit else None
        return {"items": rest[:limit], "next": more}

    async def show_tier(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.show_tier(ask)

    async def put_tier(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.put_tier(ask)

    async def remove_tier(self, caller: Caller, ask: Ask) -> Any:
        return await self.counter.remove_tier(ask)
