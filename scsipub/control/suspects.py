"""Suspects: over whose commands workers crash, again and again.

A worker that crashes takes everybody along whom it served.  Once is bad luck; a disk over which one worker
after the other crashes is shut away for a while, and the others are left in peace.  Whose turn it was stands
in the page that each worker shares with us (``worker.blackbox``).  It is read, never mapped: a worker that
strangers have taken over could make it shorter, and touching it then would be our own end.  A worker that an
operator kills, or that has hung, proves nothing.  Time is an argument."""

import contextlib
import os
import signal
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from scsipub.control.placement import Key, Place
from scsipub.limits import Limits
from supervisor.exits import Exit, ProcessSignalled

NAME = 16  # bytes of a session's id, at the beginning of the page
CRASHES = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE))
MOST = 1000  # suspects remembered


def suspect_of(shared: bool, key: Key) -> Key:
    """Who is suspected: a target whose sessions share a disk, or else one initiator's disk there."""
    return ("", "", key[2]) if shared else key


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


class Suspects:
    """One per daemon."""

    def __init__(self, limits: Limits, ooms: Callable[[], int] = oom_kills) -> None:
        self.limits = limits
        self.ooms = ooms
        self.seen = ooms()
        self.pages: dict[Place, int] = {}  # descriptors
        self.deaths: OrderedDict[Key, deque[float]] = OrderedDict()
        self.until: dict[Key, float] = {}

    def watch(self, place: Place, fds: Sequence[int]) -> None:
        """The worker's page; the descriptors are ours from now on."""
        for fd in fds[1:] if place not in self.pages else fds:
            os.close(fd)
        if fds and place not in self.pages:
            self.pages[place] = fds[0]

    def served_by(self, place: Place, exit: Exit) -> str:
        """The worker is gone: the session over which it crashed, or "" if it did not, or over nobody's."""
        page = self.pages.pop(place, None)
        ooms, self.seen = self.seen, self.ooms()
        if page is None:
            return ""
        try:
            name = os.pread(page, NAME, 0).rstrip(b"\0").decode("ascii", "replace")
        except OSError:
            name = ""
        finally:
            os.close(page)
        if not isinstance(exit.reason, ProcessSignalled):
            return ""
        number = exit.reason.signal
        crashed = number in CRASHES or (number == signal.SIGKILL and self.seen > ooms)
        return name if crashed else ""

    def blame(self, suspect: Key, now: float) -> bool:
        """A worker has crashed over it.  True: that was once too often, and it is shut away."""
        times = self.deaths.setdefault(suspect, deque())
        self.deaths.move_to_end(suspect)
        if len(self.deaths) > MOST:
            forgotten, _ = self.deaths.popitem(last=False)
            self.until.pop(forgotten, None)
        times.append(now)
        while now - times[0] >= self.limits.poison_seconds:
            times.popleft()
        if len(times) < self.limits.poison_deaths:
            return False
        times.popleft()
        self.until[suspect] = now + self.limits.poison_seconds
        return True

    def quarantined(self, suspect: Key, now: float) -> bool:
        """Is it shut away just now?"""
        until = self.until.get(suspect)
        if until is None:
            return False
        if now < until:
            return True
        del self.until[suspect]
        return False
