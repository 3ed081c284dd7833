"""What a pool is told, and what it answers when asked how it is.

Values only; ``pool`` acts on them.
"""

import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

from supervisor.budget import Backoff
from supervisor.channel import Handler
from supervisor.exits import Exit
from supervisor.process import State, Worker
from supervisor.telemetry import Sink, log


async def _nothing_up(worker: Worker) -> None: ...


async def _nothing_down(worker: Worker, exit: Exit) -> None: ...


def _no_handlers(worker: Worker) -> Mapping[str, Handler]:
    return {}


def _to_our_stderr(index: int, line: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads our stderr any more: not the worker's fault
        sys.stderr.write(line.decode("utf-8", "replace") + "\n")
        sys.stderr.flush()


@attrs.frozen
class PoolSpec:
    """What a pool is told.

    ``argv(index, fd)`` is the command line; ``fd`` is the descriptor on which the child finds its channel.
    ``handlers(worker)`` are what the child may call.  ``on_up`` is called when a worker is ready, ``on_down``
    once for each process that ran, after it has been reaped; what they raise is logged and counted.
    """

    argv: Callable[[int, int], Sequence[str]]
    size: int = 1
    name: str = "worker"
    handlers: Callable[[Worker], Mapping[str, Handler]] = _no_handlers
    on_up: Callable[[Worker], Awaitable[None]] = _nothing_up
    on_down: Callable[[Worker, Exit], Awaitable[None]] = _nothing_down
    on_stderr: Callable[[int, bytes], None] = _to_our_stderr
    environment: Mapping[str, str] | None = None
    ready_seconds: float = 15.0
    heartbeat_seconds: float = 2.0
    # A ping is sent after one heartbeat of silence, so two are the least to wait for.
    misses: int = attrs.field(default=4, validator=attrs.validators.ge(2))
    drain_seconds: float = 10.0
    # SIGTERM goes out this long before the deadline, for the child that does not listen to its channel.
    term_seconds: float = 1.0
    max_restarts: int = 5
    max_seconds: float = 30.0
    backoff: Backoff = attrs.field(factory=Backoff)
    quarantine_seconds: float = 60.0
    on_event: Sink = log


@attrs.frozen
class SlotStatistics:
    """How a slot is.  ``restarts`` counts the processes that were replaced, whatever the reason."""

    index: int
    state: State
    incarnation: int
    pid: int | None
    restarts: int
    last_exit: Exit | None


@attrs.frozen
class PoolStatistics:
    slots: tuple[SlotStatistics, ...]
    hung: int
    hook_failures: int
