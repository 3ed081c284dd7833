"""The language between a parent process and its children: framed JSON, with file descriptors counted.

A frame is four bytes of length, big-endian, and that many bytes of one JSON object.  Four kinds:

    {"id": 7, "method": "add", "params": {...}}            a call, which is owed an answer
    {"method": "note", "params": {...}}                    a cast, which is not
    {"id": 7, "result": ...}                               the answer
    {"id": 7, "error": {"code": ..., "message": ..., "data": ...}}

``"fds": n`` in any of the first three says that n descriptors travel beside the frame.

Pure: no sockets, no trio.  Knows how a frame looks, not how it travels, nor what a method means.
Both ends are our own programs, yet bad bytes end in ``WireError`` and never in anything else: a child
that went mad must not take its parent along.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any

import attrs

# Anything that JSON can say.  ``Any`` because the checker cannot follow what json.loads returns.
Json = Any
Params = dict[str, Json]

# A listing of ten thousand sessions is about 3 MiB; the rest is room.
MAX_FRAME = 16 * 2**20

# The kernel takes 253 in one message.  Two or three are what anybody needs.
MAX_FDS = 64

_LENGTH = struct.Struct(">I")
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class WireError(Exception):
    """These bytes are not a frame, or this message cannot be one."""


@attrs.frozen
class Call:
    """Somebody waits for the answer with this ``id``."""

    id: int
    method: str
    params: Params
    fds: int = 0


@attrs.frozen
class Cast:
    """Said once; nobody waits."""

    method: str
    params: Params
    fds: int = 0


@attrs.frozen
class Result:
    """The call with this ``id`` went well."""

    id: int
    result: Json
    fds: int = 0


@attrs.frozen
class Failure:
    """The call with this ``id`` did not."""

    id: int
    code: str
    message: str
    data: Json = None


Message = Call | Cast | Result | Failure


def pack(message: Message) -> bytes:
    """One frame.  Raises ``WireError`` for what JSON cannot say or a frame cannot hold."""
    body: dict[str, Json]
    match message:
        case Call(id, method, params, fds):
            body = {"id": id, "method": method, "params": params}
        case Cast(method, params, fds):
            body = {"method": method, "params": params}
        case Result(id, result, fds):
            body = {"id": id, "result": result}
        case Failure(id, code, text, data):
            fds = 0
            body = {"id": id, "error": {"code": code, "message": text, "data": data}}
    if fds:
        if fds > MAX_FDS:
            raise WireError(f"{fds} descriptors in one message; {MAX_FDS} are the most")
        body["fds"] = fds
    try:
        payload = _encode(body).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise WireError(f"JSON cannot say this: {exc}") from exc
    if len(payload) > MAX_FRAME:
        raise WireError(f"a frame of {len(payload)} bytes; {MAX_FRAME} are the most")
    return _LENGTH.pack(len(payload)) + payload


def parse_untrusted(payload: bytes | bytearray) -> Message:
    """One frame's JSON as a message, or ``WireError``."""
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise WireError(f"not JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise WireError("a frame holds one JSON object")
    fds = body.get("fds", 0)
    if type(fds) is not int or not 0 <= fds <= MAX_FDS:
        raise WireError(f"'fds' is a number from 0 to {MAX_FDS}")
    method = body.get("method")
    if method is not None:
        params = body.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict):
            raise WireError("'method' is a string and 'params' an object")
        if "id" not in body:
            return Cast(method, params, fds)
        return Call(_id_untrusted(body), method, params, fds)
    if "error" in body:
        error = body["error"]
        if not isinstance(error, dict) or fds:
            raise WireError("'error' is an object, and no descriptors go with it")
        code, text = error.get("code"), error.get("message")
        if not isinstance(code, str) or not isinstance(text, str):
            raise WireError("an error has a code and a message")
        return Failure(_id_untrusted(body), code, text, error.get("data"))
    if "result" not in body:
        raise WireError("neither a method, nor a result, nor an error")
    return Result(_id_untrusted(body), body["result"], fds)


def _id_untrusted(body: dict[str, Json]) -> int:
    number = body.get("id")
    if type(number) is not int:
        raise WireError("'id' is a number")
    return number


class Splitter:
    """Cuts a stream of bytes into messages, however it was cut before."""

    def __init__(self) -> None:
        self._kept = bytearray()

    @property
    def kept(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._kept)

    def feed_untrusted(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that became whole with ``data``.  After a ``WireError`` the stream is lost.

        Bounded: a length above ``MAX_FRAME`` is refused before its bytes are collected.
        """
        kept = self._kept
        kept += data
        start, end = 0, len(kept)
        try:
            while end - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(kept, start)
                if length > MAX_FRAME:
                    raise WireError(f"a frame of {length} bytes; {MAX_FRAME} are the most")
                after = start + _LENGTH.size + length
                if after > end:
                    break
                payload = kept[start + _LENGTH.size : after]
                start = after
                yield parse_untrusted(payload)
        finally:
            del kept[:start]
