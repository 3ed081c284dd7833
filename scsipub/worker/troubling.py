"""Troubling: faults for one session, because somebody tests its initiator.

Knows trio, the rules and the session; control has looked at the rules before they come here."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import trio

from scsipub.faults.rules import Injector, Rule
from scsipub.target.faulty import Faulty, Later
from scsipub.worker.blocking import beside_sessions
from scsipub.worker.live import Live

NOTHING = {"seed": 0, "rules": [], "commands": 0, "struck": 0, "events": []}


def trouble(live: Live, rules: list[Any] | None, seed: int, later: Later) -> dict[str, Any]:
    """Give a session these rules, and tell how it goes.  [] ends it, None only tells."""
    nexus = live.connection.nexus
    if rules:
        injector = Injector([Rule.from_json(rule) for rule in rules], seed, monotonic())
        nexus.faults = Faulty(injector, later)
    elif rules is not None:
        nexus.faults = None
    return nexus.faults.injector.to_json() if nexus.faults is not None else NOTHING


async def call_later(seconds: float, deed: Callable[[float], None]) -> None:
    """Beside the sessions: whatever it raises is not theirs."""
    await trio.sleep(seconds)
    beside_sessions(deed, monotonic())
