"""``/api/v1/tokens``: the rights to use all this."""

import attrs
import cattrs
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from scsipub.web.api.answers import NewToken, Token, TokenPage
from scsipub.web.api.bounds import FEW_ITEMS, After, Key, Limit, OfTenant, TokenId
from scsipub.web.api.calls import ABOUT, BEARER, CHANGES, Call
from scsipub.web.api.orders import TokenOrder


@get("/tokens", summary="Tokens, without their secrets", security=BEARER, responses=ABOUT)
async def tokens(
    call: NamedDependency[Call], limit: Limit = FEW_ITEMS, after: After = None, tenant: OfTenant = None
) -> TokenPage:
    answer = await call("token.list", {"limit": limit, "after": after, "tenant": tenant})
    return cattrs.structure(answer, TokenPage)


@post("/tokens", summary="Make a token, shown once", security=BEARER, responses=CHANGES)
async def create(call: NamedDependency[Call], data: JSONBody[TokenOrder], key: Key = None) -> NewToken:
    return cattrs.structure(await call("token.create", attrs.asdict(data), key), NewToken)


@get("/tokens/{token_id:str}", summary="One token", security=BEARER, responses=ABOUT)
async def token(call: NamedDependency[Call], token_id: TokenId) -> Token:
    return cattrs.structure(await call("token.show", {"id": token_id}), Token)


@delete("/tokens/{token_id:str}", summary="Make it worthless, for ever", security=BEARER, responses=ABOUT)
async def revoke(call: NamedDependency[Call], token_id: TokenId) -> None:
    await call("token.revoke", {"id": token_id})


HANDLERS = [tokens, create, token, revoke]
