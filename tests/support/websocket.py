"""A WebSocket client for tests that can also misbehave: frames are written by hand.

Source: RFC 6455.  Plain sockets; everything waits at most ``timeout`` seconds."""

import base64
import contextlib
import os
import socket
import struct
from typing import Any

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocket:
    """``head`` is the answer to the upgrade, with its status line."""

    def __init__(self, address: str, path: str = "/tunnel", timeout: float = 20, **headers: str) -> None:
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), timeout)
        self.data = b""
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {address}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self.data:
            self._more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    def send(self, data: bytes, opcode: int = BINARY, fin: bool = True, length: int | None = None) -> None:
        """``length`` in the header instead of the true one."""
        self.sock.sendall(self.header(len(data) if length is None else length, opcode, fin) + data)

    @staticmethod
    def header(size: int, opcode: int = BINARY, fin: bool = True) -> bytes:
        """With a mask of zeros, which changes nothing."""
        first = opcode | (0x80 if fin else 0)
        if size < 126:
            start = struct.pack(">BB", first, 0x80 | size)
        elif size < 1 << 16:
            start = struct.pack(">BBH", first, 0x80 | 126, size)
        else:
            start = struct.pack(">BBQ", first, 0x80 | 127, size)
        return start + bytes(4)

    def receive(self) -> tuple[int, bytes]:
        """One frame: (opcode, payload).  EOFError at the end of the stream."""
        self._fill(2)
        size, used = self.data[1] & 0x7F, 2
        if size == 126:
            self._fill(4)
            size, used = int.from_bytes(self.data[2:4]), 4
        elif size == 127:
            self._fill(10)
            size, used = int.from_bytes(self.data[2:10]), 10
        self._fill(used + size)
        opcode, payload = self.data[0] & 15, self.data[used : used + size]
        self.data = self.data[used + size :]
        return opcode, payload

    def closed_with(self) -> int:
        """Reads to the end; the code that the other side closed with, 1006 when it said none."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                opcode, payload = self.receive()
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2]) if payload else 1005
        return 1006

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _fill(self, size: int) -> None:
        while len(self.data) < size:
            self._more()

    def _more(self) -> None:
        more = self.sock.recv(1 << 16)
        if not more:
            raise EOFError
        self.data += more


class TunnelSocket:
    """A tunnel in the shape of a socket, for ``Initiator``."""

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.rest = b""

    def sendall(self, data: Any) -> None:
        for at in range(0, len(data), 60_000):
            self.websocket.send(bytes(data[at : at + 60_000]))

    def recv(self, size: int) -> bytes:
        while not self.rest:
            try:
                opcode, payload = self.websocket.receive()
            except EOFError:
                return b""
            if opcode == CLOSE:
                return b""
            if opcode == BINARY:
                self.rest = payload
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def settimeout(self, seconds: float | None) -> None:
        self.websocket.sock.settimeout(seconds)

    def close(self) -> None:
        self.websocket.close()
