"""Unit attentions: what happened to the unit while this nexus was not looking.

Source: SAM-5 §5.14; SPC-4 annex D for the codes.  One queue per nexus and unit, without doubles, never longer
than ``QUEUE_LENGTH``.  Does not know which commands report them: the command table says so."""

import attrs

Attention = tuple[int, int]  # additional sense code, qualifier

POWER_ON_OR_RESET: Attention = (0x29, 0x00)
POWER_ON: Attention = (0x29, 0x01)
BUS_DEVICE_RESET: Attention = (0x29, 0x03)
NEXUS_LOSS: Attention = (0x29, 0x07)
MEDIUM_MAY_HAVE_CHANGED: Attention = (0x28, 0x00)
MODE_PARAMETERS_CHANGED: Attention = (0x2A, 0x01)
RESERVATIONS_PREEMPTED: Attention = (0x2A, 0x03)
RESERVATIONS_RELEASED: Attention = (0x2A, 0x04)
REGISTRATIONS_PREEMPTED: Attention = (0x2A, 0x05)
CAPACITY_CHANGED: Attention = (0x2A, 0x09)
COMMANDS_CLEARED_BY_ANOTHER: Attention = (0x2F, 0x00)
THIN_SOFT_THRESHOLD: Attention = (0x38, 0x07)
INQUIRY_CHANGED: Attention = (0x3F, 0x03)
LUNS_CHANGED: Attention = (0x3F, 0x0E)

QUEUE_LENGTH = 8  # more kinds than this at once tell an initiator nothing that a rescan would not


@attrs.define(eq=False)
class Attentions:
    """First in, first out; an attention that already waits is not queued twice.

    A tuple, because an empty one is free, and there are as many queues as idle sessions."""

    _waiting: tuple[Attention, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, attention: Attention) -> None:
        """A reset makes everything before it moot; a full queue forgets its oldest entry."""
        if attention in self._waiting:
            return
        if attention[0] == 0x29:
            self._waiting = ()
        elif len(self._waiting) == QUEUE_LENGTH:
            self._waiting = self._waiting[1:]
        self._waiting += (attention,)

    def take_nowait(self) -> Attention | None:
        if not self._waiting:
            return None
        first, self._waiting = self._waiting[0], self._waiting[1:]
        return first

    def drop(self, attention: Attention) -> None:
        """It has been told in another way: REPORT LUNS clears LUNS_CHANGED.  SPC-4 §6.33."""
        self._waiting = tuple(it for it in self._waiting if it != attention)
