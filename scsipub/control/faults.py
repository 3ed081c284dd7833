"""Faults for one session, as the operator or its tenant asks for them.

Reads the rules before a worker sees them; knows which worker has the session.  A session that ends takes its
faults along: whoever logs in again is well."""

import random
from typing import TYPE_CHECKING, Any

from scsipub.errors import OperatorError
from scsipub.faults.rules import Rule
from scsipub.faults.written import MOST_RULES
from supervisor.channel import CallError

if TYPE_CHECKING:
    from scsipub.control.console import Console

MOST_SEED = 2**53  # what every reader of JSON takes


async def set_faults(console: "Console", params: Any) -> Any:
    """``id``, ``rules`` (None: only tell how it goes; []: no more), ``seed`` (None: any).

    Raises CallError: "not_found" without such a session, "invalid" for rules that are none."""
    rules, seed = params.get("rules"), params.get("seed")
    if rules is not None:
        if not isinstance(rules, list) or len(rules) > MOST_RULES:
            raise CallError("invalid", f"rules is a list of at most {MOST_RULES}.")
        rules = [_read(rule).to_json() for rule in rules]
    if seed is None:
        seed = random.randrange(MOST_SEED)
    if not isinstance(seed, int) or not 0 <= seed < MOST_SEED:
        raise CallError("invalid", f"seed is a number from 0 to {MOST_SEED - 1}.")
    told = await console.ask_all("faults", {"id": params["id"], "rules": rules, "seed": seed})
    for said in told.values():
        if said is not None:
            return {"id": params["id"], **said}
    do = {"do": "`scsipub session list` shows them."}
    raise CallError("not_found", f"There is no session {params['id']}.", do)


def _read(rule: object) -> Rule:
    try:
        return Rule.parse(rule) if isinstance(rule, str) else Rule.from_json(rule)
    except OperatorError as error:
        raise CallError("invalid", error.what, {"do": error.do}) from None
