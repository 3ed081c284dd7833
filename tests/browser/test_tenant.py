"""A tenant's way through the pages: rent, attach with the secret that is shown, look, change, destroy."""

import re
import subprocess

from tests.support.browser import look_at


def test_a_tenant_rents_a_target_and_the_secret_that_is_shown_opens_it(somebody, running, alice):
    with somebody(alice) as page:
        page.goto("/targets/new")
        look_at(page, "rent")
        page.fill("#alias", "The cluster's disk")
        page.fill("#size", "32")
        page.select_option("[name=unit]", "MiB")
        page.click("text=Rent it")
        page.wait_for_selector("text=shown this once")
        look_at(page, "rented")
        secret = page.inner_text("#secret")
        name = page.inner_text("dt:has-text('Name') + dd")
        portal = page.inner_text("dt:has-text('Portal') + dd")
        page.click("role=tab[name=QEMU]")
        page.click("role=button[name='Copy: Attach it']")
        page.wait_for_selector("#said:has-text('Copied.')", state="attached")
        command = page.evaluate("navigator.clipboard.readText()")

        assert secret in command and name in command
        written = subprocess.run(
            ["qemu-io", "-f", "raw", "-c", "write -P 0x5a 0 8M", f"iscsi://alice%{secret}@{portal}/{name}/0"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "wrote 8388608/8388608" in written.stdout, written

        page.reload()
        assert secret not in page.content()
        assert re.search(r"8(\.\d)? MiB\s+of 64 MiB", page.inner_text("main")), page.inner_text("main")
        look_at(page, "target")

        page.click("text=Destroy …")
        look_at(page, "destroy")
        page.check("[name=sure]")
        page.click("text=Destroy it for ever")
        page.wait_for_url("**/targets")
        assert "The cluster's disk" not in page.inner_text("main")


def test_the_list_of_targets(somebody, running, alice):
    running.ask("tier.put", name="silver", allocation_budget=64 << 20, persistent=True)
    running.ask("tenant.create", name="carol", tier="silver")
    carol = running.ask("token.create", tenant="carol", name="browser")["token"]
    with somebody(carol) as page:
        page.wait_for_selector("text=No targets yet.")
        look_at(page, "targets-none")
        running.ask("target.create", tenant="carol", alias="first", luns=[{"size": 1 << 20}] * 2)
        page.reload()
        page.wait_for_selector("text=first")
        look_at(page, "targets")


def test_what_is_not_there_has_a_page(somebody, alice):
    with somebody(alice, expected=("404",)) as page:
        page.goto("/targets/nosuchtarget")
        page.wait_for_selector("h1:has-text('Not there')")
        look_at(page, "not-there")
