"""Faults for one session, or for the disk of one of its units, as the operator or its tenant asks for them.

Reads the rules before a worker sees them; knows which worker has the session.  A session that ends takes its
faults along: whoever logs in again is well.  So does the last one of a unit with those of the disk."""

import random
from typing import TYPE_CHECKING, Any

from scsipub.errors import OperatorError
from scsipub.faults.disk import DiskRule
from scsipub.faults.rules import Rule
from scsipub.faults.written import MOST_RULES, Written
from supervisor.channel import CallError

if TYPE_CHECKING:
    from scsipub.control.console import Console

MOST_SEED = 2**53  # what every reader of JSON takes
LAST_LUN = 2**14 - 1  # SAM-5 §4.6.11, flat space


async def set_faults(console: "Console", params: Any) -> Any:
    """``id``, ``rules`` (None: only tell how it goes; []: no more), ``seed`` (None: any).

    Raises CallError: "not_found" without such a session, "invalid" for rules that are none."""
    order = _read_order(params, Rule)
    return {"id": params["id"], **await _ask(console, "faults", order)}


async def set_disk_faults(console: "Console", params: Any) -> Any:
    """The same of the disk of a unit, ``lun`` (0 unless told).

    Raises CallError: "not_found" without such a session or unit in it, "invalid" for rules that are none,
    "refused" when the worker has too many such disks."""
    lun = params.get("lun", 0)
    if not isinstance(lun, int) or not 0 <= lun <= LAST_LUN:
        raise CallError("invalid", f"lun is a number from 0 to {LAST_LUN}.")
    order = _read_order(params, DiskRule) | {"lun": lun}
    said = await _ask(console, "disk_faults", order)
    if "luns" in said:
        has = ", ".join(map(str, said["luns"]))
        only = f"it has {has}" if has else "it is for discovery"
        do = "Say which with --lun." if has else "`scsipub session list` shows those at a target."
        raise CallError("not_found", f"Session {params['id']} has no LUN {lun}; {only}.", {"do": do})
    if "most" in said:
        what = f"The worker of session {params['id']} has {said['most']} faulty disks, and no more."
        raise CallError("refused", what, {"do": "Clear one of them, or set `faulty_disks` higher."})
    return {"id": params["id"], "lun": lun, **said}


def _read_order(params: Any, kind: type[Written]) -> dict[str, Any]:
    """What a worker is asked, with rules that can be read."""
    rules, seed = params.get("rules"), params.get("seed")
    if rules is not None:
        if not isinstance(rules, list) or len(rules) > MOST_RULES:
            raise CallError("invalid", f"rules is a list of at most {MOST_RULES}.")
        rules = [_read(rule, kind).to_json() for rule in rules]
    if seed is None:
        seed = random.randrange(MOST_SEED)
    if not isinstance(seed, int) or not 0 <= seed < MOST_SEED:
        raise CallError("invalid", f"seed is a number from 0 to {MOST_SEED - 1}.")
    return {"id": params["id"], "rules": rules, "seed": seed}


async def _ask(console: "Console", method: str, order: dict[str, Any]) -> dict[str, Any]:
    """Whichever worker has the session."""
    told = await console.ask_all(method, order)
    for said in told.values():
        if said is not None:
            return dict(said)
    do = {"do": "`scsipub session list` shows them."}
    raise CallError("not_found", f"There is no session {order['id']}.", do)


def _read(rule: object, kind: type[Written]) -> Written:
    try:
        return kind.parse(rule) if isinstance(rule, str) else kind.from_json(rule)
    except OperatorError as error:
        raise CallError("invalid", error.what, {"do": error.do}) from None
