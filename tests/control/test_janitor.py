"""Disks that nobody came back for go; everything else stays."""

import errno
import os
import time

import pytest
import trio

from scsipub.config import LunConfig, TargetConfig
from scsipub.control import janitor as janitors
from scsipub.control.janitor import clear_disposable, left_over
from scsipub.control.placement import Record
from scsipub.storage.files import own
from scsipub.target.descriptor import LunDescriptor, TargetDescriptor

HOUR = 3600.0


def lay(house, owner, *, age=0.0, parts=("data", "live")):
    """The files of an overlay, last written ``age`` seconds ago."""
    for part in parts:
        path = house.control.config.disposable_dir / f"d-{owner}-0.{part}"
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age, time.time() - age))


def there(house):
    return sorted({path.stem for path in house.control.config.disposable_dir.glob("d-*")})


def session(owner):
    lun = LunDescriptor(lun=0, uuid="00" * 16, overlay=f"d-{owner}-0", size=512, budget=512)
    return Record(
        session=owner, connection=f"c{owner}", place=(0, 1), key=("iqn.a", "192.0.2.1", "t"), isid="",
        target=TargetDescriptor(name="t", session=owner, luns=(lun,)),
    )  # fmt: skip


def end(house, owner, seconds_ago, *, written=True):
    """A session that ended so long ago."""
    placement = house.control.placement
    placement.claim(session(owner))
    placement.release(owner, time.monotonic() - seconds_ago, written=written)


async def test_a_sweep_takes_what_expired_and_leaves_what_is_in_use(house):
    grace = house.control.placement.grace
    for owner in ("live", "parked", "late", "young"):
        lay(house, owner)
    lay(house, "orphan", age=2 * HOUR)
    house.control.placement.claim(session("live"))
    end(house, "late", grace + 1)
    end(house, "parked", grace - 5)

    swept = await house.control.janitor.run()

    assert sorted(swept.removed) == ["d-late-0", "d-orphan-0"]
    assert there(house) == ["d-live-0", "d-parked-0", "d-young-0"]


async def test_the_overlay_of_a_shared_target_lives_as_long_as_the_daemon(house):
    house.control.catalogue.targets["t"] = house.control.catalogue._configured(
        TargetConfig(name="t", luns=(LunConfig(lun=0, size=512),), shared=True)
    )
    owner = house.control.catalogue.shared_owner("t")
    lay(house, owner, age=2 * HOUR)

    await house.control.janitor.run()

    assert there(house) == [f"d-{owner}-0"]


async def test_whatever_somebody_holds_stays(house):
    lay(house, "held", age=2 * HOUR)
    fd = os.open(house.control.config.disposable_dir / "d-held-0.data", os.O_RDWR)
    own(fd)

    swept = await house.control.janitor.run()
    os.close(fd)

    assert swept.removed == []
    assert (await house.control.janitor.run()).removed == ["d-held-0"]


async def test_what_a_killed_daemons_worker_still_held_at_the_start_goes_when_it_lets_go(house):
    """It is young, so that nothing else would allow it."""
    directory = str(house.control.config.overlays_dir)
    lay(house, "held")
    fd = os.open(house.control.config.disposable_dir / "d-held-0.data", os.O_RDWR)
    own(fd)
    assert clear_disposable(directory) == 0
    house.control.janitor.left_over = left_over(directory)
    lay(house, "ours")  # came after the start
    os.close(fd)

    await house.control.janitor.run()

    assert there(house) == ["d-ours-0"]


def test_at_the_start_everything_disposable_goes_whatever_its_age(tmp_path):
    (tmp_path / "disposable").mkdir()
    for name in (
        "disposable/d-a-0.data",
        "disposable/d-a-0.live",
        "disposable/d-b-1.live",
        "t-c-0.data",
        "README",
    ):
        (tmp_path / name).write_bytes(b"")

    assert clear_disposable(str(tmp_path)) == 2

    assert sorted(os.listdir(tmp_path)) == ["README", "disposable", "t-c-0.data"]
    assert os.listdir(tmp_path / "disposable") == []
    assert left_over(str(tmp_path)) == frozenset()


async def reaped(house, nursery, autojump_clock):
    autojump_clock.autojump_threshold = 0.05  # threads must have their time
    nursery.start_soon(house.control.janitor.reap)
    await trio.sleep(2.5)


async def test_the_reaper_takes_what_has_waited_for_its_grace(house, nursery, autojump_clock):
    grace = house.control.placement.grace
    lay(house, "late")
    lay(house, "parked")
    end(house, "late", grace + 1)
    end(house, "parked", grace - 20)

    await reaped(house, nursery, autojump_clock)

    assert there(house) == ["d-parked-0"]
    nursery.cancel_scope.cancel()


async def test_a_file_system_that_fails_does_not_end_the_reaper(house, nursery, autojump_clock, monkeypatch):
    failures = []

    def failing(paths):
        failures.append(paths)
        raise OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr(janitors, "remove_files", failing)
    end(house, "one", house.control.placement.grace + 1)
    await reaped(house, nursery, autojump_clock)
    end(house, "two", house.control.placement.grace + 1)
    await trio.sleep(2.5)

    assert len(failures) == 2
    nursery.cancel_scope.cancel()


async def test_the_janitor_comes_every_ten_minutes_and_outlives_errors(
    house, nursery, autojump_clock, monkeypatch
):
    times = []

    async def run():
        times.append(trio.current_time())
        raise OSError(errno.EIO, "input/output error")

    began = trio.current_time()
    monkeypatch.setattr(house.control.janitor, "run", run)
    nursery.start_soon(house.control.janitor.tick)
    await trio.sleep(1900)

    assert [t - began for t in times] == pytest.approx([600, 1200, 1800])
    nursery.cancel_scope.cancel()


async def test_the_janitor_comes_soon_when_something_was_left_over(
    house, nursery, autojump_clock, monkeypatch
):
    times = []

    async def run():
        times.append(trio.current_time())

    began = trio.current_time()
    house.control.janitor.left_over = frozenset(("d-a-0",))
    monkeypatch.setattr(house.control.janitor, "run", run)
    nursery.start_soon(house.control.janitor.tick)
    await trio.sleep(700)

    assert [t - began for t in times] == pytest.approx([10, 610])
    nursery.cancel_scope.cancel()
