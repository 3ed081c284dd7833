"""Writing an image: in order, zeros as holes, with its length and sha256 at the end.

Knows one file descriptor.  Whatever comes later in the image is handed over later; what lies between is
zeros."""

import errno
import hashlib
import os

from scsipub.errors import OperatorError

BLOCK = 64 * 1024  # zeros of this size become a hole
_ZEROS = bytes(BLOCK)
_MANY_ZEROS = bytes(1 << 20)


class SparseWriter:
    """``put`` pieces in order, then ``finish``.  Raises OperatorError when there is no room for them."""

    def __init__(self, fd: int, max_bytes: int | None = None) -> None:
        self.fd = fd
        self.max_bytes = max_bytes
        self.length = 0
        self._digest = hashlib.sha256()

    def put(self, piece: bytes, offset: int | None = None) -> None:
        """Write a piece at the end, or further on."""
        self.skip(self.length if offset is None else offset)
        self._must_fit(self.length + len(piece))
        self._digest.update(piece)
        try:
            _write(self.fd, memoryview(piece), self.length)
        except OSError as error:
            raise _no_room(error) from error
        self.length += len(piece)

    def skip(self, offset: int) -> None:
        """Zeros up to here."""
        self._must_fit(offset)
        while self.length < offset:
            zeros = min(len(_MANY_ZEROS), offset - self.length)
            self._digest.update(memoryview(_MANY_ZEROS)[:zeros])
            self.length += zeros

    def _must_fit(self, length: int) -> None:
        if self.max_bytes is not None and length > self.max_bytes:
            raise too_large(self.max_bytes)

    def finish(self, multiple: int = 512) -> tuple[int, str]:
        """Fill up to a multiple; give length and sha256.  An image of nothing is refused."""
        if not self.length:
            raise OperatorError("The image is empty.", "Check the file it comes from.")
        rest = -self.length % multiple
        self._digest.update(bytes(rest))
        self.length += rest
        try:
            os.ftruncate(self.fd, self.length)
        except OSError as error:
            raise _no_room(error) from error
        return self.length, self._digest.hexdigest()


def too_large(max_bytes: int) -> OperatorError:
    return OperatorError(
        f"The image is larger than the {max_bytes} bytes allowed.", "Make it smaller, or raise the limit."
    )


def _no_room(error: OSError) -> Exception:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    return OperatorError(
        f"There is no room for the image: {error.strerror}.", "Free some space in the state directory."
    )


def _write(fd: int, piece: memoryview, offset: int) -> None:
    for start in range(0, len(piece), BLOCK):
        block = piece[start : start + BLOCK]
        if block == _ZEROS[: len(block)]:
            continue
        done = 0
        while done < len(block):
            done += os.pwrite(fd, block[done:], offset + start + done)
