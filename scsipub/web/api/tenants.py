"""``/api/v1/tenants`` and ``/api/v1/me``: who rents, and who asks."""

import attrs
import cattrs
from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from scsipub.web.api.answers import Me, Tenant, TenantPage
from scsipub.web.api.bounds import FEW_ITEMS, After, Key, Limit, TenantId
from scsipub.web.api.calls import ABOUT, BEARER, CHANGES, KNOWN, Call
from scsipub.web.api.orders import TenantChange, TenantOrder


@get("/me", summary="Whose token this is, and what it may", security=BEARER, responses=KNOWN)
async def me(call: NamedDependency[Call]) -> Me:
    return cattrs.structure(await call("me"), Me)


@get("/tenants", summary="Tenants by name; to a tenant, itself", security=BEARER, responses=ABOUT)
async def tenants(call: NamedDependency[Call], limit: Limit = FEW_ITEMS, after: After = None) -> TenantPage:
    return cattrs.structure(await call("tenant.list", {"limit": limit, "after": after}), TenantPage)


@post("/tenants", summary="Make a tenant", security=BEARER, responses=CHANGES)
async def create(call: NamedDependency[Call], data: JSONBody[TenantOrder], key: Key = None) -> Tenant:
    return cattrs.structure(await call("tenant.create", attrs.asdict(data), key), Tenant)


@get("/tenants/{tenant_id:str}", summary="One tenant", security=BEARER, responses=ABOUT)
async def tenant(call: NamedDependency[Call], tenant_id: TenantId) -> Tenant:
    return cattrs.structure(await call("tenant.show", {"tenant": tenant_id}), Tenant)


@patch("/tenants/{tenant_id:str}", summary="Another tier, or suspend it", security=BEARER, responses=CHANGES)
async def change(call: NamedDependency[Call], tenant_id: TenantId, data: JSONBody[TenantChange]) -> Tenant:
    answer = await call("tenant.change", {"tenant": tenant_id, **attrs.asdict(data)})
    return cattrs.structure(answer, Tenant)


@delete(
    "/tenants/{tenant_id:str}",
    summary="Remove a tenant that rents nothing, and its tokens",
    security=BEARER,
    responses=CHANGES,
)
async def remove(call: NamedDependency[Call], tenant_id: TenantId) -> None:
    await call("tenant.remove", {"tenant": tenant_id})


HANDLERS = [me, tenants, create, tenant, change, remove]
