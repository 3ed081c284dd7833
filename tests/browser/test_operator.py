"""The operator's pages, with real initiators behind the numbers."""

import contextlib

from tests.support.browser import look_at
from tests.support.eventually import eventually
from tests.support.initiator import Initiator, LoginFailed

HOSTILE = "iqn.2025-01.org.example:<script>document.title='owned'</script>\x1b[2J\u202e"
IMAGE = "<img src=x onerror=alert(1)>"


def test_live_numbers_move(somebody, running, admin_token):
    with somebody(admin_token) as page, Initiator(running.iscsi) as initiator:
        page.wait_for_selector(".feed[data-state=live]")
        initiator.login(running.target("blank")).settle()
        page.wait_for_selector("#session-rows tr")
        before = page.evaluate("document.getElementById('plot-bytes').toDataURL()")

        def moving():
            for block in range(0, 512, 64):
                initiator.write(block, bytes(64 * 512))
            return page.inner_text("#n-written").endswith("iB/s") and page.inner_text("#n-slow") != "–"

        assert eventually(moving, 20)
        assert page.evaluate("document.getElementById('plot-bytes').toDataURL()") != before
        look_at(page, "live")


def test_the_operator_ends_a_session(somebody, running, admin_token):
    name = "iqn.2025-01.org.example:unwanted"
    with somebody(admin_token) as page, Initiator(running.iscsi, name=name) as initiator:
        initiator.login(running.target("blank"))
        page.wait_for_selector(f"#session-rows tr:has-text('{name}')")
        page.click(f"role=button[name='End the session of {name}']")

        assert eventually(initiator.closed_by_target)
        page.wait_for_selector(f"#session-rows tr:has-text('{name}')", state="detached")


def test_what_an_initiator_calls_itself_is_text(somebody, running, admin_token):
    """It is refused at login, so it stands among what went wrong; as text, with its escapes written out."""
    with contextlib.suppress(LoginFailed), Initiator(running.iscsi, name=HOSTILE) as initiator:
        initiator.login(running.target("blank"))
    with somebody(admin_token) as page:
        row = page.inner_text("main tr:has-text('document.title')")

        assert "<script>document.title='owned'</script>" in row
        assert "\\x1b[2J" in row and "\x1b" not in row and "\u202e" not in row
        assert "owned" not in page.title()
        look_at(page, "hostile")


def test_what_a_tenant_calls_its_target_is_text(somebody, running, admin_token, alice):
    running.ask("target.create", tenant="alice", alias=IMAGE, luns=[{"size": 1 << 20}])
    with somebody(admin_token) as page:
        page.goto("/targets")
        page.click("main table >> text=onerror")

        assert page.inner_text("h1") == IMAGE
        assert page.query_selector("main img") is None


def test_the_operators_other_pages(somebody, running, admin_token, alice):
    with somebody(admin_token) as page:
        for name, path in (("upkeep", "/admin/upkeep"), ("tenants", "/admin/tenants")):
            page.goto(path)
            look_at(page, name)
        page.click("text=alice")
        page.fill("[name=name]", "laptop")
        page.click("text=New token")
        look_at(page, "tenant")


def test_workers_are_replaced_from_the_page(somebody, running, admin_token):
    before = running.pids["workers"]
    with somebody(admin_token) as page:
        page.goto("/admin/upkeep")
        page.click("text=Replace all workers")
        page.wait_for_selector("text=being replaced")

    def after():
        now = running.pids["workers"]
        return len(now) == len(before) and not set(now) & set(before)

    assert eventually(after, 30)
