"""The counter: what the operator's commands ask about tenants, tokens, tiers and rented targets.

Methods of the control socket, beside those of ``console``; whoever may open that socket may do everything.
Each takes a JSON object and answers with one; what cannot be done is a CallError in plain words."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import cattrs
import sqlalchemy as sa

from scsipub.control.orders import NAME, LunWish, Rented, Wish, lifetime_of
from scsipub.control.recipes import recipes
from scsipub.control.rentals import now
from scsipub.control.rented import to_json
from scsipub.control.timeline import now_in_force
from scsipub.store import journal, targets, tenants
from scsipub.store.errors import Conflict, Exhausted, Invalid, NotFound, StoreError, StoreUnavailable
from scsipub.store.records import SCOPES, Page, Target, TargetState, Tenant, Token
from scsipub.tiers import Tier
from supervisor.channel import CallError, Handler

if TYPE_CHECKING:
    from scsipub.control.app import Control

Ask = dict[str, Any]

CODES: Mapping[type[StoreError], tuple[str, str]] = {
    StoreUnavailable: ("unavailable", "Running sessions go on.  Ask again when the database is back."),
    NotFound: ("not_found", "Look with `scsipub target list`, `scsipub tenant list` or `scsipub tier list`."),
    Conflict: ("conflict", ""),
    Exhausted: ("exhausted", "Destroy one, or choose another tier."),
    Invalid: ("invalid", ""),
}


_exact = cattrs.Converter(forbid_extra_keys=True)


class Counter:
    """See the module."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.rentals = control.rentals

    def handlers(self) -> Mapping[str, Handler]:
        methods: dict[str, Callable[[Ask], Awaitable[Any]]] = {
            "target.create": self.create,
            "target.list": self.listed,
            "target.show": self.show,
            "target.destroy": self.destroy,
            "target.suspend": self.suspend,
            "target.resume": self.resume,
            "target.resize": self.resize,
            "target.extend": self.extend,
            "lun.add": self.add_lun,
            "lun.remove": self.remove_lun,
            "target.reservations": self.reservations,
            "target.secret": self.new_secret,
            "target.attempts": self.attempts,
            "tenant.create": self.create_tenant,
            "tenant.list": self.list_tenants,
            "tenant.change": self.change_tenant,
            "tenant.remove": self.remove_tenant,
            **self.control.identities.methods(),
            "token.create": self.create_token,
            "token.list": self.list_tokens,
            "token.revoke": self.revoke_token,
            "tier.put": self.put_tier,
            "tier.list": self.list_tiers,
            "tier.remove": self.remove_tier,
            "event.list": self.events,
            "key.rotate": self.rotate,
        }
        return {name: _handler(method) for name, method in methods.items()}

    # -- targets -----------------------------------------------------------------------------------------

    def portal(self) -> str:
        """Where initiators find us, as far as we know."""
        config = self.control.config
        iscsi = str(self.control.endpoints.get("iscsi") or f"127.0.0.1:{config.port}")
        if config.public_host is None:
            return iscsi
        named = config.public_host.rpartition(":")[2].isdigit() and not config.public_host.endswith("]")
        return config.public_host if named else f"{config.public_host}:{iscsi.rpartition(':')[2]}"

    async def _shown(self, target: Target, tenant: str = "") -> Any:
        """``tenant``: its name, where that is known."""
        if not tenant:
            tenant = (await self.rentals.store.call(tenants.names, [target.tenant_id]))[target.tenant_id]
        return to_json(target, self.rentals.name(target.id), tenant)

    async def shown(self, target: Target, tenant: str = "") -> Any:
        """Everything but secrets, and where it is."""
        return await self._shown(target, tenant) | {"portal": self.portal()}

    async def create(self, ask: Ask) -> Any:
        wish = _structure(ask, Wish)
        return await self._with_secret(await self.rentals.create(wish))

    async def new_secret(self, ask: Ask) -> Any:
        """Another CHAP secret, and what to type with it; the old one opens nothing from now on."""
        return await self._with_secret(await self.rentals.new_secret(self.rentals.find(ask["id"]).id))

    async def _with_secret(self, rented: Rented) -> Any:
        account = rented.account
        return await self.shown(rented.target, account.user) | {
            "chap": attrs.asdict(account),
            "commands": recipes(
                self.rentals.name(rented.target.id),
                rented.target,
                self.portal(),
                self.control.endpoints.get("tls"),
                account,
            ),
        }

    async def listed(self, ask: Ask) -> Any:
        page, names = await self.rentals.store.call(
            _target_ids, ask.get("tenant"), ask.get("after"), ask.get("limit", 100)
        )
        # What is in force is in memory; a row that is not there yet, nobody has been told of.
        listed = [found for id in page.items if (found := self.rentals.known.get(id)) is not None]
        return {
            "targets": [
                to_json(t, self.rentals.name(t.id), names.get(t.tenant_id) or t.tenant_id) for t in listed
            ],
            "next": page.next,
        }

    async def show(self, ask: Ask) -> Any:
        target = self.rentals.find(ask["id"])
        name = self.rentals.name(target.id)
        sessions = [r.initiator for r in self.control.placement.records.values() if r.target.name == name]
        events: Page = await self.rentals.store.call(journal.events, target_id=target.id, limit=10)
        return await self._shown(target) | {
            "portal": self.portal(),
            "sessions": sessions,
            "events": [_event(event) for event in events.items],
            "attempts": (await self.attempts({"id": target.id, "limit": 5}))["attempts"],
        }

    async def attempts(self, ask: Ask) -> Any:
        """How the last logins ended, the newest first: to one target, or to whatever was asked for."""
        journal = self.control.desk.journal
        if ask.get("id"):
            target = self.rentals.find(ask["id"])
            listed = journal.attempts.of(self.rentals.name(target.id))
        else:
            listed = journal.attempts.everything()
        limit = ask.get("limit", 50)
        after = position(ask.get("after"))
        return {
            "attempts": journal.told(listed[after : after + limit]),
            "next": str(after + limit) if len(listed) > after + limit else None,
        }

    async def destroy(self, ask: Ask) -> Any:
        target = self.rentals.find(ask["id"])
        await self.rentals.destroy(target.id)
        return {"destroyed": target.id}

    async def suspend(self, ask: Ask) -> Any:
        target = self.rentals.find(ask["id"])
        reason = str(ask.get("reason") or "")[:200]
        return await self._shown(await self.rentals.leave(target.id, TargetState.SUSPENDED, reason))

    async def resume(self, ask: Ask) -> Any:
        target = self.rentals.find(ask["id"])
        return await self._shown(await self.rentals.resume(target.id, ask.get("looked") is True))

    async def resize(self, ask: Ask) -> Any:
        lun, size = ask.get("lun", 0), ask["size"]
        if not isinstance(lun, int) or not isinstance(size, int) or not 0 < size < 1 << 62:
            raise Invalid("lun and size are numbers", "size")
        changes = self.rentals.changes
        return await self._shown(await changes.resize(self.rentals.find(ask["id"]).id, lun, size))

    async def add_lun(self, ask: Ask) -> Any:
        wish = _structure({key: value for key, value in ask.items() if key != "id"}, LunWish)
        return await self._shown(await self.rentals.changes.add_lun(self.rentals.find(ask["id"]).id, wish))

    async def remove_lun(self, ask: Ask) -> Any:
        id, lun = self.rentals.find(ask["id"]).id, ask["lun"]
        return await self._shown(await self.rentals.changes.remove_lun(id, lun))

    async def extend(self, ask: Ask) -> Any:
        id, said = self.rentals.find(ask["id"]).id, ask["seconds"]
        if isinstance(said, bool) or not isinstance(said, int | float):
            raise Invalid("seconds is a number", "seconds")
        return await self._shown(await self.rentals.changes.extend(id, said))

    async def reservations(self, ask: Ask) -> Any:
        """Who is registered at each unit, and who holds it."""
        target = self.rentals.find(ask["id"])
        name = self.rentals.name(target.id)
        records = self.control.placement.records.values()
        sessions = [(r.initiator, r.isid, r.portal) for r in records if r.target.name == name]
        return {
            "id": target.id,
            "name": name,
            "nexus": target.nexus,
            "luns": now_in_force(target.units, self.rentals.kept, sessions),
        }

    # -- tenants -----------------------------------------------------------------------------------------

    async def _tenant_id(self, said: str | None) -> str | None:
        if said is None:
            return None
        tenant: Tenant = await self.rentals.store.call(tenants.tenant, said)
        return tenant.id

    async def create_tenant(self, ask: Ask) -> Any:
        if not NAME.fullmatch(ask["name"]):
            raise Invalid("a tenant's name has small letters, digits, . and -, up to 63 of them", "name")
        made = await self.rentals.store.call(
            tenants.create_tenant, ask["name"], ask["tier"], now(), self.rentals.random
        )
        return _tenant(made)

    async def list_tenants(self, ask: Ask) -> Any:
        page: Page = await self.rentals.store.call(
            tenants.list_tenants, ask.get("after"), ask.get("limit", 100)
        )
        return {"tenants": [_tenant(each) for each in page.items], "next": page.next}

    async def show_tenant(self, ask: Ask) -> Any:
        tenant: Tenant = await self.rentals.store.call(tenants.tenant, ask["tenant"])
        return _tenant(tenant)

    async def change_tenant(self, ask: Ask) -> Any:
        tenant: Tenant = await self.rentals.store.call(tenants.tenant, ask["tenant"])
        values = {key: ask[key] for key in ("tier", "suspended") if ask.get(key) is not None}
        changed: Tenant = await self.rentals.store.call(tenants.change_tenant, tenant.id, **values)
        return _tenant(changed)

    async def remove_tenant(self, ask: Ask) -> Any:
        tenant: Tenant = await self.rentals.store.call(tenants.tenant, ask["tenant"])
        await self.rentals.store.call(tenants.remove_tenant, tenant.id)
        self.control.usage.forget(tenant.id)
        await self.control.identities.reload()
        return {"removed": tenant.id}

    # -- tokens ------------------------------------------------------------------------------------------

    async def create_token(self, ask: Ask) -> Any:
        tenant = await self._tenant_id(ask.get("tenant"))
        lifetime = ask.get("lifetime_seconds")
        if lifetime is not None:
            lifetime = lifetime_of(float(lifetime), Tier(name="", allocation_budget=0))
        scopes = frozenset(ask.get("scopes") or (SCOPES - {"admin"} if tenant else {"admin"}))
        at = now()
        made, shown = await self.rentals.store.call(
            tenants.create_token,
            tenant,
            str(ask.get("name") or "")[:64],
            scopes,
            at,
            self.rentals.random,
            expires=at + timedelta(seconds=lifetime) if lifetime is not None else None,
        )
        return _token(made) | {"token": shown}

    async def list_tokens(self, ask: Ask) -> Any:
        tenant = await self._tenant_id(ask.get("tenant"))
        page: Page = await self.rentals.store.call(
            tenants.list_tokens, tenant, ask.get("after"), ask.get("limit", 100)
        )
        return {"tokens": [_token(each) for each in page.items], "next": page.next}

    async def show_token(self, ask: Ask) -> Any:
        return _token(await self.rentals.store.call(tenants.token, ask["id"]))

    async def revoke_token(self, ask: Ask) -> Any:
        await self.rentals.store.call(tenants.revoke_token, ask["id"], now())
        return {"revoked": ask["id"]}

    # -- tiers -------------------------------------------------------------------------------------------

    async def put_tier(self, ask: Ask) -> Any:
        if not NAME.fullmatch(ask["name"]):
            raise Invalid("a tier's name has small letters, digits, . and -, up to 63 of them", "name")
        tier: Tier = _structure(ask, Tier)
        await self.rentals.changes.set_tier(tier)
        return attrs.asdict(tier)

    async def list_tiers(self, ask: Ask) -> Any:
        found: tuple[Tier, ...] = await self.rentals.store.call(tenants.tiers)
        return [attrs.asdict(tier) for tier in found]

    async def show_tier(self, ask: Ask) -> Any:
        tier: Tier = await self.rentals.store.call(tenants.tier, ask["name"])
        return attrs.asdict(tier)

    async def remove_tier(self, ask: Ask) -> Any:
        await self.rentals.store.call(tenants.remove_tier, ask["name"])
        self.rentals.tiers.pop(ask["name"], None)
        return {"removed": ask["name"]}

    # -- the rest ----------------------------------------------------------------------------------------

    async def events(self, ask: Ask) -> Any:
        target = self.rentals.find(ask["target"]).id if ask.get("target") else None
        page: Page = await self.rentals.store.call(
            journal.events,
            tenant_id=await self._tenant_id(ask.get("tenant")),
            target_id=target,
            after=ask.get("after"),
            limit=ask.get("limit", 50),
        )
        return {"events": [_event(each) for each in page.items], "next": page.next}

    async def rotate(self, ask: Ask) -> Any:
        """Seal every secret with a new key."""
        return {"resealed": await self.rentals.rotate_keys()}


def _target_ids(
    connection: sa.Connection, tenant: str | None, after: str | None, limit: int
) -> tuple[Page, dict[str, str]]:
    """A page of them, and what their tenants are called."""
    if tenant is not None:
        its = tenants.tenant(connection, tenant)
        return targets.listed_ids(connection, its.id, after=after, limit=limit), {its.id: its.name}
    page = targets.listed_ids(connection, after=after, limit=limit)
    return page, tenants.names_of_targets(connection, page.items)


def _handler(method: Callable[[Ask], Awaitable[Any]]) -> Handler:
    async def handle(params: Any, fds: list[int]) -> Any:
        try:
            return await method(params)
        except StoreError as error:
            code, do = CODES[type(error)]
            raise CallError(code, f"{str(error)[:1].upper()}{str(error)[1:]}.", {"do": do}) from None
        except KeyError as missing:
            raise CallError("invalid", f"{missing.args[0]} is missing.") from None

    return handle


def _structure(said: Mapping[str, Any], kind: type[Any]) -> Any:
    """A record from what was said; what is not known, or of another type, is refused."""
    values = {key: value for key, value in said.items() if value is not None}
    try:
        return _exact.structure(values, kind)
    except (cattrs.BaseValidationError, TypeError, ValueError):
        raise Invalid(f"that does not describe a {kind.__name__.lower()}") from None


def position(after: str | None) -> int:
    """In a list that is counted, as this one was continued before.  Raises NotFound."""
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit() and len(after) < 10):
        raise NotFound("position in the list", after[:40])
    return int(after)


def _tenant(tenant: Tenant) -> dict[str, Any]:
    return attrs.asdict(tenant) | {"created": tenant.created.isoformat(timespec="seconds")}


def _token(token: Token) -> dict[str, Any]:
    said = attrs.asdict(token) | {"scopes": sorted(token.scopes)}
    for key in ("created", "expires", "last_used", "revoked"):
        said[key] = said[key].isoformat(timespec="seconds") if said[key] is not None else None
    return said


def _event(event: Any) -> dict[str, Any]:
    return attrs.asdict(event) | {"at": event.at.isoformat(timespec="seconds"), "data": dict(event.data)}
