"""A disk that lasts gets longer, and nothing that was written is lost on the way."""

import contextlib
import os
import random

import pytest

from scsipub.storage import files, grow
from scsipub.storage.base import SECTOR, Base, Blank
from scsipub.storage.disk import Disk
from scsipub.storage.durable import create_durable
from scsipub.storage.grow import grow_durable
from scsipub.storage.layout import OverlayId, OverlayPaths, OverlayRefused, Part

BOOT, NEXT_BOOT = b"b" * 16, b"c" * 16
OLD, NEW = 40_000, 100_003  # the bitmap needs another page


def paths(folder, boot=BOOT):
    return OverlayPaths(str(folder), OverlayId("t", "x", 0), boot)


@pytest.fixture
def written(tmp_path):
    """What was written, by sector, to a disk of OLD sectors; never flushed."""
    create_durable(paths(tmp_path), OLD, Blank(OLD).identity)
    disk = Disk.open_durable(Blank(OLD), paths(tmp_path))
    chance = random.Random(5)
    model = {n: chance.randbytes(SECTOR) for n in [0, 7, OLD - 1, *chance.sample(range(OLD), 50)]}
    for sector, data in model.items():
        disk.write(sector, memoryview(data))
    disk.close()
    return model


def content(disk, sectors):
    found = {}
    for sector in sectors:
        into = bytearray(SECTOR)
        disk.read(sector, 1, memoryview(into))
        found[sector] = bytes(into)
    return found


def longer(folder, boot=BOOT, sectors=NEW):
    return Disk.open_durable(Blank(sectors), paths(folder, boot), sectors=sectors)


@pytest.mark.parametrize("boot", [BOOT, NEXT_BOOT])
def test_a_longer_disk_has_what_was_written_and_zeros_behind_it(tmp_path, written, boot):
    """Also after a power failure right behind it."""
    assert grow_durable(paths(tmp_path), NEW, Blank(NEW).identity)

    disk = longer(tmp_path, boot)
    assert content(disk, written) == written
    assert set(content(disk, [OLD, OLD + 1, NEW - 1]).values()) == {bytes(SECTOR)}
    disk.write(NEW - 1, memoryview(b"e" * SECTOR))
    disk.flush()
    disk.close()


def test_a_disk_that_is_so_long_already_is_left_alone(tmp_path, written):
    grow_durable(paths(tmp_path), NEW, Blank(NEW).identity)

    assert not grow_durable(paths(tmp_path), NEW, Blank(NEW).identity)


def test_a_disk_never_shrinks(tmp_path, written):
    with pytest.raises(OverlayRefused, match="never shrinks"):
        grow_durable(paths(tmp_path), OLD - 1, Blank(OLD - 1).identity)


def test_a_disk_that_somebody_has_open_stays_as_it_is(tmp_path, written):
    disk = Disk.open_durable(Blank(OLD), paths(tmp_path))

    with pytest.raises(BlockingIOError):
        grow_durable(paths(tmp_path), NEW, Blank(NEW).identity)
    assert content(disk, written) == written
    disk.close()


def test_a_disk_over_an_image_shows_the_image_and_then_zeros(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"i" * SECTOR * OLD)
    base = Base.open(image, "ab" * 32)
    create_durable(paths(tmp_path), OLD, base.identity)

    grow_durable(paths(tmp_path), NEW, base.identity)

    disk = Disk.open_durable(base, paths(tmp_path), sectors=NEW)
    assert content(disk, [OLD - 1, OLD]) == {OLD - 1: b"i" * SECTOR, OLD: bytes(SECTOR)}
    disk.close()
    base.close()


@pytest.mark.parametrize("gone", ["data", "map"])
def test_a_disk_whose_files_are_missing_is_not_made_anew(tmp_path, written, gone):
    (tmp_path / f"t-x-0.{gone}").unlink()

    with pytest.raises((OverlayRefused, FileNotFoundError)):
        grow_durable(paths(tmp_path), NEW, Blank(NEW).identity)
    assert not (tmp_path / f"t-x-0.{gone}").exists()


class Died(BaseException):
    pass


STEPS = ["ftruncate", "fsync", "open", "pwritev", "replace", "unlink"]


@pytest.mark.parametrize("boot", [BOOT, NEXT_BOOT])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("done", [False, True])
def test_a_death_before_or_after_any_step_is_finished_by_doing_it_again(
    tmp_path, written, monkeypatch, boot, step, done
):
    real = getattr(os, step)
    lengthen = grow._lengthen

    def dies(*args, **how):
        if done:
            real(*args, **how)
        raise Died

    def watched(*args):
        with monkeypatch.context() as deadly:
            deadly.setattr(os, step, dies)
            lengthen(*args)

    with monkeypatch.context() as during:
        during.setattr(grow, "_lengthen", watched)
        with pytest.raises(Died):
            grow_durable(paths(tmp_path), NEW, Blank(NEW).identity)

    grow_durable(paths(tmp_path, boot), NEW, Blank(NEW).identity)
    disk = longer(tmp_path, boot)
    assert content(disk, written) == written
    assert content(disk, [NEW - 1]) == {NEW - 1: bytes(SECTOR)}
    disk.close()


# -- while it is in use --------------------------------------------------------------------------------------


@pytest.fixture
def used(tmp_path, written):
    disk = Disk.open_durable(Blank(OLD), paths(tmp_path))
    yield disk
    disk.close()


def stretch(disk, sectors=NEW):
    base = Blank(sectors)
    disk.grow(sectors, base)
    disk.grown(sectors, base)


def test_a_disk_in_use_gets_longer(used, written, tmp_path):
    """What was written and trimmed stays so; the end can be written; another owner finds it all."""
    used.unmap(100, 64)
    left = {sector: data for sector, data in written.items() if not 100 <= sector < 164}
    before = used.statistics().allocated_bytes
    stretch(used)

    assert content(used, left) == left
    assert used.statistics().allocated_bytes == before
    assert list(used.mapped_runs(100, 64)) == [(False, 100, 64)]
    used.write(NEW - 1, memoryview(b"e" * SECTOR))
    used.write(7, memoryview(b"n" * SECTOR))
    expected = left | {7: b"n" * SECTOR, NEW - 1: b"e" * SECTOR, 120: bytes(SECTOR), OLD: bytes(SECTOR)}
    assert content(used, expected) == expected
    used.close()
    again = longer(tmp_path)
    assert content(again, expected) == expected
    again.close()


def test_what_was_written_before_a_live_growth_survives_a_power_failure_behind_it(used, written, tmp_path):
    """The map of the new length has every bit."""
    stretch(used)
    used.close()

    again = longer(tmp_path, NEXT_BOOT)
    assert content(again, written) == written
    again.close()


def test_a_disk_in_use_never_shrinks(used, written):
    with pytest.raises(OverlayRefused, match="never shrinks"):
        used.grow(OLD - 1, Blank(OLD - 1))
    used.grow(OLD, Blank(OLD))

    assert content(used, written) == written


@pytest.mark.parametrize("step", ["ftruncate", "open", "pwritev"])
def test_a_growth_that_finds_no_room_leaves_the_disk_as_it_was(used, written, tmp_path, monkeypatch, step):
    real, calls = getattr(os, step), []

    def full(*args, **how):
        calls.append(args)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return real(*args, **how)

    used.flush()
    with monkeypatch.context() as during:
        during.setattr(os, step, full)
        with pytest.raises(OSError, match="No space"):
            used.grow(NEW, Blank(NEW))

    used.write(3, memoryview(b"3" * SECTOR))
    used.flush()
    used.close()
    again = Disk.open_durable(Blank(OLD), paths(tmp_path))
    assert content(again, written | {3: b""}) == written | {3: b"3" * SECTOR}
    again.close()
    assert not [file for file in os.listdir(tmp_path) if file.endswith(".new")]


def test_a_medium_that_fails_while_a_disk_grows_latches(used, monkeypatch):
    """R7: after an fsync that failed nothing is served."""
    real, calls = os.fsync, []

    def fails(fd):
        calls.append(fd)
        raise OSError(5, "Input/output error")

    used.flush()
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        used.grow(NEW, Blank(NEW))
    monkeypatch.setattr(os, "fsync", real)

    assert used.statistics().failed
    with pytest.raises(OSError, match="latched"):
        used.flush()


@pytest.mark.parametrize("boot", [BOOT, NEXT_BOOT])
@pytest.mark.parametrize("step", ["ftruncate", "fsync", "open", "pwritev", "replace"])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("done", [False, True])
def test_a_death_while_a_disk_in_use_grows_loses_nothing(
    tmp_path, written, monkeypatch, boot, step, nth, done
):
    """R1, R3: what was acknowledged, flushed or (in the same boot) not."""
    disk = Disk.open_durable(Blank(OLD), paths(tmp_path))
    disk.flush()
    disk.write(11, memoryview(b"a" * SECTOR))  # acknowledged, not flushed
    flush = disk._overlay.flush
    real, calls = getattr(os, step), []

    def dies(*args, **how):
        calls.append(args)
        if len(calls) == nth:
            if done:
                real(*args, **how)
            raise Died
        return real(*args, **how)

    def flushed():
        flush()
        disk.write(12, memoryview(b"b" * SECTOR))  # lands while the growth begins
        monkeypatch.setattr(os, step, dies)

    monkeypatch.setattr(type(disk._overlay), "flush", lambda overlay: flushed())
    with contextlib.suppress(Died):
        disk.grow(NEW, Blank(NEW))
    monkeypatch.undo()
    disk.close()

    grow_durable(paths(tmp_path, boot), NEW, Blank(NEW).identity)
    again = longer(tmp_path, boot)
    expected = written | {11: b"a" * SECTOR} | ({12: b"b" * SECTOR} if boot == BOOT else {})
    assert content(again, expected) == expected
    assert content(again, [NEW - 1]) == {NEW - 1: bytes(SECTOR)}
    again.close()


def test_a_disk_that_becomes_very_long_has_its_room_set_aside_and_not_written(tmp_path, written, monkeypatch):
    """A bit for each sector of 64 GiB are 16 MiB: zeros that the file system can make without us."""
    sectors, wrote = (64 << 30) // SECTOR, []
    write = files.pwrite_all
    monkeypatch.setattr(
        files, "pwrite_all", lambda fd, data, *at: (wrote.append(len(data)), write(fd, data, *at))
    )

    grow_durable(paths(tmp_path), sectors, Blank(sectors).identity)

    assert sum(wrote) < 1 << 20
    assert os.stat(paths(tmp_path).path(Part.MAP)).st_blocks * 512 >= sectors // 8
