"""Sources: how much one address may ask of us.

Pure; time is an argument.  Bounds count by prefix (/32 of IPv4, /64 of IPv6), because an IPv6 host has as
many addresses as it likes.  The machine itself (127.0.0.1, ::1) is exempt: behind it may stand a TLS wrapper
with all its clients.  Every table is bounded and forgets its oldest entry."""

import functools
import ipaddress
import itertools
from collections import OrderedDict
from collections.abc import Callable

import attrs

from scsipub.limits import Limits

LOOKED_AT = 64  # busy sources passed over at once in search of an idle one
EXEMPT = frozenset(("127.0.0.1", "::1"))


@functools.lru_cache(4096)  # asked three times of each connection, and of no others soon
def prefix_of(source: str) -> str:
    """The prefix that an address is counted under.  What is no address counts as itself."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if str(address) in EXEMPT:
            return str(address)
        return str(ipaddress.IPv6Address(int(address) >> 64 << 64)) + "/64"
    return str(address)


@attrs.define
class Bucket:
    """A token bucket: ``rate`` a second, ``burst`` at once."""

    rate: float
    burst: float
    tokens: float
    filled: float

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.filled) * self.rate)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@attrs.define
class Source:
    """What is known of one prefix."""

    bucket: Bucket
    unauthenticated: int = 0
    sessions: int = 0
    refused_until: float = 0.0

    @property
    def idle(self) -> bool:
        return not self.unauthenticated and not self.sessions


class Sources:
    """All prefixes.  Give ``dice`` a function that returns 0 <= x < 1."""

    def __init__(self, limits: Limits, dice: Callable[[], float]) -> None:
        self.limits = limits
        self.dice = dice
        self.known: OrderedDict[str, Source] = OrderedDict()
        self.all = Bucket(
            limits.new_connections_per_second, limits.new_connections_burst, limits.new_connections_burst, 0.0
        )
        self.unauthenticated = 0
        self.refusals: dict[str, int] = {}

    def _source(self, prefix: str, now: float) -> Source:
        source = self.known.get(prefix)
        if source is None:
            self._forget()
            limits = self.limits
            burst = limits.source_connections_burst
            source = self.known[prefix] = Source(
                Bucket(limits.source_connections_per_second, burst, burst, now)
            )
        else:
            self.known.move_to_end(prefix)
        return source

    def _forget(self) -> None:
        """Room for one more: beyond the bound the oldest that holds nothing is forgiven."""
        over = len(self.known) + 1 - self.limits.penalty_entries
        if over <= 0:
            return
        for prefix, source in list(itertools.islice(self.known.items(), over + LOOKED_AT)):
            if source.idle:
                del self.known[prefix]
                over -= 1
            else:
                self.known.move_to_end(prefix)  # out of the way of the next who looks
            if not over:
                return

    def arrives(self, address: str, now: float) -> str | None:
        """A connection from ``address``: None to take it, or the name of the bound it broke."""
        why = self._refusal(address, now)
        if why is None:
            self.unauthenticated += 1
            if address not in EXEMPT:
                self._source(prefix_of(address), now).unauthenticated += 1
        else:
            self.refusals[why] = self.refusals.get(why, 0) + 1
        return why

    def _refusal(self, address: str, now: float) -> str | None:
        # A source's own bounds come first: what it is refused for must not use up what all have together.
        return self._refusal_of_source(address, now) or self._refusal_of_all(now)

    def _refusal_of_all(self, now: float) -> str | None:
        limits = self.limits
        crowd = self.unauthenticated - limits.unauthenticated_start
        if crowd > 0:
            room = limits.unauthenticated_full - limits.unauthenticated_start
            chance = limits.unauthenticated_percent / 100
            if self.dice() < chance + (1 - chance) * crowd / room:
                return "unauthenticated connections"
        return None if self.all.take(now) else "connections per second"

    def _refusal_of_source(self, address: str, now: float) -> str | None:
        if address in EXEMPT:
            return None
        limits = self.limits
        source = self._source(prefix_of(address), now)
        if now < source.refused_until:
            return "penalty"
        if source.unauthenticated >= limits.unauthenticated_per_source:
            return "unauthenticated connections of one source"
        if not source.bucket.take(now):
            return "connections per second of one source"
        return None

    def logged_in(self, address: str, now: float) -> None:
        self._left_login(address, now)
        if address not in EXEMPT:
            self._source(prefix_of(address), now).sessions += 1

    def _left_login(self, address: str, now: float) -> None:
        self.unauthenticated -= 1
        if address not in EXEMPT:
            self._source(prefix_of(address), now).unauthenticated -= 1

    def leaves(self, address: str, now: float, *, logged_in: bool) -> None:
        if not logged_in:
            self._left_login(address, now)
        elif address not in EXEMPT:
            self._source(prefix_of(address), now).sessions -= 1

    def may_open(self, address: str, now: float) -> bool:
        """One more anonymous session for this source?"""
        return (
            address in EXEMPT
            or self._source(prefix_of(address), now).sessions < self.limits.sessions_per_source
        )

    def punish(self, address: str, seconds: float, now: float) -> None:
        """It sent garbage, or crashed a session of ours: refused for a while."""
        if address not in EXEMPT:
            source = self._source(prefix_of(address), now)
            source.refused_until = max(source.refused_until, now + seconds)
