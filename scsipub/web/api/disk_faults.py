"""``/api/v1/sessions/ID/disks/LUN/faults``: a disk that fails, beneath a session.

docs/faults.md says what each fault is.  The same seed and the same accesses give the same faults."""

from typing import Annotated, Any, Literal

import attrs
import cattrs
from litestar import delete, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from scsipub.web.api.bounds import Lun, SessionId
from scsipub.web.api.calls import ABOUT, BEARER, Call
from scsipub.web.api.faults import MOST_RULES, MOST_SEED, Block, Count, written


@attrs.frozen(kw_only=True)
class DiskFaultRule:
    """One fault, and which accesses meet it.  `sectors` are the first and the last, of 512 bytes each."""

    fault: Literal["eio", "enospc", "short", "slow"]
    access: Literal["read", "write", "unmap", "flush"] | None = None
    sectors: Annotated[list[Block], Meta(min_length=2, max_length=2)] | None = None
    p: Annotated[float, Meta(ge=0, le=1)] | None = None
    skip: Count | None = None
    times: Count | None = None
    seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None


@attrs.frozen(kw_only=True)
class DiskFaultOrder:
    """The rules that the disk gets in place of those it has; the first that fits and strikes wins."""

    rules: Annotated[list[DiskFaultRule], Meta(max_length=MOST_RULES)]
    seed: Annotated[int, Meta(ge=0, le=MOST_SEED)] | None = None


@attrs.frozen(kw_only=True)
class DiskFaultEvent:
    """One fault that happened: seconds since the rules were set, the number of the access, which rule."""

    at: float
    number: int
    fault: str
    rule: int
    access: str
    first: int
    sectors: int


@attrs.frozen(kw_only=True)
class DiskFaults:
    """The rules of a disk, how many accesses they have seen and struck, and the last thousand events."""

    id: str
    lun: int
    seed: int
    rules: list[dict[str, Any]]
    accesses: int
    struck: int
    events: list[DiskFaultEvent]


PATH = "/sessions/{session_id:str}/disks/{lun:int}/faults"


@get(PATH, summary="What troubles a session's disk", security=BEARER, responses=ABOUT)
async def disk_faults(call: NamedDependency[Call], session_id: SessionId, lun: Lun) -> DiskFaults:
    return cattrs.structure(await call("disk_fault.show", {"id": session_id, "lun": lun}), DiskFaults)


@put(PATH, summary="Trouble a session's disk, to test its initiator", security=BEARER, responses=ABOUT)
async def set_disk_faults(
    call: NamedDependency[Call], session_id: SessionId, lun: Lun, data: JSONBody[DiskFaultOrder]
) -> DiskFaults:
    ask = {"id": session_id, "lun": lun, "rules": written(data.rules), "seed": data.seed}
    return cattrs.structure(await call("disk_fault.set", ask), DiskFaults)


@delete(PATH, summary="Trouble the disk no more", security=BEARER, responses=ABOUT)
async def clear_disk_faults(call: NamedDependency[Call], session_id: SessionId, lun: Lun) -> None:
    await call("disk_fault.clear", {"id": session_id, "lun": lun})


ORDERS = (DiskFaultRule, DiskFaultOrder)
HANDLERS = [disk_faults, set_disk_faults, clear_disk_faults]
