"""From a description to disks: opened when needed, shared where they should be, and closed again."""

import threading

import attrs
import pytest

from scsipub.limits import DEFAULT
from scsipub.storage.disk import Disk
from scsipub.target.descriptor import LunDescriptor, TargetDescriptor
from scsipub.worker.troubling import DiskTrouble
from scsipub.worker.units import Units

MEBIBYTE = 1 << 20


@pytest.fixture
def units(tmp_path):
    (tmp_path / "overlays" / "disposable").mkdir(parents=True)
    return Units(str(tmp_path / "overlays"), DEFAULT, 1)


def lun(owner="0000000000000001", **fields):
    known = {"lun": 0, "uuid": "00" * 16, "overlay": f"d-{owner}-0", "size": MEBIBYTE, "budget": MEBIBYTE}
    return LunDescriptor(**{**known, **fields})


def target(*luns, **fields):
    return TargetDescriptor(**{"name": "t", "session": "s", "luns": luns or (lun(),), **fields})


def test_a_disposable_target_is_another_one_for_every_session(units):
    one, other = units.open(target()), units.open(target(lun("0000000000000002")))
    one.backings[0].disk.write(0, b"x" * 512)

    into = bytearray(512)
    other.backings[0].disk.read(0, 1, memoryview(into))

    assert into == bytes(512)
    assert units.close(one) is True
    assert units.close(other) is False


def test_nothing_lies_on_the_file_system_until_something_is_written(units, tmp_path):
    opened = units.open(target())
    assert list((tmp_path / "overlays" / "disposable").iterdir()) == []

    opened.backings[0].disk.write(0, b"x" * 512)

    assert len(list((tmp_path / "overlays" / "disposable").iterdir())) == 2
    units.close(opened)


def test_whoever_adopts_finds_what_the_one_before_wrote(units):
    first = units.open(target())
    first.backings[0].disk.write(7, b"x" * 512)
    units.close(first)

    second = units.open(target(lun(adopt=True)))
    into = bytearray(512)
    second.backings[0].disk.read(7, 1, memoryview(into))

    assert into == b"x" * 512
    assert units.close(second) is True


def test_a_disk_that_somebody_else_holds_cannot_be_had(units, tmp_path):
    holder = units.open(target())
    holder.backings[0].disk.write(0, b"x" * 512)
    other = Units(str(tmp_path / "overlays"), DEFAULT, 2)

    with pytest.raises(OSError):
        other.open(target(lun(adopt=True)))

    units.close(holder)
    other.close(other.open(target(lun(adopt=True))))


def test_when_one_unit_cannot_be_opened_none_is(units, tmp_path):
    missing = lun(lun=1, overlay="d-0000000000000001-1", image=str(tmp_path / "gone.img"))

    with pytest.raises(FileNotFoundError):
        units.open(target(lun(adopt=True), missing))

    units.close(units.open(target(lun(adopt=True))))


def test_a_name_that_is_no_overlays_is_refused(units):
    for name in ("../../etc/passwd", "d-x", "", "x-1-0", "d-0000000000000001-0/x"):
        with pytest.raises(OSError):
            units.open(target(attrs.evolve(lun(), overlay=name)))


def test_a_shared_target_is_opened_once_whoever_asks_at_the_same_time(units):
    """Two threads that both opened it would fight for the lock of its file."""
    shared = target(lun(adopt=True), shared=True)
    units.close(units.open(target()))
    found, start = [], threading.Barrier(8)

    def come():
        start.wait()
        found.append(units.open(shared))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len({id(opened) for opened in found}) == 1


def test_an_image_is_opened_once_for_all_its_disks(units, tmp_path):
    image = tmp_path / "image.img"
    image.write_bytes(b"i" * MEBIBYTE)
    luns = [lun(f"{n:016x}", image=str(image), image_sha256="11" * 32) for n in range(3)]

    opened = [units.open(target(one)) for one in luns]

    assert len(units.bases) == 1
    into = bytearray(512)
    opened[2].backings[0].disk.read(3, 1, memoryview(into))
    assert into == b"i" * 512
    for one in opened[:2]:
        units.close(one)
    assert len(units.bases) == 1
    units.close(opened[2])
    assert not units.bases


def test_an_image_whose_disk_could_not_be_opened_is_closed_again(units, tmp_path):
    image = tmp_path / "image.img"
    image.write_bytes(b"i" * MEBIBYTE)
    good = lun("000000000000000a", image=str(image), image_sha256="11" * 32)
    bad = lun("000000000000000a", lun=1, overlay="no name", image=str(image), image_sha256="11" * 32)

    with pytest.raises(OSError):
        units.open(target(good, bad))

    assert not units.bases
    assert not units.users


def test_an_image_that_was_replaced_under_its_name_is_another_image(units, tmp_path):
    image = tmp_path / "image.img"
    image.write_bytes(b"1" * MEBIBYTE)
    old = units.open(target(lun("000000000000000a", image=str(image), image_sha256="11" * 32)))
    image.unlink()
    image.write_bytes(b"2" * MEBIBYTE)
    new = units.open(target(lun("000000000000000b", image=str(image), image_sha256="22" * 32)))

    seen = []
    for opened in (old, new):
        into = bytearray(1)
        sector = bytearray(512)
        opened.backings[0].disk.read(0, 1, memoryview(sector))
        into[:] = sector[:1]
        seen.append(bytes(into))

    assert seen == [b"1", b"2"]


def test_sizes_are_rounded_up_to_whole_blocks(units):
    opened = units.open(target(lun(size=1000, block_size=4096)))

    assert opened.backings[0].unit is not None
    assert opened.backings[0].medium.blocks == 1
    units.close(opened)


def test_a_faulty_disk_is_flushed_and_closed_all_the_same(units, monkeypatch):
    """What was acknowledged must reach the medium, whatever commands meet."""
    opened = units.open(target(shared=True))
    backing, flushed = opened.backings[0], []
    backing.disk.write(0, b"x" * 512)
    backing.meet(DiskTrouble(backing, [{"fault": "eio"}], 1))
    monkeypatch.setattr(Disk, "flush", lambda disk: flushed.append(disk))

    assert units.release("t") == []
    assert flushed == [backing.real]
