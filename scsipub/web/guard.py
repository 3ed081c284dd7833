"""The guard: what holds for every request and every answer, whoever handles it.

Source: RFC 9110 §9.3.2 (HEAD), and the headers that tell a browser what our pages never do.  Plain ASGI,
around the application; knows trio's clock."""

import math
from typing import Any

import trio

REQUEST_SECONDS = 20.0
# Their handler has a clock of its own: what matters is that something comes.
UPLOADS = "/api/v1/images/uploads/"
BODY_BYTES = 64 * 1024

# Pages bring everything along and are framed by nobody.
CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
HEADERS = {
    b"content-security-policy": CONTENT_POLICY.encode(),
    b"strict-transport-security": b"max-age=31536000",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
    b"cache-control": b"no-store",
}
LATE = b'{"title": "Service Unavailable", "status": 503, "type": "about:blank"}'


class Guard:
    """``app`` with a deadline, HEAD and our headers.  What the answer says of these itself is kept."""

    def __init__(self, app: Any, seconds: float = REQUEST_SECONDS) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        if head:
            scope = {**scope, "method": "GET"}
        begun = False

        async def send_guarded(message: Any) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                said = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in HEADERS.items() if name not in said]
                message = {**message, "headers": [*message["headers"], *more]}
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        upload = scope["method"] == "PATCH" and scope["path"].startswith(UPLOADS)
        with trio.move_on_after(math.inf if upload else self.seconds) as deadline:
            await self.app(scope, receive, send_guarded)
        if deadline.cancelled_caught and not begun:
            kind = (b"content-type", b"application/problem+json")
            length = (b"content-length", str(len(LATE)).encode())
            await send_guarded({"type": "http.response.start", "status": 503, "headers": [kind, length]})
            await send_guarded({"type": "http.response.body", "body": LATE})
