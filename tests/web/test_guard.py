"""What holds for every answer."""

import httpx
import pytest
import trio
from litestar import get

from scsipub.web.guard import Guard


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/status", "/api/v1/sessions", "/none"])
async def test_every_answer_says_what_a_browser_must_not_do(site, path):
    headers = (await site.get(path)).headers

    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers and "access-control-allow-origin" not in headers


@get("/buggy")
async def buggy() -> str:
    raise RuntimeError("what only the log may know")


async def test_no_answer_shows_what_the_code_looks_like(site, caplog):
    """No debug mode, nowhere: neither a console nor a traceback, for the operator either."""
    site.app.app.register(buggy)

    for path in (
        "/buggy",
        "/console",
        "/debug",
        "/__debugger__",
        "/?__debugger__=yes&cmd=resource&f=debugger.js",
    ):
        answer = await site.get(path, headers=site.admin)
        for word in ("Traceback", "what only", "RuntimeError", ".py", "debugger"):
            assert word not in answer.text
    assert (await site.get("/buggy")).status_code == 500
    assert "what only the log may know" in caplog.text


async def test_head_is_get_without_a_body(site):
    """RFC 9110 §9.3.2."""
    head, get = await site.request("HEAD", "/healthz"), await site.get("/healthz")

    assert head.content == b""
    assert (head.status_code, head.headers["content-length"]) == (200, get.headers["content-length"])


async def test_a_request_that_takes_too_long_is_given_up(autojump_clock):
    async def slow(scope, receive, send):
        await trio.sleep_forever()

    transport = httpx.ASGITransport(app=Guard(slow, seconds=20))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/")

    assert (answer.status_code, trio.current_time()) == (503, pytest.approx(20, abs=0.1))
