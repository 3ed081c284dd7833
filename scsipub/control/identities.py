"""Client certificates of tenants: who may come to targets that ask for one.

Kept in memory as well, as targets are: a login needs no database.  Knows the store."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from scsipub.iscsi.constants import LoginStatus
from scsipub.store import certificates, tenants
from scsipub.store.records import Tenant, TenantCertificate

if TYPE_CHECKING:
    from scsipub.control.app import Control

Ask = Mapping[str, Any]


class Identities:
    """One per daemon."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.of_tenant: dict[str, frozenset[str]] = {}

    def take(self, found: Iterable[TenantCertificate]) -> None:
        """These are all that there are."""
        fresh: dict[str, frozenset[str]] = {}
        for each in found:
            fresh[each.tenant_id] = fresh.get(each.tenant_id, frozenset()) | {each.identity}
        self.of_tenant = fresh

    def of(self, tenant_id: str) -> frozenset[str]:
        """What a tenant's machines may show."""
        return self.of_tenant.get(tenant_id, frozenset())

    async def reload(self) -> None:
        self.take(await self.control.rentals.store.call(certificates.every))

    # -- for the operator --------------------------------------------------------------------------------

    def methods(self) -> dict[str, Callable[[Ask], Awaitable[Any]]]:
        return {
            "tenant.certificate.add": self.add,
            "tenant.certificate.list": self.listed,
            "tenant.certificate.remove": self.remove,
        }

    async def add(self, ask: Ask) -> Any:
        """``identity``: ``sha256:…`` or ``name:…``."""
        rentals = self.control.rentals
        made: TenantCertificate = await rentals.store.call(
            certificates.add, str(ask["tenant"]), str(ask["identity"]), datetime.now(UTC), rentals.random
        )
        await self.reload()
        return _shown(made)

    async def listed(self, ask: Ask) -> Any:
        tenant_id = None
        if ask.get("tenant"):
            tenant: Tenant = await self.control.rentals.store.call(tenants.tenant, ask["tenant"])
            tenant_id = tenant.id
        found = await self.control.rentals.store.call(certificates.every, tenant_id)
        return [_shown(each) for each in found]

    async def remove(self, ask: Ask) -> Any:
        """No login by it from now on; a session that is there stays."""
        await self.control.rentals.store.call(certificates.remove, str(ask["id"]))
        await self.reload()
        return {"removed": ask["id"]}


def refusal(known: frozenset[str], shown: Any) -> tuple[int, str] | None:
    """Why who has shown this certificate may not come to a target that asks for one; None: they may.

    ``shown`` is what a worker says of it: its fingerprint and names, or None."""
    if not shown:
        return LoginStatus.AUTHENTICATION_FAILURE, "the target asks for a client certificate"
    identities = {f"sha256:{shown['fingerprint']}", *(f"name:{name}" for name in shown["names"])}
    if not known & identities:
        return LoginStatus.AUTHORIZATION_FAILURE, "the client certificate is not one of the tenant's"
    return None


def _shown(certificate: TenantCertificate) -> dict[str, Any]:
    return attrs.asdict(certificate) | {"created": certificate.created.isoformat(timespec="seconds")}
