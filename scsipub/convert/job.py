"""One conversion, from a source to an image: check, unpack, convert, write.

Pure but for the descriptors it is given; runs in a process of its own (``program``).  ``tell`` hears how far
it is: what is being done, bytes in, of how many, bytes out."""

import hashlib
import hmac
import itertools
import os
import time
from collections.abc import Callable, Iterator

import attrs

from scsipub.convert.formats import OPENERS
from scsipub.convert.source import File
from scsipub.errors import OperatorError
from scsipub.storage.decompress import unpacked_untrusted
from scsipub.storage.formats import HEAD_BYTES, RAW, check_format, detected
from scsipub.storage.sparse import SparseWriter, too_large

TELL_SECONDS = 0.2
_PIECE = 1 << 20
_STRIDE = 64 << 20

Tell = Callable[[str, int, int, int], None]


@attrs.frozen(kw_only=True)
class Order:
    """What to do.  ``format`` None: not declared, so the first bytes say it, once.  Sizes are bytes.

    ``source`` is a regular file, ``target`` an empty one; ``scratch`` another, for what must be unpacked
    before it can be read anywhere, or -1."""

    source: int
    target: int
    scratch: int
    format: str | None
    compression: str
    sha256: str | None  # what the source must hash to, in hex
    max_bytes: int
    memory_bytes: int
    cpu_seconds: int


@attrs.frozen
class Converted:
    """What has become of it."""

    format: str
    bytes: int
    sha256: str


class _Progress:
    """Tells now and then."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell = tell
        self._total = total
        self._next = 0.0

    def __call__(self, doing: str, bytes_in: int, bytes_out: int, total: int | None = None) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + TELL_SECONDS
            self._tell(doing, bytes_in, self._total if total is None else total, bytes_out)


def convert_untrusted(order: Order, tell: Tell) -> Converted:
    """Do it.  OperatorError says what the source is not."""
    source = File.of(order.source)
    progress = _Progress(tell, source.size)
    if order.sha256 is not None:
        _check_hash(source, order.sha256, progress)
    consumed = 0

    def read(size: int) -> bytes:
        nonlocal consumed
        data = source.at(consumed, min(size, source.size - consumed))
        consumed += len(data)
        return data

    pieces = unpacked_untrusted(read, order.compression)
    first = next(pieces, b"")
    format_ = order.format or detected(first[:HEAD_BYTES])
    writer = SparseWriter(order.target, order.max_bytes)
    check_format(format_, order.compression)
    if format_ in RAW:
        for piece in itertools.chain([first], pieces):
            writer.put(piece)
            progress("converting", consumed, writer.length)
        return Converted(format_, *writer.finish(RAW[format_]))
    if order.compression != "none":
        everything = itertools.chain([first], pieces)
        source = _spooled(everything, order, lambda out: progress("unpacking", consumed, out))
    disk = OPENERS[format_](source, order.max_bytes)
    for offset, piece in itertools.chain(disk.pieces(), [(disk.size, b"")]):
        while writer.length < offset:  # zeros are hashed too, and a lot of them takes its time
            writer.skip(min(offset, writer.length + _STRIDE))
            progress("converting", writer.length, writer.length, disk.size)
        writer.put(piece, offset)
        progress("converting", writer.length, writer.length, disk.size)
    return Converted(format_, *writer.finish())


def _check_hash(source: File, expected: str, progress: _Progress) -> None:
    digest = hashlib.sha256()
    for offset in range(0, source.size, _PIECE):
        digest.update(source.at(offset, min(_PIECE, source.size - offset)))
        progress("checking", offset, 0)
    if not hmac.compare_digest(digest.hexdigest(), expected):
        raise OperatorError(
            f"The source hashes to {digest.hexdigest()}, not to what was expected.",
            "Nothing was kept.  Compare with what its publisher says.",
        )


def _spooled(pieces: Iterator[bytes], order: Order, done: Callable[[int], None]) -> File:
    length = 0
    for piece in pieces:
        if length + len(piece) > order.max_bytes:
            raise too_large(order.max_bytes)
        written = 0
        while written < len(piece):
            written += os.write(order.scratch, piece[written:])
        length += len(piece)
        done(length)
    return File.of(order.scratch)
