"""A headless Chromium that is watched: what it says on its console, and whom it asks for anything.

    with chromium() as browser, watched(browser, address) as page:
        page.goto("/")

Leaving ``watched`` fails when a script complained, or when a request went to another host.  Knows Playwright,
and axe-core, which finds what people who do not see, or have no mouse, would stumble over."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[2]
SCREENSHOTS = REPOSITORY / "build" / "screenshots"
CHROMIUM = shutil.which("chromium")
# Each page is looked at in both: all the colours, and the narrow and the wide form.
LOOKS = {"light": ("light", 1280), "dark-phone": ("dark", 390)}
GRAVE = ("serious", "critical")
WAIT_MS = 15_000


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's own, because Playwright's would have to be downloaded."""
    with sync_playwright() as playwright:
        # No sandbox: root cannot have one.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def watched(browser: Browser, address: str, *, expected: tuple[str, ...] = ()) -> Iterator[Page]:
    """The browser of somebody who was never here.  ``expected``: parts of complaints that are the test's."""
    context = browser.new_context(base_url=f"http://{address}", viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    strangers: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def asked(url: str) -> None:
        if urlsplit(url).netloc != address:
            strangers.append(url)

    page = context.new_page()
    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked(request.url))
    page.on("websocket", lambda socket: asked(socket.url))
    try:
        yield page
        page.wait_for_timeout(0)  # what happened until now has been heard
        wrong = [c for c in complaints if not any(each in c for each in expected)]
        assert (strangers, wrong) == ([], []), (strangers, wrong)
    finally:
        context.close()


def look_at(page: Page, name: str) -> None:
    """Screenshots in both looks; axe finds nothing grave, and nothing sticks out to the right."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found = []
    for look, (colours, width) in LOOKS.items():
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 800})
        page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png", full_page=True)
        found += [f"{look}: {each}" for each in grave(page)]
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wider > 0:
            found.append(f"{look}: {wider} pixels wider than the window")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert found == [], (name, found)


def grave(page: Page) -> list[str]:
    """What axe calls serious or critical, one line each, with the first place."""
    said: Any = Axe().run(page, options={"resultTypes": ["violations"]}).response
    return [
        f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:200]}"
        for each in said["violations"]
        if each["impact"] in GRAVE
    ]


def sign_in(page: Page, token: str) -> None:
    page.goto("/login")
    page.fill("#token", token)
    page.click("main button")
    page.wait_for_url(lambda url: not url.endswith("/login"))
