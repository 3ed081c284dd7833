"""``/api/v1/tenants`` and ``/api/v1/me``: who rents, and who asks."""

import attrs
import cattrs
from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from scsipub.web.api.answers import Certificate, CertificatePage, Me, Tenant, TenantPage
from scsipub.web.api.bounds import FEW_ITEMS, After, CertificateId, Key, Limit, TenantId
from scsipub.web.api.calls import ABOUT, BEARER, CHANGES, KNOWN, Call
from scsipub.web.api.orders import CertificateOrder, TenantChange, TenantOrder


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


CERTIFICATES = "/tenants/{tenant_id:str}/certificates"


@get(CERTIFICATES, summary="Client certificates that stand for it", security=BEARER, responses=ABOUT)
async def certificates(
    call: NamedDependency[Call], tenant_id: TenantId, limit: Limit = FEW_ITEMS, after: After = None
) -> CertificatePage:
    answer = await call("certificate.list", {"tenant": tenant_id, "limit": limit, "after": after})
    return cattrs.structure(answer, CertificatePage)


@post(CERTIFICATES, summary="Let a certificate stand for it", security=BEARER, responses=CHANGES)
async def add_certificate(
    call: NamedDependency[Call], tenant_id: TenantId, data: JSONBody[CertificateOrder], key: Key = None
) -> Certificate:
    answer = await call("certificate.add", {"tenant": tenant_id, "identity": data.identity}, key)
    return cattrs.structure(answer, Certificate)


@delete(
    f"{CERTIFICATES}/{{certificate_id:str}}",
    summary="Let nobody log in by it any more; a session that is there stays",
    security=BEARER,
    responses=ABOUT,
)
async def remove_certificate(
    call: NamedDependency[Call], tenant_id: TenantId, certificate_id: CertificateId
) -> None:
    await call("certificate.remove", {"tenant": tenant_id, "id": certificate_id})


HANDLERS = [
    me,
    tenants,
    create,
    tenant,
    change,
    remove,
    certificates,
    add_certificate,
    remove_certificate,
]
