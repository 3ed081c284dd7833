"""Where an image comes from: a file, standard input, or the web; each a stream that is checked on the way.

Knows urllib and files; what is in the stream is the business of ``scsipub.storage.images``."""

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import BinaryIO

import attrs

from scsipub import __version__
from scsipub.errors import OperatorError

# A server that says nothing for so long is given up on; the whole download may take as long as it likes.
SILENCE_SECONDS = 30.0
_NOTHING_KEPT = "Nothing was kept; try again."


@attrs.frozen
class Source:
    """An opened source.  ``total`` is its length in bytes where anybody knows."""

    stream: BinaryIO
    total: int | None = None


class CheckedStream:
    """A source that fails at its end when it is cut short or does not hash to what was expected.

    The importer keeps nothing when reading fails, so a wrong image is never offered, not for a moment."""

    def __init__(self, source: Source, sha256: str | None = None) -> None:
        self._stream = source.stream
        self._missing = source.total
        self._expected = sha256
        self._sha256 = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        try:
            data = self._stream.read(size)
        except (OSError, http.client.HTTPException) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise OperatorError(f"Reading stopped: {why}.", _NOTHING_KEPT) from None
        if data:
            self._sha256.update(data)
            if self._missing is not None:
                self._missing -= len(data)
        elif size:
            self._check_end()
        return data

    def _check_end(self) -> None:
        # http.client takes a connection that closes early for the end of the file.
        if self._missing is not None and self._missing > 0:
            raise OperatorError(f"The source ended {self._missing} bytes early.", _NOTHING_KEPT)
        if self._expected is not None and self._sha256.hexdigest() != self._expected:
            raise OperatorError(
                f"The source hashes to {self._sha256.hexdigest()}, not to what was expected.",
                "Nothing was kept.  Compare with what its publisher says.",
            )


def is_url(source: str) -> bool:
    return "://" in source


def file_name(source: str) -> str:
    """The last part of a path or an address."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(source).path) if is_url(source) else source
    return path.rstrip("/").rpartition("/")[2]


@contextlib.contextmanager
def opened(source: str) -> Iterator[Source]:
    """The source, open for reading; an error says what is wrong with it."""
    if source == "-":
        yield Source(sys.stdin.buffer)
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
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise OperatorError(
            f"{url} cannot be fetched: {why}.", "Check the address and the network."
        ) from None
