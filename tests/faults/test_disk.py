"""scsipub/faults/disk.py: around a real disk with real files."""

import errno
import json
import threading

import pytest

from scsipub.errors import OperatorError
from scsipub.faults.disk import Access, DiskFault, DiskRule, FaultyDisk
from scsipub.storage.base import Blank
from scsipub.storage.disk import Disk
from scsipub.storage.layout import OverlayId, OverlayPaths

SECTORS = 1000
ONES = b"\x11" * 512


@pytest.fixture
def faulty(tmp_path):
    """``faulty("eio …")``: a blank disk with these rules."""
    disks = []

    def make(*rules, seed=1, **how):
        (tmp_path / "disposable").mkdir(exist_ok=True)
        paths = OverlayPaths(str(tmp_path), OverlayId("d", f"a{len(disks)}", 0))
        disk = Disk(Blank(SECTORS), paths, 1 << 30)
        disks.append(disk)
        return FaultyDisk(disk, [DiskRule.parse(rule) for rule in rules], seed, **how)

    yield make
    for disk in disks:
        disk.close()


def read(disk, first, count=1):
    data = bytearray(count * 512)
    disk.read(first, count, memoryview(data))
    return bytes(data)


def test_without_rules_it_is_the_disk(faulty):
    disk = faulty()
    disk.write(5, ONES)

    assert read(disk, 5) == ONES
    assert disk.sectors == SECTORS
    assert list(disk.events) == []


def test_nothing_is_read_or_written_in_passing(faulty):
    """Each access must be one that may fail."""
    disk = faulty()

    assert not disk.read_now(0, 1, memoryview(bytearray(512)))
    assert not disk.write_now(0, ONES)


@pytest.mark.parametrize(("first", "fails"), [(9, False), (10, True), (19, True), (20, False)])
def test_the_medium_fails_where_the_rule_says(faulty, first, fails):
    disk = faulty("eio access=read sectors=10-19")
    if fails:
        with pytest.raises(OSError) as failed:
            read(disk, first)
        assert failed.value.errno == errno.EIO
    else:
        assert read(disk, first) == bytes(512)


def test_no_room_meets_writers_only(faulty):
    disk = faulty("enospc")

    assert read(disk, 0) == bytes(512)
    with pytest.raises(OSError) as full:
        disk.write(0, ONES)
    assert full.value.errno == errno.ENOSPC
    assert read(disk, 0) == bytes(512)


def test_a_short_write_leaves_its_first_half(faulty):
    disk = faulty("short access=write")

    with pytest.raises(OSError, match="2 of 4 sectors"):
        disk.write(0, ONES * 4)
    assert read(disk, 0, 4) == ONES * 2 + bytes(1024)


def test_a_single_sector_has_no_half(faulty):
    disk = faulty("short access=write")

    with pytest.raises(OSError):
        disk.write(0, ONES)
    assert read(disk, 0) == bytes(512)


def test_a_slow_disk_does_it_later(faulty):
    waited = []
    disk = faulty("slow seconds=0.25 access=flush", wait=waited.append)

    disk.flush()
    read(disk, 0)

    assert waited == [0.25]


def test_the_same_seed_fails_at_the_same_accesses(faulty):
    def fate(seed):
        disk = faulty("eio p=0.3", seed=seed)
        for _ in range(100):
            try:
                read(disk, 0)
            except OSError:
                continue
        return [event.number for event in disk.events]

    assert fate(4) == fate(4) != fate(5)


def test_what_happened_is_told(faulty):
    disk = faulty("eio access=unmap skip=1")
    disk.unmap(0, 8)
    with pytest.raises(OSError):
        disk.unmap(8, 8)

    [event] = disk.events
    assert (event.number, event.fault, event.access) == (2, DiskFault.EIO, Access.UNMAP)
    assert (event.first, event.sectors) == (8, 8)


def test_settings_of_the_disk_reach_it(faulty):
    disk = faulty()
    disk.read_only = True

    with pytest.raises(OSError):
        disk.write(0, ONES)


@pytest.mark.parametrize("text", ["eio access=look", "burn", "eio sectors=5-1", "eio lba=5"])
def test_what_is_no_rule_is_refused_in_words(text):
    with pytest.raises(OperatorError):
        DiskRule.parse(text)


def test_filling_with_a_block_that_falls_short_ends_between_two_of_them(faulty):
    """A block of a unit may be several sectors; half of one is none."""
    disk = faulty("short access=write")

    with pytest.raises(OSError, match="8 of 24 sectors"):
        disk.write_same(0, 24, ONES * 8)
    assert read(disk, 0, 24) == ONES * 8 + bytes(16 * 512)


def test_a_single_block_has_no_half_either(faulty):
    disk = faulty("short access=write")

    with pytest.raises(OSError):
        disk.write_same(0, 8, ONES * 8)
    assert read(disk, 0, 8) == bytes(8 * 512)


def test_once_calm_nothing_fails_and_nothing_is_counted(faulty):
    disk = faulty("eio")
    with pytest.raises(OSError):
        read(disk, 0)

    disk.calm()

    assert read(disk, 0) == bytes(512)
    assert (disk.to_json()["accesses"], disk.to_json()["struck"]) == (1, 1)


def test_who_waits_goes_on_as_soon_as_it_is_calm(faulty):
    disk = faulty("slow seconds=3600")
    waiting = threading.Thread(target=read, args=(disk, 0))
    waiting.start()

    disk.calm()

    waiting.join(60)
    assert not waiting.is_alive()


def test_who_may_not_wait_does_not(faulty):
    """Its thread is one that others need."""
    waited = []
    disk = faulty("slow", wait=waited.append, may_wait=lambda: False)

    assert read(disk, 0) == bytes(512)
    assert (waited, disk.to_json()["struck"]) == ([], 1)


def test_the_disk_inside_does_not_latch(faulty):
    """A medium that has really failed serves nothing more; this one has not."""
    disk = faulty("eio times=3")
    for touch in (lambda: disk.write(0, ONES), lambda: read(disk, 0), disk.flush):
        with pytest.raises(OSError):
            touch()

    disk.write(0, ONES)
    assert read(disk, 0) == ONES
    assert disk.statistics().failed == ""


def test_it_tells_of_itself_in_json(faulty):
    now = iter([10.0, 11.5])
    disk = faulty("eio access=read sectors=8-15 times=1", seed=7, clock=lambda: next(now))
    read(disk, 0)
    with pytest.raises(OSError):
        read(disk, 8, 2)

    assert json.loads(json.dumps(disk.to_json())) == {
        "seed": 7,
        "rules": [{"fault": "eio", "access": "read", "sectors": [8, 15], "times": 1}],
        "accesses": 2,
        "struck": 1,
        "events": [
            {"at": 1.5, "number": 2, "fault": "eio", "rule": 0, "access": "read", "first": 8, "sectors": 2}
        ],
    }
