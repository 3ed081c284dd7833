"""A plan: everything a checked command still needs, said before anything is done.

``LogicalUnit.begin`` refuses or returns one of these; whoever owns the wire and the threads carries it out.
After the plan is made nothing is checked again except what only the data can tell.

Knows the medium and how to refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from scsipub.errors import CheckCondition
from scsipub.scsi import sense
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.ports import InitiatorPort


class Background(Protocol):
    """Work that outlives its command, its session and every reset.  SBC-3 §4.11 (sanitize operations)."""

    waits: bool  # True: the status of the command is owed when the work has ended (IMMED=0)

    def start(self, now: float) -> None:
        """On the event loop, once ``run`` has accepted the parameter list."""

    def step(self, medium: Medium, now: float) -> float | None:
        """A bounded piece of the work; may block.  Seconds to wait before the next one, None when done."""

    def finish(self, error: CheckCondition | None = None) -> None:
        """On the event loop, after the last step or after the one that failed."""


@attrs.define(kw_only=True, eq=False)
class Plan:
    """How to carry out one command.  Exactly one of reply, read_blocks, run, piece says where the work is;
    none of them: the answer is GOOD with no data."""

    name: str = ""
    data_out: int = 0  # bytes of parameter or write data the CDB asks for
    exact: int | None = (
        None  # other amounts of data than data_out are refused, pointing at this byte of the CDB
    )
    data_in: int = 0  # upper bound of the answer
    first: int = 0
    count: int = 0  # the blocks touched, for the range lock; 0: none
    writes: bool = False  # lock exclusively
    reply: bytes | None = None  # the answer, already cut to the allocation length
    read_blocks: bool = False  # a plain READ: the caller streams the blocks itself
    run: Callable[[Medium, Data], bytes | None] | None = None
    blocking: bool = False  # ``run`` uses the medium, so it belongs in a thread; else inline, on the loop
    piece: Callable[[Medium, int, Data], None] | None = None  # (medium, byte offset, data), in order
    finish: Callable[[Medium], bytes | None] | None = None  # after the last piece; may block
    fua: bool = False
    background: Background | None = None
    # Persistent reservations: what must be durable, and whose tasks must be gone, before ``after``; ``undo``
    # if not.
    commit: Callable[[], object] | None = None
    aborts: Callable[[], Sequence[InitiatorPort]] | None = None
    undo: Callable[[], None] | None = None
    after: Callable[[], None] | None = None  # on the event loop, after success

    def check_length(self, given: int) -> None:
        """To be asked with the transport's expected data transfer length before any data is fetched."""
        if self.exact is not None and given != self.data_out:
            raise sense.invalid_field(self.exact, 7, why=f"{given} bytes of data instead of {self.data_out}")


def clip(data: bytes, allocation_length: int, name: str = "") -> Plan:
    """An answer cut to what the initiator has room for.  SPC-4 §4.2.5.6: truncation is not an error."""
    return Plan(name=name, reply=data[:allocation_length], data_in=allocation_length)
