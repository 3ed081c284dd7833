"""Telling: what a worker lets control know, about sessions and about what peers did.

Knows the channel to control.  News of sessions must arrive, or control would count wrong for ever; they wait
for room.  Complaints are many when they are many: those that do not fit are dropped."""

import contextlib
import logging
from collections import OrderedDict
from time import monotonic
from typing import Any

import trio

from scsipub.errors import HEADER_NOTE
from scsipub.limits import Limits
from scsipub.target.descriptor import Arrival
from supervisor.channel import Channel, ChannelClosed

log = logging.getLogger("scsipub.worker")

# Places in our code that crashes are told of once in a while each.
MOST_PLACES = 100


def bare(error: BaseException) -> BaseException:
    """Nurseries wrap what happens in them; one exception alone needs no wrapping."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def header_of(error: BaseException) -> str:
    """The PDU that it happened on, in hex; "" when that is not known."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith(HEADER_NOTE):
            return str(note)[len(HEADER_NOTE) :]
    return ""


def place_of(error: BaseException) -> str:
    """Kind of exception and the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    return f"{type(error).__name__} at {where}"


class Telling:
    """One per worker."""

    def __init__(self, control: Channel, limits: Limits) -> None:
        self.control = control
        self.limits = limits
        self.untold = 0  # complaints that control has not heard of
        self.places: OrderedDict[str, float] = OrderedDict()  # where it crashed -> when we may say so again

    async def news(self, what: str, params: dict[str, Any]) -> None:
        """Control must know; waits, if need be, even for who is cancelled."""
        if self.control.try_cast(what, params):
            return
        with trio.CancelScope(shield=True), contextlib.suppress(ChannelClosed):
            await self.control.cast(what, params)

    def complain(self, kind: str, arrival: Arrival, why: str, **more: Any) -> None:
        """Control counts it, and logs it if it has not done so lately.

        ``status``: of a login that was refused; ``initiator``, ``pdu``: more to log; ``count``: how many."""
        said = {"kind": kind, "source": arrival.source, "why": why[:300], "session": arrival.id, **more}
        if not self.control.try_cast("complaint", said):
            self.untold += 1

    def crashed(self, arrival: Arrival, error: BaseException) -> None:
        """A session died of a bug of ours.  The traceback is logged, but not again and again."""
        error = bare(error)
        header = header_of(error)
        self.complain("crash", arrival, f"{type(error).__name__}: {error}", pdu=header)
        now, place = monotonic(), place_of(error)
        if now < self.places.get(place, 0.0):
            return
        self.places[place] = now + self.limits.unknown_target_seconds
        self.places.move_to_end(place)
        if len(self.places) > MOST_PLACES:
            self.places.popitem(last=False)
        log.error("session %s of %s crashed", arrival.id, arrival.source, exc_info=error)
