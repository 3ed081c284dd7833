"""Where an image comes from: a file, standard input, or the web; all of them a stream that counts and hashes.

Knows urllib and files; what is in the stream is the business of ``scsipub.storage.images``."""

import contextlib
import hashlib
import http.client
import io
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import BinaryIO

import attrs

from scsipub import __version__
from scsipub.errors import OperatorError

# A server that says nothing for so long is given up on; the whole download may take as long as it likes.
SILENCE_SECONDS = 30.0
_NOTHING_KEPT = "Nothing was kept; try again."
_PACKED = (".gz", ".xz", ".bz2", ".zst")
_FORMATS = (".img", ".raw", ".iso", ".bin")


class CountedStream(io.RawIOBase):
    """Reads on behalf of the importer, tells how far it is, and hashes what went by."""

    def __init__(self, source: "Source", told: Callable[[int], None]) -> None:
        self._inner = source.stream
        self._missing = source.total
        self._told = told
        self._sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, into: object) -> int:
        view = memoryview(into)  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, count: int = -1) -> bytes:
        try:
            data = self._inner.read(count) or b""
        except OSError as error:
            raise OperatorError(f"Reading stopped: {error.strerror or error}.", _NOTHING_KEPT) from None
        if self._missing is not None:
            self._missing -= len(data)
            # http.client takes a connection that closes early for the end of the file.
            if not data and count and self._missing > 0:
                raise OperatorError(f"The source ended {self._missing} bytes early.", _NOTHING_KEPT)
        self._sha256.update(data)
        self._told(len(data))
        return data

    def hexdigest_of_all(self) -> str:
        """SHA-256 of the whole source, reading what the importer left."""
        while self.read(1 << 20):
            pass
        return self._sha256.hexdigest()


@attrs.frozen
class Source:
    """An opened source.  ``total`` is its length in bytes where anybody knows."""

    stream: BinaryIO
    total: int | None


def suggested_name(source: str) -> str | None:
    """The image's name, from the file's: ``Debian 12.img.xz`` becomes ``debian-12``."""
    if source == "-":
        return None
    path = urllib.parse.unquote(urllib.parse.urlsplit(source).path) if is_url(source) else source
    name = path.rstrip("/").rpartition("/")[2].lower()
    for endings in (_PACKED, _FORMATS):
        for ending in endings:
            name = name.removesuffix(ending)
    return re.sub(r"[^a-z0-9.-]+", "-", name).strip(".-")[:100] or None


def is_url(source: str) -> bool:
    return "://" in source


@contextlib.contextmanager
def opened(source: str) -> Iterator[Source]:
    """The source, open for reading; an error says what is wrong with it."""
    if source == "-":
        yield Source(sys.stdin.buffer, None)
    elif is_url(source):
        with _fetch(source) as response:
            length = response.headers.get("Content-Length", "")
            yield Source(response, int(length) if length.isdigit() else None)
    else:
        with _open(source) as file:
            yield Source(file, os.fstat(file.fileno()).st_size or None)  # a device or pipe says 0


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None


def _fetch(url: str) -> http.client.HTTPResponse:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise OperatorError(
            f"{scheme}:// is not fetched here.", "Use http:// or https://, a file, or - for stdin."
        )
    request = urllib.request.Request(url, headers={"User-Agent": f"scsipub/{__version__}"})
    try:
        # urllib follows redirects to http, https and ftp only; never to a file of ours.
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=SILENCE_SECONDS)
        return response
    except urllib.error.HTTPError as error:
        raise OperatorError(
            f"{url} was answered with {error.code} {error.reason}.", "Check the address."
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise OperatorError(
            f"{url} cannot be fetched: {why}.", "Check the address and the network."
        ) from None
