"""``/api/v1/tiers``: what a kind of customer may use."""

import attrs
import cattrs
from litestar import delete, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from scsipub.tiers import Tier
from scsipub.web.api.bounds import FEW_ITEMS, After, Limit, TierName
from scsipub.web.api.calls import ABOUT, BEARER, CHANGES, Call
from scsipub.web.api.orders import TierTerms


@attrs.frozen(kw_only=True)
class TierPage:
    items: list[Tier]
    next: str | None = None


@get("/tiers", summary="Tiers by name; to a tenant, its own", security=BEARER, responses=ABOUT)
async def tiers(call: NamedDependency[Call], limit: Limit = FEW_ITEMS, after: After = None) -> TierPage:
    return cattrs.structure(await call("tier.list", {"limit": limit, "after": after}), TierPage)


@get("/tiers/{name:str}", summary="One tier", security=BEARER, responses=ABOUT)
async def tier(call: NamedDependency[Call], name: TierName) -> Tier:
    return cattrs.structure(await call("tier.show", {"name": name}), Tier)


@put("/tiers/{name:str}", summary="Make or change a tier", security=BEARER, responses=CHANGES)
async def set_tier(call: NamedDependency[Call], name: TierName, data: JSONBody[TierTerms]) -> Tier:
    terms = attrs.asdict(data)
    return cattrs.structure(await call("tier.put", {**terms, "name": name}), Tier)


@delete("/tiers/{name:str}", summary="Remove a tier that nobody has", security=BEARER, responses=CHANGES)
async def remove(call: NamedDependency[Call], name: TierName) -> None:
    await call("tier.remove", {"name": name})


HANDLERS = [tiers, tier, set_tier, remove]
