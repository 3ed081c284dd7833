"""``/api/v1/sessions/ID/faults``: trouble for one session, to see what its initiator makes of it.

docs/faults.md says what each fault is.  The same seed and the same commands give the same faults."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import attrs
import cattrs
from litestar import delete, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from scsipub.web.api.bounds import SessionId
from scsipub.web.api.calls import ABOUT, BEARER, Call

MOST_RULES = 32
MOST_SEED = 2**53 - 1
MOST_BLOCK = 2**53 - 1

FaultName = Literal["delay", "medium-error", "busy", "task-set-full", "drop-response", "digest-error", "cut"]
Opcode = Annotated[int, Meta(ge=0, le=255)]
Block = Annotated[int, Meta(ge=0, le=MOST_BLOCK)]
Count = Annotated[int, Meta(ge=0, le=2**31)]
Span = Annotated[float, Meta(ge=0, le=1e9)]


@attrs.frozen(kw_only=True)
class FaultRule:
    """One fault, and what must hold for it to happen.  `lba` is the first and the last block."""

    fault: FaultName
    seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None
    opcode: Annotated[list[Opcode], Meta(max_length=256)] | None = None
    lun: Annotated[int, Meta(ge=0, le=255)] | None = None
    lba: Annotated[list[Block], Meta(min_length=2, max_length=2)] | None = None
    p: Annotated[float, Meta(ge=0, le=1)] | None = None
    skip: Count | None = None
    times: Count | None = None
    after: Span | None = None
    until: Span | None = None


@attrs.frozen(kw_only=True)
class FaultOrder:
    """The rules that the session gets in place of those it has; the first that fits and strikes wins."""

    rules: Annotated[list[FaultRule], Meta(max_length=MOST_RULES)]
    seed: Annotated[int, Meta(ge=0, le=MOST_SEED)] | None = None


@attrs.frozen(kw_only=True)
class FaultEvent:
    """One fault that happened: seconds since the rules were set, the number of the command, which rule."""

    at: float
    command: int
    fault: str
    rule: int
    opcode: int
    lun: int
    lba: int | None


@attrs.frozen(kw_only=True)
class Faults:
    """The rules of a session, how many commands they have seen and struck, and the last thousand events."""

    id: str
    seed: int
    rules: list[dict[str, Any]]
    commands: int
    struck: int
    events: list[FaultEvent]


PATH = "/sessions/{session_id:str}/faults"


def written(rules: Sequence[Any]) -> list[dict[str, Any]]:
    """Rules with the names that they have, as control reads them."""
    return [
        {name: value for name, value in attrs.asdict(rule).items() if value is not None} for rule in rules
    ]


@get(PATH, summary="What troubles a session", security=BEARER, responses=ABOUT)
async def faults(call: NamedDependency[Call], session_id: SessionId) -> Faults:
    return cattrs.structure(await call("fault.show", {"id": session_id}), Faults)


@put(PATH, summary="Trouble a session, to test its initiator", security=BEARER, responses=ABOUT)
async def set_faults(
    call: NamedDependency[Call], session_id: SessionId, data: JSONBody[FaultOrder]
) -> Faults:
    ask = {"id": session_id, "rules": written(data.rules), "seed": data.seed}
    return cattrs.structure(await call("fault.set", ask), Faults)


@delete(PATH, summary="Trouble it no more", security=BEARER, responses=ABOUT)
async def clear_faults(call: NamedDependency[Call], session_id: SessionId) -> None:
    await call("fault.clear", {"id": session_id})


ORDERS = (FaultRule, FaultOrder)
HANDLERS = [faults, set_faults, clear_faults]
