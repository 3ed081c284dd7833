"""Where an image comes from: a file, standard input, or the web; each a stream that is checked on the way.

Knows downloads and files; what is in the stream is the business of ``scsipub.storage.images``."""

import contextlib
import hashlib
import os
import sys
import urllib.parse
from collections.abc import Iterator
from typing import BinaryIO

import attrs

from scsipub.errors import OperatorError
from scsipub.fetch.addresses import Private
from scsipub.fetch.download import Download, Terms
from scsipub.limits import Limits
from scsipub.storage import images

_NOTHING_KEPT = "Nothing was kept; try again."


@attrs.frozen
class Source:
    """An opened source.  ``total`` is its length in bytes where anybody knows."""

    stream: images.Source
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
        except OSError as error:
            raise OperatorError(f"Reading stopped: {error.strerror or error}.", _NOTHING_KEPT) from None
        if data:
            self._sha256.update(data)
            if self._missing is not None:
                self._missing -= len(data)
        elif size:
            self._check_end()
        return data

    def _check_end(self) -> None:
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
    try:
        path = urllib.parse.unquote(urllib.parse.urlsplit(source).path) if is_url(source) else source
    except ValueError as error:
        raise OperatorError(f"{source} is no address: {error}.", "Check it.") from None
    return path.rstrip("/").rpartition("/")[2]


@contextlib.contextmanager
def opened(source: str, limits: Limits) -> Iterator[Source]:
    """The source, open for reading; an error says what is wrong with it."""
    if source == "-":
        yield Source(sys.stdin.buffer)
    elif is_url(source):
        terms = Terms(
            seconds=limits.fetch_seconds,
            redirects=limits.fetch_redirects,
            resumes=limits.fetch_resumes,
            private=Private.NAMED,  # whoever types here may go wherever this machine may
        )
        with Download(source, terms) as download:
            yield Source(download, download.total)
    else:
        with _open(source) as file:
            yield Source(file, os.fstat(file.fileno()).st_size or None)  # a device or pipe says 0


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
