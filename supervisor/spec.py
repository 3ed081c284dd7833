"""What a supervisor is told: which children, in which order, and what to do when one ends.

Source: Elixir's Supervisor, "Child specification" and "Supervisor strategies".
Pure: no trio, no clock.  The tree is data; ``tree`` carries it out.
"""

import enum
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from supervisor.budget import Backoff


class Restart(enum.Enum):
    """Whether a child that ended is started again."""

    PERMANENT = "always"
    TRANSIENT = "only after an abnormal end"
    TEMPORARY = "never"


class Strategy(enum.Enum):
    """Who else is restarted with the one that died."""

    ONE_FOR_ONE = "nobody"
    ONE_FOR_ALL = "everybody"
    REST_FOR_ONE = "those started after it"


@attrs.frozen
class Drain:
    """Ask the child to end, wait so many seconds, then cancel it.

    Only a child that listens (``stopping()``) can be asked; one that does not is cancelled at once.
    """

    seconds: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))


@attrs.frozen
class Cancel:
    """Cancel the child without asking."""


Shutdown = Drain | Cancel

Start = Callable[..., Awaitable[object]]


@attrs.frozen(init=False)
class ChildSpec:
    """``start(*args)`` is the child's whole life.

    If ``start`` takes ``task_status``, the child has started when it says so, and the next child's turn comes
    then; otherwise it has started as soon as its task exists.
    """

    name: str
    start: Start
    args: tuple[Any, ...]
    restart: Restart
    shutdown: Shutdown
    reports_start: bool

    def __init__(
        self,
        name: str,
        start: Start,
        *args: Any,
        restart: Restart = Restart.PERMANENT,
        shutdown: Shutdown | None = None,
    ) -> None:
        self.__attrs_init__(
            name, start, args, restart, Drain() if shutdown is None else shutdown, takes_task_status(start)
        )


def takes_task_status(start: Start) -> bool:
    """Whether ``start`` has a parameter of that name."""
    try:
        return "task_status" in inspect.signature(start).parameters
    except (TypeError, ValueError):  # some callables written in C have no signature
        return False


def _names_differ(_self: object, _attribute: object, children: tuple[ChildSpec, ...]) -> None:
    names = [child.name for child in children]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two children are called {name!r}")


def _as_tuple(children: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    return tuple(children)


@attrs.frozen
class SupervisorSpec:
    """Read downwards: what is above must live for what is below to work."""

    strategy: Strategy
    children: Sequence[ChildSpec] = attrs.field(converter=_as_tuple, validator=_names_differ)
    name: str = "supervisor"
    max_restarts: int = attrs.field(default=3, validator=attrs.validators.ge(0))
    max_seconds: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))
    backoff: Backoff = attrs.field(factory=Backoff)
