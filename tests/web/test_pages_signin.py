"""Signing in: who gets a cookie, what it looks like, and that no page does anything without it."""

import re

from scsipub.web.pages_visits import TRIES
from tests.web.api.conftest import town as town

HERE = {"Origin": "http://disks.example.org"}
PUBLIC = {"/", "/login", "/static/{edition:str}/{name:str}"}


def token_of(site):
    return site.admin["Authorization"].removeprefix("Bearer ")


async def sign_in(site, token, **headers):
    form = {"form_key": "sign-in", "token": token}
    return await site.post("/login", data=form, headers={**HERE, **headers})


def form_key(page):
    return re.search(r'name="form_key" value="([^"]+)"', page.text)[1]


async def test_the_operator_signs_in_and_sees_what_happens(site):
    answer = await sign_in(site, token_of(site))

    assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
    page = await site.get("/admin")
    assert page.status_code == 200
    assert "iqn.1993-08.org.debian:01:private" in page.text


async def test_scripts_and_other_sites_cannot_have_the_cookie(site):
    """RFC 6265bis §4.1.2."""
    cookie = (await sign_in(site, token_of(site))).headers["set-cookie"]

    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert cookie.startswith("scsipub=") and "Secure" not in cookie
    assert token_of(site) not in cookie


async def test_behind_tls_the_cookie_never_travels_without(site):
    secure = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    cookie = (await sign_in(site, token_of(site), **secure)).headers["set-cookie"]

    assert cookie.startswith("__Host-scsipub=")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


async def test_a_token_that_is_none_opens_nothing(site):
    for token in ("", "x", "scsipub_aaaa.bbbb", "a" * 300, "\u202e"):
        answer = await sign_in(site, token)

        assert answer.status_code == 403, token
        assert "set-cookie" not in answer.headers
        assert 'role="alert"' in answer.text


async def test_who_tries_too_often_has_to_wait_even_with_the_right_one(site):
    for _ in range(TRIES):
        assert (await sign_in(site, "wrong")).status_code == 403
    late = await sign_in(site, token_of(site))

    assert late.status_code == 429 and "retry-after" in late.headers
    elsewhere = await sign_in(site, token_of(site), **{"X-Forwarded-For": "192.0.2.9"})
    assert elsewhere.status_code == 303


async def test_another_site_cannot_sign_anybody_in(site):
    """Nor make him write into somebody else's account without noticing."""
    for origin in ("", "null", "http://evil.example.org", "http://disks.example.org.evil.org"):
        answer = await sign_in(site, token_of(site), Origin=origin)

        assert answer.status_code == 403, origin
        assert "set-cookie" not in answer.headers


async def test_after_signing_out_the_cookie_is_worth_nothing(site):
    await sign_in(site, token_of(site))
    cookie = dict(site.client.cookies)
    key = form_key(await site.get("/admin"))
    assert (await site.post("/logout", data={"form_key": key}, headers=HERE)).headers["location"] == "/login"

    again = await site.get("/admin", headers={"Cookie": f"scsipub={cookie['scsipub']}"})
    assert again.headers["location"] == "/login?next=/admin"


async def test_a_token_that_was_revoked_ends_the_visit(town):
    await sign_in(town, town.ada.token)
    assert (await town.get("/targets")).status_code == 200
    await town.ask("token.revoke", id=town.ada.token_id)

    assert (await town.get("/targets")).headers["location"] == "/login"
    assert (await town.get("/targets")).headers["location"] == "/login?next=/targets"


async def test_a_tenant_sees_its_own_and_nothing_of_others(town):
    await sign_in(town, town.ada.token)
    page = await town.get("/targets")

    assert "alias-of-ada" in page.text
    assert "bob" not in page.text
    assert (await town.get(f"/targets/{town.bob.target}")).status_code == 404
    own = await town.get(f"/targets/{town.ada.target}")
    assert own.status_code == 200 and town.ada.secret not in own.text


async def test_what_is_after_signing_in_is_on_this_site(site):
    for next, goes in (("/admin/upkeep", "/admin/upkeep"), ("https://evil.example.org", "/admin")):
        form = {"form_key": "sign-in", "token": token_of(site), "next": next}
        assert (await site.post("/login", data=form, headers=HERE)).headers["location"] == goes


# -- every page ----------------------------------------------------------------------------------------------


def doors(site):
    """(method, path) of all that is not the API's and not for everybody; from the application itself."""
    found = []
    for route in site.app.app.routes:
        if route.path_format.startswith(("/api/", "/tunnel")) or not hasattr(route, "route_handlers"):
            continue
        for handler in route.route_handlers:
            handled = getattr(handler, "http_methods", ())
            found += [(method, route.path) for method in handled if method in ("GET", "POST")]
    healthy = {"/healthz", "/readyz", "/metrics"}
    return sorted((m, p) for m, p in set(found) if p not in PUBLIC | healthy)


def filled(path, town):
    path = (
        path.replace("{target_id:str}", town.bob.target)
        .replace("{name:str}", "bob")
        .replace("{lun:int}", "0")
    )
    assert "{" not in path
    return path


async def test_a_stranger_is_asked_to_sign_in_at_every_door(town):
    asked = doors(town)
    assert len(asked) > 20
    for method, path in asked:
        answer = await town.request(method, filled(path, town), headers=HERE)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login"), path


async def test_no_form_is_taken_without_its_key_or_from_elsewhere(town):
    await sign_in(town, token_of(town))
    key = form_key(await town.get("/admin"))
    for method, path in doors(town):
        if method == "POST":
            for headers, said in (
                (HERE, ""),
                (HERE, "sign-in"),
                ({"Origin": "http://evil.org"}, key),
                ({}, key),
            ):
                answer = await town.post(filled(path, town), data={"form_key": said}, headers=headers)
                assert answer.status_code == 403, path
    assert (await town.get("/admin")).status_code == 200


async def test_a_tenant_finds_none_of_the_operators_doors_nor_anothers(town):
    await sign_in(town, town.ada.token)
    key = form_key(await town.get("/targets"))
    for method, path in doors(town):
        if path in ("/targets", "/targets/new", "/logout"):
            continue
        form = {"form_key": key, "sure": "yes", "size": "1", "name": "x", "id": town.bob.session}
        sent = {"data": form, "headers": HERE} if method == "POST" else {}
        answer = await town.request(method, filled(path, town), **sent)
        assert answer.status_code in (400, 403, 404), (method, path, answer.text)
        assert town.bob.target_name not in answer.text and "alias-of-bob" not in answer.text
    assert (await town.ask("target.show", id=town.bob.target))["state"] == "ACTIVE"
    assert [t["name"] for t in (await town.ask("tenant.list"))["tenants"]] == ["ada", "bob"]


async def test_pages_bring_everything_along_and_nothing_inline(town):
    await sign_in(town, token_of(town))
    for method, path in doors(town):
        if method == "GET":
            text = (await town.get(filled(path, town))).text
            assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=|javascript:", text) == [], path
            addresses = re.findall(r'(?:src|href|action)="([^"#]*)"', text)
            assert [a for a in addresses if not a.startswith("/") or a.startswith("//")] == [], path


# -- scripts of our pages, which ask the API -----------------------------------------------------------------


async def test_a_script_of_our_page_may_ask_the_api_in_the_name_of_who_signed_in(town):
    await sign_in(town, town.ada.token)
    key = form_key(await town.get("/targets"))
    answer = await town.get("/api/v1/targets", headers={"X-Form-Key": key})

    assert [target["id"] for target in answer.json()["items"]] == [town.ada.target]


async def test_the_cookie_alone_opens_nothing_of_the_api(town):
    """Another site can make a browser send the cookie of an older browser, but no header."""
    await sign_in(town, town.ada.token)
    key = form_key(await town.get("/targets"))

    for headers in ({}, {"X-Form-Key": ""}, {"X-Form-Key": key + "x"}, {"X-Form-Key": "sign-in"}):
        assert (await town.get("/api/v1/targets", headers=headers)).status_code == 401, headers
    town.client.cookies.clear()
    assert (await town.get("/api/v1/targets", headers={"X-Form-Key": key})).status_code == 401


async def test_a_token_that_is_shown_counts_whoever_signed_in(town):
    await sign_in(town, town.ada.token)
    key = form_key(await town.get("/targets"))
    answer = await town.get("/api/v1/targets", headers={**town.bob.headers, "X-Form-Key": key})
    wrong = await town.get("/api/v1/targets", headers={"Authorization": "Bearer x", "X-Form-Key": key})

    assert [target["id"] for target in answer.json()["items"]] == [town.bob.target]
    assert wrong.status_code == 401
