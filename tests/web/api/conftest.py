"""Two tenants, each with a target, a token, a tier of its own and a session, not to be seen by the other."""

from types import SimpleNamespace

import pytest

from tests.web.conftest import SESSION

MIB = 1 << 20


class Tenant(SimpleNamespace):
    """Somebody with a token; ``headers`` shows it."""


@pytest.fixture
async def town(site):
    """``site`` with ``ada`` and ``bob`` in it.  ``ask``: as the operator's commands do."""

    async def ask(method, **params):
        return await site.house.control.console.handlers()[method](params, [])

    async def moves_in(name, index):
        tier = f"tier-of-{name}"
        await ask("tier.put", name=tier, allocation_budget=MIB, persistent=True)
        tenant = await ask("tenant.create", name=name, tier=tier)
        token = await ask("token.create", tenant=name, name=f"token-of-{name}")
        target = await ask("target.create", tenant=name, luns=[{"size": MIB}], alias=f"alias-of-{name}")
        certificate = await ask("tenant.certificate.add", tenant=name, identity=f"name:host-of-{name}")
        worker = site.house.workers[index]
        session = {**SESSION, "id": f"5e55{index}aa", "target": target["name"], "initiator": f"iqn.{name}"}
        worker.answers["sessions"] = [session]
        return Tenant(
            id=tenant["id"],
            name=name,
            tier=tier,
            token=token["token"],
            token_id=token["id"],
            certificate_id=certificate["id"],
            target=target["id"],
            target_name=target["name"],
            secret=target["chap"]["secret"],
            session=session["id"],
            headers={"Authorization": f"Bearer {token['token']}"},
        )

    site.ask = ask
    site.ada = await moves_in("ada", 0)
    site.bob = await moves_in("bob", 1)
    return site
