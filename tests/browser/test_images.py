"""An operator brings an image in the browser; then it is a disk like any other."""

import random
import subprocess

import pytest

from tests.support.browser import look_at
from tests.wire.test_ipxe import MARKER, WRITTEN, bootable_image

MIB = 1 << 20


@pytest.fixture
def qcow2(tmp_path):
    """A disk that boots, as a qcow2; and its bytes."""
    raw, made = tmp_path / "bootable.raw", tmp_path / "bootable.qcow2"
    noise = random.Random(1).randbytes(12 * MIB)  # something to send
    raw.write_bytes(bootable_image() + noise)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, made], check=True, timeout=60)
    return raw, made


WATCH_BARS = """() => {
  const seen = [];
  const look = () => document.querySelectorAll("#jobs progress").forEach((bar) => {
    seen.push([bar.value, bar.max, bar.parentNode.innerText]);
  });
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
  return seen;
}"""


def test_an_uploaded_qcow2_is_seen_arriving_can_be_read_and_boots(
    somebody, running, admin_token, qcow2, tmp_path
):
    """The machine is started by the command that the landing page offers for it."""
    raw, made = qcow2
    with somebody(admin_token) as page:
        page.goto("/admin/images")
        # A line of 8 MiB/s: on loopback all of it is there before a bar could be drawn twice.
        line = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 8 * MIB}
        page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)
        seen = page.evaluate_handle(WATCH_BARS)
        page.set_input_files("#file", made)
        page.click("role=button[name=Upload]")
        page.wait_for_selector("#jobs li[data-state=done]", timeout=60_000)
        page.wait_for_selector("main table th:text-is('bootable')")
        bars = seen.json_value()
        look_at(page, "images")
        page.goto("/")
        page.click(".disks strong:text-is('bootable')")
        page.click("role=tab[name=QEMU]")
        page.click("role=button[name='Copy: Boot from it']")
        page.wait_for_selector("#said:has-text('Copied.')", state="attached")
        command = page.evaluate("navigator.clipboard.readText()").strip()

    assert any("uploading" in words for _, _, words in bars), bars
    assert any(0 < value < most for value, most, _ in bars), bars

    read = tmp_path / "read.raw"
    url = f"iscsi://{running.iscsi}/{running.target('image.bootable')}/0"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", url, read], check=True, timeout=60)
    assert read.read_bytes() == raw.read_bytes()

    # Without a screen, and the machine ends where its disk resets it.
    quiet = f"{command} -display none -no-reboot -nic none -m 64 -serial stdio"
    booted = subprocess.run(["sh", "-c", quiet], capture_output=True, text=True, timeout=100, check=False)
    assert MARKER in booted.stdout and WRITTEN in booted.stdout, booted


def test_an_upload_goes_on_where_the_line_broke(somebody, running, admin_token, tmp_path):
    """The first request with bytes is cut off half-way, as by a proxy that is restarted."""
    file = tmp_path / "broken.raw"
    file.write_bytes(b"r" * MIB)
    with somebody(admin_token, expected=("ERR_FAILED", "ERR_CONNECTION")) as page:
        cut = []

        def cut_off(route):
            if route.request.method == "PATCH" and not cut:
                cut.append(route.request.url)
                route.abort("connectionreset")
            else:
                route.continue_()

        page.route("**/images/uploads/**", cut_off)
        page.goto("/admin/images")
        page.set_input_files("#file", file)
        page.fill("#upload-name", "mended")
        page.click("role=button[name=Upload]")
        page.wait_for_selector("text=the line broke")
        page.wait_for_selector("#jobs li[data-state=done]:has-text('mended')", timeout=60_000)

    assert len(cut) == 1
    assert "mended" in [image["name"] for image in running.ask("image.list")]


def test_what_is_no_image_says_why(somebody, running, admin_token, tmp_path):
    """A qcow2 that names another file as its base wants to read that file."""
    base, file = tmp_path / "base.raw", tmp_path / "hostile.qcow2"
    base.write_bytes(bytes(MIB))
    subprocess.run(
        ["qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "raw", file],
        check=True, timeout=60, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with somebody(admin_token) as page:
        page.goto("/admin/images")
        page.set_input_files("#file", file)
        page.click("role=button[name=Upload]")
        failed = page.wait_for_selector("#jobs li[data-state=failed]", timeout=60_000)

        assert "stands on another file" in failed.inner_text()
        page.click("role=button[name='Forget hostile']")
        page.wait_for_selector("#jobs li:has-text('hostile')", state="detached")
    assert "hostile" not in [image["name"] for image in running.ask("image.list")]


def test_an_image_is_removed(somebody, running, admin_token, tmp_path):
    file = tmp_path / "short-lived.raw"
    file.write_bytes(b"x" * 4096)
    running.cli("image", "add", str(file), "--name", "short-lived")
    with somebody(admin_token) as page:
        page.goto("/admin/images")
        page.click("role=button[name='Remove short-lived']")
        page.wait_for_selector("main table th:text-is('short-lived')", state="detached")
    assert "short-lived" not in [image["name"] for image in running.ask("image.list")]
