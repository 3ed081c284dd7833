"""``/api/v1/targets``: what tenants rent."""

import attrs
import cattrs
from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from scsipub.web.api.answers import AttemptPage, LunPage, NewTarget, Reservations, Target, TargetPage, Usage
from scsipub.web.api.answers import Lun as LunAnswer
from scsipub.web.api.bounds import FEW_ITEMS, After, Key, Limit, Lun, OfTenant, TargetId
from scsipub.web.api.calls import ABOUT, BEARER, CHANGES, Call
from scsipub.web.api.orders import ExtendOrder, LunOrder, ResizeOrder, SuspendOrder, TargetOrder


@get("/targets", summary="Rented targets, from the oldest on", security=BEARER, responses=ABOUT)
async def targets(
    call: NamedDependency[Call], limit: Limit = FEW_ITEMS, after: After = None, tenant: OfTenant = None
) -> TargetPage:
    answer = await call("target.list", {"limit": limit, "after": after, "tenant": tenant})
    return cattrs.structure(answer, TargetPage)


@post("/targets", summary="Rent a target", security=BEARER, responses=CHANGES)
async def rent(call: NamedDependency[Call], data: JSONBody[TargetOrder], key: Key = None) -> NewTarget:
    return cattrs.structure(await call("target.create", attrs.asdict(data), key), NewTarget)


@get("/targets/{target_id:str}", summary="One target", security=BEARER, responses=ABOUT)
async def target(call: NamedDependency[Call], target_id: TargetId) -> Target:
    return cattrs.structure(await call("target.show", {"id": target_id}), Target)


@delete(
    "/targets/{target_id:str}",
    summary="Remove a target and all that was written to it, for ever",
    security=BEARER,
    responses=CHANGES,
)
async def destroy(call: NamedDependency[Call], target_id: TargetId) -> None:
    await call("target.destroy", {"id": target_id})


@post(
    "/targets/{target_id:str}/suspend",
    summary="End its sessions and let nobody log in",
    status_code=200,
    security=BEARER,
    responses=CHANGES,
)
async def suspend(call: NamedDependency[Call], target_id: TargetId, data: JSONBody[SuspendOrder]) -> Target:
    return cattrs.structure(await call("target.suspend", {"id": target_id, "reason": data.reason}), Target)


@post(
    "/targets/{target_id:str}/resume",
    summary="Let initiators log in again",
    status_code=200,
    security=BEARER,
    responses=CHANGES,
)
async def resume(call: NamedDependency[Call], target_id: TargetId) -> Target:
    return cattrs.structure(await call("target.resume", {"id": target_id}), Target)


@post(
    "/targets/{target_id:str}/secret",
    summary="Another CHAP secret in place of the last, shown once",
    security=BEARER,
    responses=CHANGES,
)
async def secret(call: NamedDependency[Call], target_id: TargetId, key: Key = None) -> NewTarget:
    return cattrs.structure(await call("target.secret", {"id": target_id}, key), NewTarget)


@post(
    "/targets/{target_id:str}/extend",
    summary="Let it last longer; what has expired serves again",
    status_code=200,
    security=BEARER,
    responses=CHANGES,
)
async def extend(
    call: NamedDependency[Call], target_id: TargetId, data: JSONBody[ExtendOrder], key: Key = None
) -> Target:
    answer = await call("target.extend", {"id": target_id, "seconds": data.seconds}, key)
    return cattrs.structure(answer, Target)


@get(
    "/targets/{target_id:str}/usage",
    summary="How much room each of its units takes, and may",
    security=BEARER,
    responses=ABOUT,
)
async def usage(call: NamedDependency[Call], target_id: TargetId) -> Usage:
    return cattrs.structure({"items": await call("target.usage", {"id": target_id})}, Usage)


@get(
    "/targets/{target_id:str}/reservations",
    summary="Who is registered at each unit, and who holds it",
    security=BEARER,
    responses=ABOUT,
)
async def reservations(call: NamedDependency[Call], target_id: TargetId) -> Reservations:
    return cattrs.structure(await call("target.reservations", {"id": target_id}), Reservations)


@get(
    "/targets/{target_id:str}/attempts",
    summary="How the last logins ended, why, and what mends it",
    security=BEARER,
    responses=ABOUT,
)
async def attempts(
    call: NamedDependency[Call], target_id: TargetId, limit: Limit = FEW_ITEMS, after: After = None
) -> AttemptPage:
    answer = await call("target.attempts", {"id": target_id, "limit": limit, "after": after})
    return cattrs.structure(answer, AttemptPage)


@get(
    "/attempts",
    summary="The last logins to whatever name, for the operator",
    security=BEARER,
    responses=ABOUT,
)
async def all_attempts(
    call: NamedDependency[Call], limit: Limit = FEW_ITEMS, after: After = None
) -> AttemptPage:
    return cattrs.structure(await call("attempt.list", {"limit": limit, "after": after}), AttemptPage)


@get("/targets/{target_id:str}/luns", summary="Its logical units", security=BEARER, responses=ABOUT)
async def luns(
    call: NamedDependency[Call], target_id: TargetId, limit: Limit = FEW_ITEMS, after: After = None
) -> LunPage:
    answer = await call("lun.list", {"id": target_id, "limit": limit, "after": after})
    return cattrs.structure(answer, LunPage)


@post(
    "/targets/{target_id:str}/luns",
    summary="One more, with the lowest free number; sessions see it at once",
    security=BEARER,
    responses=CHANGES,
)
async def add(
    call: NamedDependency[Call], target_id: TargetId, data: JSONBody[LunOrder], key: Key = None
) -> Target:
    return cattrs.structure(await call("lun.add", {"id": target_id, **attrs.asdict(data)}, key), Target)


@delete(
    "/targets/{target_id:str}/luns/{lun:int}",
    summary="Take it away, with all that was written to it",
    security=BEARER,
    responses=CHANGES,
)
async def remove(call: NamedDependency[Call], target_id: TargetId, lun: Lun) -> None:
    await call("lun.remove", {"id": target_id, "lun": lun})


@get("/targets/{target_id:str}/luns/{lun:int}", summary="One of them", security=BEARER, responses=ABOUT)
async def lun(call: NamedDependency[Call], target_id: TargetId, lun: Lun) -> LunAnswer:
    return cattrs.structure(await call("lun.show", {"id": target_id, "lun": lun}), LunAnswer)


@patch(
    "/targets/{target_id:str}/luns/{lun:int}", summary="Make it longer", security=BEARER, responses=CHANGES
)
async def resize(
    call: NamedDependency[Call], target_id: TargetId, lun: Lun, data: JSONBody[ResizeOrder]
) -> Target:
    answer = await call("lun.resize", {"id": target_id, "lun": lun, "size": data.size})
    return cattrs.structure(answer, Target)


HANDLERS = [
    targets,
    rent,
    target,
    destroy,
    suspend,
    resume,
    secret,
    extend,
    usage,
    reservations,
    attempts,
    all_attempts,
    luns,
    add,
    lun,
    resize,
    remove,
]
