"""One download over HTTP, read like a file, that takes up where it broke off.

Source: RFC 9110 §14 (ranges), §13.1.5 (If-Range), §15.4 (redirects).  Knows httpcore; blocks.

A server that says what it sent (a strong ETag, or a date) is asked for the rest after a broken line, and what
it sends then must begin exactly there, of the same thing.  Proxies are not used: they would resolve names for
us, and then nothing could be checked."""

import contextlib
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin, urlsplit

import attrs
import httpcore

from scsipub import __version__
from scsipub.errors import OperatorError
from scsipub.fetch.addresses import CheckedNetwork, Private

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BROKEN = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)
_RANGE = re.compile(rb"bytes ([0-9]+)-[0-9]+/([0-9]+)")
# Slower than this for longer than that is no download.
LEAST_PER_SECOND, PATIENCE_SECONDS = 1024, 60.0
_NOTHING_KEPT = "Nothing was kept; try again."


@attrs.frozen(kw_only=True)
class Terms:
    """Bounds: seconds of silence, redirects, and how often a broken line is taken up."""

    seconds: float
    redirects: int
    resumes: int
    private: Private


class Download:
    """``read`` it to its end; ``total`` is its length, where the server says it."""

    def __init__(self, url: str, terms: Terms) -> None:
        self.url = check_url(url)
        self.terms = terms
        self.total: int | None = None
        self.resumed = 0
        self._done = 0
        self._sent_as: bytes | None = None  # what identifies the bytes that we have begun to read
        self._rest = b""
        self._network = CheckedNetwork(terms.private)
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(), network_backend=self._network, max_connections=1
        )
        self._answer = contextlib.ExitStack()
        self._pieces: Iterator[bytes] = iter(())
        self._began = time.monotonic()

    def __enter__(self) -> "Download":
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._answer.close()
        self._pool.close()

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end.  OperatorError when there is no way to that."""
        while not self._rest:
            try:
                piece = next(self._pieces, None)
            except _BROKEN as error:
                self._take_up(error)
                continue
            if piece is None:
                return b""
            self._rest = piece
            self._done += len(piece)
            waited = time.monotonic() - self._began
            if self._done < (waited - PATIENCE_SECONDS) * LEAST_PER_SECOND:
                raise OperatorError("The server is too slow.", _NOTHING_KEPT)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    # -- asking ------------------------------------------------------------------------------------------

    def _take_up(self, error: Exception) -> None:
        """After a broken line: the rest, or OperatorError."""
        missing = "" if self.total is None else f" {self.total - self._done} bytes early"
        while self._sent_as is not None and self.resumed < self.terms.resumes:
            self.resumed += 1
            try:
                self._open()
            except _BROKEN:
                continue
            return
        why = str(error).rstrip(".") or type(error).__name__
        raise OperatorError(f"The source ended{missing}: {why}.", _NOTHING_KEPT) from None

    def _open(self) -> None:
        self._answer.close()
        headers: dict[str | bytes, str | bytes] = {
            "User-Agent": f"scsipub/{__version__}",
            "Accept-Encoding": "identity",
            "Accept": "*/*",
        }
        if self._done and self._sent_as is not None:
            headers |= {"Range": f"bytes={self._done}-", "If-Range": self._sent_as.decode("latin-1")}
        url = self.url
        for _ in range(self.terms.redirects + 1):
            answer = self._ask(url, headers)
            if answer.status not in _REDIRECTS:
                self._begin(url, answer)
                return
            where = _header(answer, b"location").decode("latin-1")
            self._answer.close()
            if not where:
                raise OperatorError(f"{url} leads nowhere.", "Check the address.")
            url = _led_on(url, where)
            # What leads from the world into our house was not meant by whoever named the first address.
            if not self._network.was_private and self.terms.private is Private.NAMED:
                self._network.allowed = False
        raise OperatorError(f"{self.url} leads on and on.", "Check the address.")

    def _ask(self, url: str, headers: Mapping[str | bytes, str | bytes]) -> httpcore.Response:
        seconds = self.terms.seconds
        timeout = {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}
        try:
            return self._answer.enter_context(
                self._pool.stream("GET", url, headers=headers, extensions={"timeout": timeout})
            )
        except _BROKEN as error:
            if self._done:
                raise
            why = str(error).rstrip(".") or type(error).__name__
            raise OperatorError(
                f"{url} cannot be fetched: {why}.", "Check the address and the network."
            ) from None
        except (httpcore.UnsupportedProtocol, UnicodeError, ValueError) as error:
            raise OperatorError(f"{url} cannot be fetched: {error}.", "Check the address.") from None

    def _begin(self, url: str, answer: httpcore.Response) -> None:
        if self._done:
            said = _RANGE.match(_header(answer, b"content-range"))
            if answer.status != 206 or said is None or int(said[1]) != self._done:
                raise OperatorError("The line broke, and the server cannot go on from there.", _NOTHING_KEPT)
            if self.total is not None and int(said[2]) != self.total:
                raise OperatorError("The line broke, and it is another file now.", _NOTHING_KEPT)
        else:
            if answer.status != 200:
                raise OperatorError(f"{url} was answered with {answer.status}.", "Check the address.")
            length = _header(answer, b"content-length")
            self.total = int(length) if length.isdigit() else None
            etag = _header(answer, b"etag")
            self._sent_as = etag if etag.startswith(b'"') else _header(answer, b"last-modified") or None
        self._pieces = answer.iter_stream()


def _header(answer: httpcore.Response, name: bytes) -> bytes:
    return next((value for key, value in answer.headers if key.lower() == name), b"")


def _led_on(url: str, where: str) -> str:
    try:
        onward = urljoin(url, where)
    except ValueError as error:
        raise OperatorError(f"{url} leads to what is no address: {error}.", "Check the address.") from None
    onward = check_url(onward)
    if urlsplit(url).scheme == "https" and urlsplit(onward).scheme == "http":
        raise OperatorError(f"{url} leads away from https.", "Check the address.")
    return onward


def check_url(url: str) -> str:
    """An address that can be fetched, or OperatorError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OperatorError(f"{url} is no address: {error}.", "Check it.") from None
    if parts.scheme not in ("http", "https"):
        raise OperatorError(
            f"{parts.scheme}:// is not fetched here.", "Use http:// or https://, a file, or - for stdin."
        )
    if not parts.hostname or port == 0:
        raise OperatorError(f"{url} names no server.", "Check it.")
    if parts.username is not None or parts.password is not None:
        raise OperatorError("Passwords in addresses are not sent.", "Fetch it with another program.")
    return parts._replace(fragment="").geturl()
