"""From the landing page to a disk, by what the page offers and nothing else."""

import subprocess

import pytest

from tests.support.browser import look_at


def pasted(page):
    """What a paste into a terminal would bring."""
    return page.evaluate("navigator.clipboard.readText()")


def run(command):
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)


def test_a_newcomer_chooses_an_image_copies_a_command_and_it_works(somebody):
    with somebody() as page:
        page.goto("/")
        page.click(".disks strong:text-is('readme')")
        page.click("role=tab[name=QEMU]")
        page.click("role=button[name='Copy: Only look at it']")
        page.wait_for_selector("#said:has-text('Copied.')", state="attached")
        command = pasted(page)

    assert "image.readme" in command
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert "virtual size: 16 MiB" in done.stdout


def test_what_is_listed_is_what_the_page_says(somebody, running):
    """The portal that stands on the page, given to a client that we did not write."""
    with somebody() as page:
        page.goto("/")
        portal = page.inner_text("dt:has-text('Portal') + dd")
        targets = page.eval_on_selector_all(
            ".disks a", "all => all.map(a => new URL(a.href).searchParams.get('target'))"
        )
    listed = run(f"iscsi-ls iscsi://{portal}/")

    assert len(targets) >= 3
    assert [t for t in targets if f"Target:{t} " not in listed.stdout] == [], listed


def test_the_choice_of_client_stays_when_another_disk_is_chosen(somebody):
    with somebody() as page:
        page.goto("/")
        page.click("role=tab[name=Windows]")
        page.click(".disks strong:text-is('readme')")

        assert page.get_attribute("role=tab[name=Windows]", "aria-selected") == "true"
        assert "Connect-IscsiTarget" in page.inner_text("main")


def test_the_keyboard_is_enough(somebody):
    with somebody() as page:
        page.goto("/")
        page.keyboard.press("Tab")
        assert page.inner_text(":focus") == "Skip to the content"
        page.focus("role=tab[name=Linux]")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("End")

        assert page.inner_text(":focus") == "iPXE"
        assert "sanboot" in page.inner_text("main")


@pytest.mark.parametrize("path", ["/", "/login"], ids=["landing", "login"])
def test_who_has_not_signed_in_sees_pages_for_everybody(somebody, path):
    with somebody() as page:
        page.goto(path)
        look_at(page, path.strip("/") or "landing")


def test_without_scripts_the_page_is_longer_and_complete(browser, running):
    context = browser.new_context(java_script_enabled=False, base_url=f"http://{running.endpoints['web']}")
    try:
        page = context.new_page()
        page.goto("/")
        text = page.inner_text("main")
    finally:
        context.close()

    for words in ("iscsiadm", "Connect-IscsiTarget", "qemu-img", "sanboot"):
        assert words in text
