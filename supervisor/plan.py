"""Who is stopped and who is started after a child ended.

Source: OTP design principles, "Restart Strategy"; stdlib's supervisor.erl for the corners.
Pure arithmetic over ``spec`` and ``exits``; ``tree`` carries the plan out.
"""

from collections.abc import Sequence

import attrs

from supervisor.exits import Exit
from supervisor.spec import ChildSpec, Restart, Strategy


@attrs.frozen
class Plan:
    """Stop these, in this order; then start these, in this order."""

    stop: tuple[str, ...]
    start: tuple[str, ...]


def wants_restart(child: ChildSpec, exit: Exit) -> bool:
    """Whether a child that ended so is started again."""
    match child.restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return exit.abnormal
        case Restart.TEMPORARY:
            return False


def after_death(strategy: Strategy, children: Sequence[ChildSpec], died: str) -> Plan:
    """``children`` are in start order: each may lean on those before it.

    A temporary child is stopped with the others and, as ever, not started again.  A transient one that had
    finished its work is started again with the others: it may have worked for one of them.
    """
    names = [child.name for child in children]
    match strategy:
        case Strategy.ONE_FOR_ONE:
            affected = [died]
        case Strategy.REST_FOR_ONE:
            affected = names[names.index(died) :]
        case Strategy.ONE_FOR_ALL:
            affected = names
    lasting = {child.name for child in children if child.restart is not Restart.TEMPORARY}
    return Plan(
        stop=tuple(name for name in reversed(affected) if name != died),
        start=tuple(name for name in affected if name in lasting),
    )
