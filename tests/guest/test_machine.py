"""Guests that boot: what goes in, what comes out, how they meet.  Half a minute with the pieces cached."""

import shutil
import time

import pytest
import trio

from tests.guest import initramfs
from tests.guest.machine import QEMU, Guest, GuestFailed, run_many

pytestmark = [
    pytest.mark.wire,
    # The first run downloads the pieces and builds the archive.
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which(QEMU) is None, reason="qemu-system-x86 is not here"),
]


async def shout(*words: str) -> str:
    return " ".join(words).upper()


async def refuse() -> str:
    raise RuntimeError("not today")


async def test_two_guests_meet_and_each_gives_back_its_output_and_its_code():
    heard: list[str] = []
    one = Guest(
        "await ready 60\nhost shout hello\nsay done\nexit 7",
        name="one",
        deeds={"shout": shout},
        watch=heard.append,
    )
    other = Guest(
        "cat /etc/note\nsay ready yes\nawait done 60", name="other", files={"/etc/note": "a note\n"}
    )

    results = await run_many([one, other], timeout=120)

    assert [result.code for result in results] == [7, 0]
    assert results[0].output == "yes\nHELLO\n"
    assert results[1].output == "a note\n\n"
    assert heard == ["yes", "HELLO"]


async def test_a_guest_boots_in_less_than_forty_seconds():
    await trio.to_thread.run_sync(initramfs.prepare)

    result = await Guest("uname -r").run(timeout=60)

    assert result.booted_after < result.seconds < 40


async def test_a_deed_that_fails_fails_the_script():
    result = await Guest("host refuse", deeds={"refuse": refuse}).run(timeout=60)

    assert result.code == 1
    assert "not today" in result.output


async def test_a_script_that_hangs_is_ended_and_its_output_is_told():
    await trio.to_thread.run_sync(initramfs.prepare)
    started = time.monotonic()

    with pytest.raises(GuestFailed, match="so far"):
        await Guest("echo so far\nsleep 1000").run(timeout=15)

    assert time.monotonic() - started < 30


async def test_a_guest_that_dies_is_told_from_one_that_ends():
    with pytest.raises(GuestFailed, match="without an exit code"):
        await Guest("echo c >/proc/sysrq-trigger").run(timeout=60)
