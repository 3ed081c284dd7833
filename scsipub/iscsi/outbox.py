"""Outbox: the answers of one turn, laid out flat so that one system call can send them.

Source: none; this is the shape behind "one sendmsg per turn".  Pure: knows no sockets.  All connections of
a worker share one outbox, because a turn ends (everything taken out again) before the next one begins.

Order is the wire's order: bytes go into the arena front to back; what does not fit there becomes a segment of
its own."""

Segment = memoryview | bytes


class Outbox:
    """Sizes are bytes.  ``view`` and ``used`` are public: hot code packs straight into the arena."""

    __slots__ = ("elsewhere", "mark", "segments", "size", "used", "view")

    def __init__(self, size: int = 2 * 1024 * 1024) -> None:
        self.size = size
        self.view = memoryview(bytearray(size))
        self.used = 0  # end of what is filled in the arena
        self.mark = 0  # start of the arena's current stretch
        self.segments: list[Segment] = []
        self.elsewhere = 0  # bytes of segments that do not lie in the arena

    @property
    def queued(self) -> int:
        """Bytes put in since the last ``take``."""
        return self.used + self.elsewhere

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` in behind everything else; any length."""
        n = len(data)
        end = self.used + n
        if end <= self.size:
            self.view[self.used : end] = data
            self.used = end
        else:
            self._close_stretch()
            self.segments.append(bytes(data))
            self.elsewhere += n

    def _close_stretch(self) -> None:
        if self.used > self.mark:
            self.segments.append(self.view[self.mark : self.used])
            self.mark = self.used

    def take(self) -> list[Segment]:
        """Everything in order; the outbox is empty afterwards.

        Memoryviews among the segments point into the arena: send or copy them before the next turn."""
        self._close_stretch()
        segments, self.segments = self.segments, []
        self.used = self.mark = self.elsewhere = 0
        return segments
