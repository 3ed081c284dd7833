"""Input: what has come from a peer and is not a whole PDU yet.

Knows sockets; does not know what the bytes mean.  Bytes come into a buffer that all connections of the worker
share, one after the other; between two turns a connection keeps the tail of an incomplete PDU and nothing
else."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scsipub.worker.tls import AnySocket

# A PDU larger than this that is not whole yet gets a buffer of its own, so that its bytes are moved once.
LARGE = 16 * 1024
# A turn that brings less than this and ends no PDU has brought a crumb.
CRUMB = 256


class Input:
    """The receiving half of one connection."""

    __slots__ = ("crumbs", "large", "large_have", "tail")

    def __init__(self, tail: bytes) -> None:
        self.tail = tail  # the incomplete PDU at the end of what came last
        self.large: bytearray | None = None  # a large PDU on its way, and how much of it is here
        self.large_have = 0
        self.crumbs = 0  # turns, one after the other, that brought nothing but crumbs

    # Hot: once per wake-up.
    def receive(self, sock: "AnySocket", buffer: memoryview, most: int) -> int:
        """Bytes read, 0 at the end of the stream.  Raises BlockingIOError when there are none, and OSError.

        ``buffer``: the shared one.  ``most`` bytes are taken, or the rest of a large PDU."""
        if self.large is not None:
            return sock.recv_into(memoryview(self.large)[self.large_have :])
        have = len(self.tail)
        if have:
            if have == len(buffer):
                raise BlockingIOError  # whole PDUs that our slice did not suffice for
            buffer[:have] = self.tail
        return sock.recv_into(buffer[have : have + most])

    # Hot: once per wake-up.
    def whole(self, buffer: memoryview, got: int) -> tuple[memoryview, int]:
        """Where the kept tail and ``got`` new bytes behind it lie, and how many they are together.

        0 of a large PDU that has not come to its end."""
        if self.large is None:
            end = len(self.tail) + got
            if not got:
                buffer[:end] = self.tail
            return buffer, end
        self.large_have += got
        large = memoryview(self.large)
        if self.large_have < len(large):
            self.count_crumb(got)
            return large, 0
        self.large = None
        return large, self.large_have

    def count_crumb(self, got: int) -> None:
        """So little has come, and no PDU has come to its end."""
        self.crumbs = self.crumbs + 1 if got < CRUMB else 0

    def keep(self, view: memoryview, at: int, end: int, need: int) -> None:
        """Keep ``view[at:end]``, the beginning of a PDU of ``need`` bytes."""
        if need > LARGE and need > end - at:
            self.large = bytearray(need)
            self.large_have = end - at
            memoryview(self.large)[: end - at] = view[at:end]
            self.tail = b""
        else:
            self.tail = bytes(view[at:end])
