"""What holds for every answer."""

import httpx
import pytest
import trio

from scsipub.web.guard import Guard


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/status", "/api/v1/sessions", "/none"])
async def test_every_answer_says_what_a_browser_must_not_do(site, path):
    headers = (await site.get(path)).headers

    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers and "access-control-allow-origin" not in headers


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
