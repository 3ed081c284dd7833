"""The landing page, as a browser without scripts gets it."""

import re

import pytest


async def test_a_newcomer_finds_disks_and_commands(site):
    page = await site.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "iscsiadm -m node -T iqn.2025-01.pub.scsipub:blank -p disks.example.org:3260 --login" in page.text
    assert re.findall(r'<a href="(/\?target=[^"]+)"( aria-current="true")?', page.text) == [
        ("/?target=iqn.2025-01.pub.scsipub%3Ablank", ' aria-current="true"'),
        ("/?target=iqn.2025-01.pub.scsipub%3Amulti", ""),
    ]


async def test_another_disk_has_other_commands(site):
    page = await site.get("/?target=iqn.2025-01.pub.scsipub:multi&client=qemu")

    assert "iscsi://disks.example.org:3260/iqn.2025-01.pub.scsipub:multi/1" in page.text


@pytest.mark.parametrize("target", ["no-such", "<script>alert(1)</script>", "'; reboot", "\x1b[2J"])
async def test_an_unknown_disk_is_not_repeated(site, target):
    page = await site.get("/", params={"target": target})

    assert page.status_code == 200
    assert target not in page.text
    assert "scsipub:blank" in page.text


@pytest.mark.parametrize("host", ["a;reboot", "<script>", "x y", "-o.example.org", "a" * 300])
async def test_an_odd_host_is_not_shown(site, host):
    """Refused, or shown as if it had not been said."""
    page = await site.get("/", headers={"Host": host})

    assert page.status_code == 400 or "127.0.0.1:3260" in page.text
    assert host not in page.text


async def test_a_page_brings_everything_along_and_nothing_inline(site):
    text = (await site.get("/")).text

    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=|javascript:", text) == []
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert [a for a in addresses if not a.startswith("/")] == []
    for address in {a for a in addresses if a.startswith("/static/")}:
        file = await site.get(address)
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e%2fapp.py", "app.py", "page.js%00", ""])
async def test_only_a_few_files_are_there(site, name):
    assert (await site.get(f"/static/x/{name}")).status_code == 404


async def test_a_file_of_another_edition_is_not_kept(site):
    assert (await site.get("/static/old/page.js")).headers["cache-control"] == "no-store"


async def test_the_daemon_that_is_away_has_a_page(site):
    site.hang_up()
    page = await site.get("/")

    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert "One moment" in page.text


async def test_a_page_over_tls_offers_the_tunnel_through_it(site):
    behind = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}

    assert "scsipub connect wss://disks.example.org --target" in (await site.get("/", headers=behind)).text
    assert "wss://" not in (await site.get("/")).text


async def test_where_nothing_is_people_get_a_page_and_programs_a_problem(site):
    people = await site.get("/nonsense", headers={"Accept": "text/html,*/*"})
    programs = await site.get("/nonsense")
    api = await site.get("/api/v1/nonsense", headers={"Accept": "text/html"})

    assert (people.status_code, people.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page." in people.text
    for answer in (programs, api):
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
