"""Unpacking what an image came in, a bounded piece at a time.

Formats: gzip (RFC 1952), xz, bzip2, Zstandard (RFC 8878); several streams one after another count as one, as
their own tools have it.  Which of them it is has been declared: nothing here looks at the bytes to find out.

A bomb costs time as what comes out does, and no memory: whoever takes the pieces stops at a limit."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

from scsipub.errors import OperatorError

PIECE = 1 << 20  # the most that is handed over at once
READ = 1 << 18
# xz -9 asks for 65 MiB, zstd --long for 128.
MEMORY = 160 << 20
WINDOW = 128 << 20
# This one has no limit on what it gives.  Four bytes can become 128 KiB, so 1 KiB stays below 32 MiB.
ZSTD_READ = 1 << 10

Read = Callable[[int], bytes]


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _Gzip:
    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            yield self._zlib.decompress(data, PIECE)
            data = self._zlib.unconsumed_tail


class _Lzma:
    def __init__(self) -> None:
        self._xz = self._open()

    def _open(self) -> lzma.LZMADecompressor | bz2.BZ2Decompressor:
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MEMORY)

    @property
    def eof(self) -> bool:
        return self._xz.eof

    @property
    def unused_data(self) -> bytes:
        return self._xz.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._xz.decompress(data, PIECE)
        while not self._xz.eof and not self._xz.needs_input:
            yield self._xz.decompress(b"", PIECE)


class _Bzip2(_Lzma):
    def _open(self) -> bz2.BZ2Decompressor:
        return bz2.BZ2Decompressor()


class _Zstandard:
    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()

    @property
    def eof(self) -> bool:
        return self._zstd.eof

    @property
    def unused_data(self) -> bytes:
        return self._zstd.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        out = self._zstd.decompress(data)
        for start in range(0, len(out), PIECE):
            yield out[start : start + PIECE]


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gz": _Gzip,
    "xz": _Lzma,
    "bz2": _Bzip2,
    "zst": _Zstandard,
}

# What may be declared; "none" is the bytes as they are.
COMPRESSIONS = ("none", *_DECODERS)


def unpacked_untrusted(read: Read, compression: str) -> Iterator[bytes]:
    """Yield what comes out, in pieces of at most ``PIECE``; none of them empty.

    Raises OperatorError when the bytes are not what was declared, or end too early."""
    if compression == "none":
        while data := read(PIECE):
            yield data
        return
    try:
        yield from _unpacked(read, _DECODERS[compression], ZSTD_READ if compression == "zst" else READ)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, ValueError, MemoryError) as error:
        raise OperatorError(
            f"This is not good {compression} data: {error}.", "Check the file, or how it is packed."
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise  # reading it failed
        raise OperatorError(
            f"This is not good {compression} data: {error}.", "Check the file, or how it is packed."
        ) from error


def _unpacked(read: Read, decoder_of: Callable[[], _Decoder], size: int) -> Iterator[bytes]:
    decoder, begun, whole = decoder_of(), False, 0
    while data := read(READ):
        for start in range(0, len(data), size):
            part = data[start : start + size]
            while True:
                if whole and not begun:
                    part = part.lstrip(b"\0")  # padding: xz allows it between streams, tape blocks add it
                if not part:
                    break
                begun = True
                yield from filter(None, decoder.feed(part))
                if not decoder.eof:
                    break
                part = decoder.unused_data
                decoder, begun, whole = decoder_of(), False, whole + 1
    if begun or not whole:
        raise OperatorError("The packed data ends too early.", "Fetch the file again; it is incomplete.")
