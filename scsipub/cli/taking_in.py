"""Taking in an image from an open source: as it comes where its bytes are served as they are, by way of the
converter where they are not.

Knows the image store and the converter's parent end; shows nothing, but tells how far it is."""

import contextlib
import io
import itertools
import os
import stat
from collections.abc import Callable, Iterator

import attrs

from scsipub.cli.sources import CheckedStream, Source
from scsipub.convert.job import Order
from scsipub.convert.running import convert
from scsipub.limits import Limits
from scsipub.storage.decompress import unpacked_untrusted
from scsipub.storage.formats import HEAD_BYTES, RAW, Declared, check_format, detected
from scsipub.storage.images import Image, ImageStore
from scsipub.storage.sparse import SparseWriter, too_large

Report = Callable[[str, int, int | None], None]  # what is being done, how many bytes of it, of how many


@attrs.frozen
class Declaration:
    """What is known of an image before it is read."""

    said: Declared
    origin: str
    sha256: str | None  # of the source, as published
    limits: Limits
    imported: str


def take_in(store: ImageStore, source: Source, declared: Declaration, report: Report) -> Image:
    """Blocks until the image is there.  On any failure nothing is left behind."""
    said, limits = declared.said, declared.limits
    check_format(said.format, said.compression)
    store.sweep()  # what was killed in the middle
    store.must_be_new(said.name)
    if said.compression == "none" and source.total is not None and source.total > limits.image_bytes:
        raise too_large(limits.image_bytes)
    read = 0
    stream = CheckedStream(source, declared.sha256)

    def counted(size: int) -> bytes:
        nonlocal read
        data = stream.read(size)
        read += len(data)
        report("reading", read, source.total)
        return data

    here = _regular_file(source)
    if here is not None and said.compression == "none" and declared.sha256 is None:
        head = os.pread(here, HEAD_BYTES, 0)
        if (said.format or detected(head)) not in RAW:
            return _converted(store, here, declared, report)
    pieces = unpacked_untrusted(counted, said.compression)
    first = next(pieces, b"")
    format_ = said.format or detected(first[:HEAD_BYTES])
    check_format(format_, said.compression)
    everything = itertools.chain([first] if first else [], pieces)
    if format_ in RAW:
        return store.add_pieces(
            everything,
            said.name,
            format=format_,
            imported=declared.imported,
            origin=declared.origin,
            max_bytes=limits.image_bytes,
        )
    with _spooled(store, everything, declared) as file:
        return _converted(store, file, declared, report, format_)


def _regular_file(source: Source) -> int | None:
    """The descriptor of a source that can be read anywhere."""
    if not isinstance(source.stream, io.BufferedReader):
        return None
    with contextlib.suppress(OSError, ValueError):
        fd = source.stream.fileno()
        if stat.S_ISREG(os.fstat(fd).st_mode) and source.stream.tell() == 0:
            return fd
    return None


@contextlib.contextmanager
def _spooled(store: ImageStore, pieces: Iterator[bytes], declared: Declaration) -> Iterator[int]:
    """A file that can be read anywhere; the sweep knows it, should we be killed."""
    with store.incoming(declared.said.name) as spool:
        writer = SparseWriter(spool.fd, declared.limits.image_bytes)
        for piece in pieces:
            writer.put(piece)
        writer.finish(1)
        yield spool.fd


def _converted(
    store: ImageStore, file: int, declared: Declaration, report: Report, format_: str | None = None
) -> Image:
    said, limits = declared.said, declared.limits
    with store.incoming(said.name) as incoming:
        order = Order(
            source=file,
            target=incoming.fd,
            scratch=-1,
            format=format_ or said.format,
            compression="none",
            sha256=None,
            max_bytes=limits.image_bytes,
            memory_bytes=limits.image_memory_bytes,
            cpu_seconds=limits.image_convert_seconds,
        )
        done = convert(order, lambda doing, got, total, made: report(doing, got, total))
        return incoming.publish(
            Image(said.name, done.format, done.bytes, done.sha256, declared.imported, declared.origin)
        )
