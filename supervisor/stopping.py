"""How a child is asked to end, and how it listens.

Source: OTP's ``process_flag(trap_exit, true)``: who traps exits is given time, who does not is ended at once.
Knows trio's Event and one context variable, nothing else.

    async def serve() -> None:
        stop = stopping()
        while not stop.is_set():
            ...
"""

import contextvars

import trio


class StopRequest:
    """One child's, or one group's.  ``heard`` once somebody has asked for it with ``stopping()``."""

    __slots__ = ("event", "heard")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.heard = False


current: contextvars.ContextVar[StopRequest | None] = contextvars.ContextVar("stopping", default=None)


def stopping() -> trio.Event:
    """The event that is set when this child is to end.  Whoever calls it promises to heed it.

    Tasks that a child starts inherit it.  Under no supervisor it is an event that nobody sets.
    """
    request = current.get()
    if request is None:
        return trio.Event()
    request.heard = True
    return request.event
