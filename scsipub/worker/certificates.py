"""The certificate in force: which context the next handshake gets.

Knows when to look at the files; ``scsipub.certificates`` knows what they must be like.  Two guards keep the
handshake path cheap: within the cooldown nothing is asked of the kernel (the clock is read without it), and
after it, as long as ``stat`` says the same, nothing is read.  Whoever replaces the files may do so in any
order and as slowly as they like: what is not whole is passed over, and the old pair stays."""

import ssl
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from scsipub.certificates import (
    Files,
    Loaded,
    Pair,
    Signature,
    Unusable,
    end_of,
    load,
    server_context,
    signature,
)

# Without any pair each handshake fails, so it pays to look more often.
EAGER_SECONDS = 1.0

# (what happened, why) for the operator.
Tell = Callable[[str, str], None]


class Certificates:
    """One per worker.  ``current`` is all that a handshake needs."""

    def __init__(
        self,
        files: Files,
        hosts: Iterable[str],
        *,
        cooldown: float,
        tell: Tell,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.files = files
        self.hosts = tuple(hosts)
        self.cooldown = cooldown
        self.tell = tell
        self.clock = clock
        self.loaded: Loaded | None = None
        self.look_after = float("-inf")
        self.said: tuple[Signature | None, str] | None = None

    def current(self, now: float) -> ssl.SSLContext | None:
        """The context for a handshake that begins ``now`` (monotonic seconds).  None: no pair is usable."""
        if now >= self.look_after:
            self._look()
            self.look_after = now + (self.cooldown if self.loaded else min(EAGER_SECONDS, self.cooldown))
        return self.loaded.context if self.loaded else None

    def adopt(self, pair: Pair, now: float) -> None:
        """Serve what control says is in service, if we have nothing: whatever the files are at this moment,
        a worker that is new fails no handshake that its brothers would not."""
        if self.loaded is not None:
            return
        try:
            self.loaded = Loaded(server_context(pair), pair, end_of(pair))
        except (Unusable, ValueError) as error:
            self._say(None, "certificate not used", str(error))
            return
        self.look_after = max(self.look_after, now + self.cooldown)

    def _look(self) -> None:
        found: Signature | None = None
        try:
            found = signature(self.files)
            if self.loaded is not None and found == self.loaded.signature:
                self._watch_the_end(self.loaded)
                return
            fresh = load(self.files, self.hosts, self.clock())
        except Unusable as unusable:
            self._say(found, "certificate not used", str(unusable))
            return
        self.loaded = fresh
        self.said = None
        self.tell("certificate loaded", f"good until {fresh.not_after:%Y-%m-%d %H:%M} UTC")

    def _watch_the_end(self, loaded: Loaded) -> None:
        if self.clock() >= loaded.not_after:
            self._say(loaded.signature, "certificate expired", "it is still served: there is no newer one")

    def _say(self, about: Signature | None, what: str, why: str) -> None:
        """Once for each state of the files: nobody wants to read it every minute."""
        if self.said != (about, why):
            self.said = (about, why)
            self.tell(what, why)
