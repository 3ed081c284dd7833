"""A disk that lasts gets longer, and nothing that was written is lost on the way."""

import os
import random

import pytest

from scsipub.storage import grow
from scsipub.storage.base import SECTOR, Base, Blank
from scsipub.storage.disk import Disk
from scsipub.storage.durable import create_durable
from scsipub.storage.grow import grow_durable
from scsipub.storage.layout import OverlayId, OverlayPaths, OverlayRefused

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
