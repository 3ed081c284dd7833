"""Weather: what a bad network does to a stream of bytes, piece by piece.

Pure: a piece goes in, what to do comes out.  Chance comes from a seed, the connection's number and the
direction, so the same traffic meets the same weather again.  Knows no sockets and nothing of iSCSI."""

import random

import attrs

from scsipub.errors import OperatorError

MOST_PIECES = 4096  # of one piece that is sent in crumbs; the rest of it goes whole


@attrs.frozen(kw_only=True)
class Climate:
    """How bad it is.  Chances are for each piece that arrives (at most 64 KiB); times are seconds."""

    cut: float = 0.0  # the connection ends, in the middle of the piece
    reset: float = 0.0  # it ends with RST, and what was on its way is lost
    stall: float = 0.0  # nothing moves for ``stall_seconds``
    stall_seconds: float = 1.0
    hang: float = 0.0  # nothing moves any more, and nobody says so
    crumbs: float = 0.0  # the piece goes byte by byte
    flip: float = 0.0  # one bit is wrong
    delay: float = 0.0  # seconds that every piece is late
    coalesce: float = 0.0  # pieces are kept for so long, and go as one
    rate: float = 0.0  # bytes a second at most; 0: no bound
    seed: int = 1

    def __attrs_post_init__(self) -> None:
        for name in ("cut", "reset", "stall", "hang", "crumbs", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise OperatorError(f"{name} is a chance.", "From 0 to 1.")
        for name in ("stall_seconds", "delay", "coalesce", "rate"):
            if not 0 <= getattr(self, name) < 1e12:
                raise OperatorError(f"{name} must not be negative.")


@attrs.frozen
class Send:
    """These bytes go on."""

    data: bytes


@attrs.frozen
class Wait:
    """Nothing moves in this direction for so long."""

    seconds: float


@attrs.frozen
class End:
    """The connection is over, in both directions."""

    reset: bool


@attrs.frozen
class Hang:
    """Nothing moves in this direction any more."""


Deed = Send | Wait | End | Hang


@attrs.frozen
class Happened:
    """One piece of bad weather, for the timeline."""

    at: float  # seconds since the proxy began
    connection: int
    way: str  # "up": towards the target
    offset: int  # of the piece in the stream of this direction
    what: str


class Weather:
    """One direction of one connection."""

    def __init__(self, climate: Climate, connection: int, way: str) -> None:
        self.climate = climate
        self.connection, self.way = connection, way
        self.offset = 0
        self._chance = random.Random(f"{climate.seed} {connection} {way}")

    def deeds(self, data: bytes) -> tuple[list[Deed], list[tuple[int, str]]]:
        """What becomes of one piece, in order; and what to tell of it: (offset in the stream, what)."""
        climate, roll = self.climate, self._chance.random
        deeds: list[Deed] = []
        told: list[tuple[int, str]] = []
        start, self.offset = self.offset, self.offset + len(data)
        # Always the same number of rolls: one chance must not move another's dice.
        flip, crumbs, stall, hang, cut, reset = (
            roll() < chance
            for chance in (
                climate.flip,
                climate.crumbs,
                climate.stall,
                climate.hang,
                climate.cut,
                climate.reset,
            )
        )
        where = self._chance.randrange(len(data))
        bit = self._chance.randrange(8)
        if flip:
            data = data[:where] + bytes([data[where] ^ 1 << bit]) + data[where + 1 :]
            told.append((start + where, f"bit {bit} flipped"))
        if climate.delay:
            deeds.append(Wait(climate.delay))
        if stall:
            deeds.append(Wait(climate.stall_seconds))
            told.append((start, f"stalled for {climate.stall_seconds:g} s"))
        if hang:
            told.append((start, "hangs from here on"))
            return [*deeds, Hang()], told
        ended = cut or reset
        if ended:
            data = data[:where]
        if crumbs:
            told.append((start, f"{len(data)} bytes sent one by one"))
            deeds += [Send(data[at : at + 1]) for at in range(min(len(data), MOST_PIECES))]
            data = data[MOST_PIECES:]
        if data:
            deeds.append(Send(data))
        if climate.rate:
            deeds.append(Wait((self.offset - start) / climate.rate))
        if ended:
            told.append((start + where, "reset" if reset else "cut"))
            deeds.append(End(reset))
        return deeds, told
