"""Disks that last: what is there after the process died, and after the power did."""

import errno
import os
import pathlib
import random
import threading
from collections.abc import Callable

import attrs
import pytest

from scsipub.storage.base import SECTOR, Base
from scsipub.storage.disk import Disk
from scsipub.storage.durable import CHUNK_SECTORS, DurableOverlay, create_durable
from scsipub.storage.files import forget_failure
from scsipub.storage.layout import HEADER, OverlayId, OverlayPaths, OverlayRefused, Part
from scsipub.storage.verify import verify_durable
from tests.storage.conftest import BOOT, PATTERN
from tests.storage.volatile import Died, Promises, Volatile, fresh_durable, revive, sectors_of, work

SECTORS = 301  # more than two chunks, and no multiple of anything
OTHER_BOOT = bytes(16)
CONTENT = [PATTERN[n * SECTOR : (n + 1) * SECTOR].ljust(SECTOR, b"\0") for n in range(SECTORS)]
# Shares of data and of map that reached the medium unasked: the worst cases, and the middling ones.
LUCK = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.2, 0.9)]
FILES = (Part.DATA, Part.LIVE, Part.MAP)
MakeBase = Callable[..., Base]


@pytest.fixture
def tenant(overlays: pathlib.Path) -> OverlayPaths:
    return OverlayPaths(str(overlays), OverlayId("t", "tenant1", 0), boot=BOOT)


@pytest.fixture
def disk(make_base: MakeBase, tenant: OverlayPaths) -> Disk:
    return fresh_durable(make_base(), tenant, SECTORS)


def rebooted(paths: OverlayPaths) -> OverlayPaths:
    return attrs.evolve(paths, boot=OTHER_BOOT)


def read(disk: Disk, first: int, count: int) -> bytes:
    into = bytearray(count * SECTOR)
    disk.read(first, count, memoryview(into))
    return bytes(into)


def let_die(medium: Volatile, disk: Disk, seed: int, steps: int) -> Promises:
    promises = Promises(list(CONTENT))
    try:
        work(disk, promises, seed, steps)
    except Died:
        pass
    finally:
        disk.close()
    return promises


# -- the process dies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True])
def test_a_death_of_the_process_at_any_call_loses_nothing_acknowledged(
    make_base: MakeBase, overlays: pathlib.Path, durable: bool
) -> None:
    """Acknowledged is kept; what was under way is old or new, sector by sector; then life goes on."""
    base = make_base()
    for die_at in range(1, 160, 3):
        paths = OverlayPaths(str(overlays), OverlayId("d", f"n{die_at}", 0), boot=BOOT)
        disk = fresh_durable(base, paths, SECTORS) if durable else Disk(base, paths, sectors=SECTORS)
        medium = Volatile(die_at)
        with pytest.MonkeyPatch.context() as patch:
            medium.watch(patch)
            promises = let_die(medium, disk, die_at, 60)

        if durable:
            again = Disk.open_durable(base, paths, sectors=SECTORS)
        else:
            again = Disk(base, paths, sectors=SECTORS)
            again.adopt()
        for sector, content in enumerate(sectors_of(again)):
            assert content in (promises.now[sector], promises.open.get(sector)), f"{die_at=} {sector=}"
        again.destroy()


# -- the power fails --------------------------------------------------------------------------------------


def violations(base: Base, overlays: pathlib.Path, die_at: int, luck: tuple[float, float]) -> list[int]:
    """Work until the power fails, come back, and say which sectors hold what they never may."""
    old = OverlayPaths(str(overlays), OverlayId("t", "old", 0), boot=BOOT)
    new = OverlayPaths(str(overlays.parent / "after"), old.id, boot=OTHER_BOOT)
    os.makedirs(new.directory, exist_ok=True)
    medium = Volatile()
    with pytest.MonkeyPatch.context() as patch:
        medium.watch(patch)
        disk = fresh_durable(base, old, SECTORS)
        medium.die_at = medium.calls + die_at
        promises = let_die(medium, disk, die_at, 60)
        revive(medium, old, new, random.Random(die_at), luck)
        for part in FILES:
            os.unlink(old.path(part))
    again = Disk.open_durable(base, new, sectors=SECTORS)
    wrong = [
        sector
        for sector, content in enumerate(sectors_of(again))
        if content != promises.floor[sector] and content not in promises.since[sector]
    ]
    again.destroy()
    return wrong


@pytest.mark.parametrize("luck", LUCK)
def test_a_power_failure_at_any_call_keeps_what_was_flushed(
    make_base: MakeBase, overlays: pathlib.Path, luck: tuple[float, float]
) -> None:
    """Each sector holds its value at the last flush or FUA write, or one written since."""
    base = make_base()
    for die_at in range(1, 170, 4):
        assert violations(base, overlays, die_at, luck) == [], f"{die_at=}"


@pytest.mark.parametrize("mistake", ["map first", "live bits in the map", "no bits with FUA"])
def test_this_test_sees_the_mistakes_it_is_for(
    make_base: MakeBase, overlays: pathlib.Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    """With the order of the two swapped, or the wrong bits written, a power failure does harm."""
    if mistake == "map first":
        real = DurableOverlay.flush

        def flush(self: DurableOverlay) -> None:
            self._commit_pages({0: bytes(self.bits)})
            real(self)

        monkeypatch.setattr(DurableOverlay, "flush", flush)
    elif mistake == "live bits in the map":

        def commit(self: DurableOverlay, first: int, count: int) -> None:
            self._commit_pages({0: bytes(self.bits)})

        monkeypatch.setattr(DurableOverlay, "_commit_range", commit)
    else:
        monkeypatch.setattr(DurableOverlay, "_commit_range", lambda self, first, count: None)
    base = make_base()

    assert any(violations(base, overlays, die_at, luck) for luck in LUCK for die_at in range(1, 170, 8))


def test_fua_over_a_sector_written_without_it_is_not_forgotten(
    make_base: MakeBase, tenant: OverlayPaths, disk: Disk
) -> None:
    """Its live bit is set already, its bit in the map is not: the map decides what FUA has to write."""
    disk.write(5, b"a" * SECTOR)
    disk.write(5, b"b" * SECTOR, True)
    disk.write(6, b"c" * SECTOR)
    disk.close()

    again = Disk.open_durable(disk.base, rebooted(tenant), sectors=SECTORS)
    assert read(again, 5, 2) == b"b" * SECTOR + CONTENT[6]  # and the neighbour was never promised
    again.destroy()


def test_a_trim_survives_a_flush_and_a_power_failure(tenant: OverlayPaths, disk: Disk) -> None:
    """Zeros, never base bytes."""
    disk.unmap(3, 30)
    disk.flush()
    disk.close()

    again = Disk.open_durable(disk.base, rebooted(tenant), sectors=SECTORS)
    assert read(again, 2, 32) == CONTENT[2] + bytes(30 * SECTOR) + CONTENT[33]
    again.destroy()


# -- flushes ----------------------------------------------------------------------------------------------


def test_a_flush_with_nothing_new_syncs_the_data_only(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwrites need one fdatasync; the first one after opening is fsync, for holes of the past."""
    disk.write(0, b"a" * 4096)
    disk.flush()
    disk.write(0, b"b" * 4096)
    called: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: called.append("fdatasync"))
    monkeypatch.setattr(os, "fsync", lambda fd: called.append("fsync"))

    disk.flush()
    assert called == ["fdatasync"]

    disk.unmap(0, 1)
    disk.flush()
    assert called == ["fdatasync", "fsync"]

    disk.write(20, b"c" * 512)
    disk.flush()
    assert called == ["fdatasync", "fsync", "fdatasync", "fdatasync"]


def test_flushes_that_wait_share_the_next(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group commit: one in flight, and one for all that came meanwhile; none shares one that began before."""
    disk.write(0, b"a" * 512)
    overlay = disk._overlay
    assert isinstance(overlay, DurableOverlay)
    begun, go_on, synced = threading.Event(), threading.Event(), []

    def slow(fd: int) -> None:
        synced.append(fd)
        if len(synced) == 1:
            begun.set()
            assert go_on.wait(20)

    monkeypatch.setattr(os, "fsync", slow)
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(fd) if fd == overlay.data_fd else None)
    first = threading.Thread(target=disk.flush)
    first.start()
    assert begun.wait(20)
    others = [threading.Thread(target=disk.flush) for _ in range(5)]
    for thread in others:
        thread.start()
    while overlay._arrived < 6:
        os.sched_yield()
    go_on.set()
    for thread in [first, *others]:
        thread.join(20)

    assert len(synced) == 2
    disk.close()


@pytest.mark.parametrize("which", ["data", "map"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_flush_that_failed_is_never_taken_back(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, which: str, code: int
) -> None:
    """The kernel may have dropped the pages; the next fsync would say all is well."""
    disk.write(0, b"a" * 512)
    disk.flush()
    disk.write(9, b"a" * 512)
    overlay = disk._overlay
    assert isinstance(overlay, DurableOverlay)
    broken = overlay.data_fd if which == "data" else overlay.map_fd

    def fail(fd: int) -> None:
        if fd == broken:
            raise OSError(code, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError) as caught:
            disk.flush()
        assert caught.value.errno == errno.EIO

    for act in (
        disk.flush,
        lambda: disk.write(0, bytes(512), True),
        lambda: disk.unmap(0, 1),
        lambda: disk.read(0, 1, memoryview(bytearray(512))),
    ):
        with pytest.raises(OSError, match="latched") as caught:
            act()
        assert caught.value.errno == errno.EIO
    assert not disk.read_now(0, 1, memoryview(bytearray(512)))
    assert disk.statistics().failed


def test_a_medium_that_failed_is_refused_by_the_next_owner_until_somebody_has_looked(
    disk: Disk, tenant: OverlayPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R7: the page cache may show what the medium never got; a new process must not serve that either."""
    disk.write(0, b"a" * 512)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="injected"):
            disk.flush()
    disk.close()

    for look in (
        lambda: Disk.open_durable(disk.base, tenant, sectors=SECTORS),
        lambda: verify_durable(tenant, SECTORS, disk.base.identity),
    ):
        with pytest.raises(
            OverlayRefused, match=r"has failed, and nobody has looked at it since: .*injected"
        ):
            look()

    forget_failure(tenant)
    forget_failure(tenant)  # twice does no harm
    again = Disk.open_durable(disk.base, tenant, sectors=SECTORS)
    assert read(again, 0, 1) == b"a" * 512
    again.destroy()
    assert os.listdir(tenant.directory) == ["disposable"]


def test_destroying_removes_what_a_growth_and_a_failure_left(disk: Disk, tenant: OverlayPaths) -> None:
    """A growth that was interrupted leaves a map under another name; nobody would ever sweep it."""
    pathlib.Path(tenant.longer_map).write_bytes(b"half a map")
    pathlib.Path(tenant.path(Part.FAILED)).write_bytes(b"why")

    disk.destroy()

    assert os.listdir(tenant.directory) == ["disposable"]


def test_a_failed_fua_write_latches(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.write(0, b"a" * 512)
    real = os.pwritev

    def fail(fd: int, data: tuple[bytes], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.ENOSPC, "injected")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwritev", fail)
    with pytest.raises(OSError) as caught:
        disk.write(0, b"b" * 512, True)
    assert caught.value.errno == errno.EIO
    with pytest.raises(OSError, match="latched"):
        disk.flush()


def test_a_flush_among_writers_covers_what_was_acknowledged_before_it(
    disk: Disk, tenant: OverlayPaths, overlays: pathlib.Path
) -> None:
    """Power fails right after its GOOD, and nothing that was not synced reached the medium."""
    medium = Volatile()
    done = [0] * 4
    stop = threading.Event()

    def writer(n: int) -> None:
        choice = random.Random(n)
        turn = 0
        while not stop.is_set():
            turn += 1
            sector = choice.randrange(70) * 4 + n
            disk.write(sector, b"%6d" % turn + bytes(506), choice.random() < 0.1)
            last[sector] = turn
            done[n] = turn

    after = OverlayPaths(str(overlays.parent / "after"), tenant.id, boot=OTHER_BOOT)
    os.mkdir(after.directory)
    last: dict[int, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        medium.watch(patch)
        for part in (Part.DATA, Part.MAP):  # as created: all of it is on the medium
            medium.synced[tenant.path(part)] = bytearray(pathlib.Path(tenant.path(part)).read_bytes())
        threads = [threading.Thread(target=writer, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(12):
                before, goal = list(done), dict(last)
                disk.flush()
                for part in (Part.DATA, Part.MAP):
                    pathlib.Path(after.path(part)).write_bytes(medium.synced[tenant.path(part)])
                again = Disk.open_durable(disk.base, after, sectors=SECTORS)
                now = sectors_of(again)
                again.destroy()
                assert [n for n, turn in goal.items() if int(now[n][:6]) < turn] == [], before
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert min(done) > 0
    disk.destroy()


# -- opening ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [Part.DATA, Part.MAP])
def test_a_missing_file_takes_the_disk_offline(disk: Disk, tenant: OverlayPaths, part: Part) -> None:
    """Never a fresh one: the base alone would look as if the tenant had written nothing."""
    disk.close()
    os.unlink(tenant.path(part))

    with pytest.raises(OverlayRefused, match="missing") as caught:
        Disk.open_durable(disk.base, tenant, sectors=SECTORS)
    assert caught.value.errno == errno.EIO


def test_a_missing_or_damaged_live_file_leaves_the_map(disk: Disk, tenant: OverlayPaths) -> None:
    """What was flushed is there."""
    disk.write(1, b"a" * 512)
    disk.flush()
    disk.write(2, b"b" * 512)
    for damage in (b"", bytes(20000), b"garbage"):
        disk.close()
        pathlib.Path(tenant.path(Part.LIVE)).write_bytes(damage)
        disk = Disk.open_durable(disk.base, tenant, sectors=SECTORS)
        assert read(disk, 1, 2) == b"a" * 512 + CONTENT[2]
    disk.destroy()


def test_the_live_file_of_another_disk_does_not_count(
    disk: Disk, tenant: OverlayPaths, overlays: pathlib.Path
) -> None:
    """Same name, same boot, but of an overlay that was destroyed and made anew."""
    disk.write(1, b"a" * 512)
    stale = pathlib.Path(tenant.path(Part.LIVE)).read_bytes()
    disk.destroy()
    disk = fresh_durable(disk.base, tenant, SECTORS)
    disk.close()
    pathlib.Path(tenant.path(Part.LIVE)).write_bytes(stale)

    again = Disk.open_durable(disk.base, tenant, sectors=SECTORS)
    assert read(again, 1, 1) == CONTENT[1]
    again.destroy()


@pytest.mark.parametrize("at", [0, 20, 200, HEADER - 1])
def test_a_damaged_map_header_is_refused(disk: Disk, tenant: OverlayPaths, at: int) -> None:
    disk.close()
    with open(tenant.path(Part.MAP), "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))

    with pytest.raises(OverlayRefused, match="damaged"):
        Disk.open_durable(disk.base, tenant, sectors=SECTORS)


def test_another_base_another_length_or_another_name_are_refused(
    disk: Disk, tenant: OverlayPaths, make_base: MakeBase, overlays: pathlib.Path
) -> None:
    """Over another base it would silently be garbage."""
    disk.close()
    with pytest.raises(OverlayRefused, match="another base"):
        Disk.open_durable(make_base(PATTERN + b"x"), tenant, sectors=SECTORS)
    with pytest.raises(OverlayRefused, match="another length"):
        Disk.open_durable(disk.base, tenant, sectors=SECTORS + 1)
    other = OverlayPaths(str(overlays), OverlayId("t", "tenant2", 0), boot=BOOT)
    for part in FILES:
        os.rename(tenant.path(part), other.path(part))
    with pytest.raises(OverlayRefused, match="another name"):
        Disk.open_durable(disk.base, other, sectors=SECTORS)


@pytest.mark.parametrize("part", [Part.DATA, Part.MAP])
def test_files_of_the_wrong_length_are_refused(disk: Disk, tenant: OverlayPaths, part: Part) -> None:
    disk.close()
    os.truncate(tenant.path(part), os.path.getsize(tenant.path(part)) - 512)
    with pytest.raises(OverlayRefused, match="wrong length"):
        Disk.open_durable(disk.base, tenant, sectors=SECTORS)


def test_an_owner_keeps_others_out_until_it_is_gone(disk: Disk, tenant: OverlayPaths) -> None:
    """The lock on the data file (flock)."""
    with pytest.raises(BlockingIOError):
        Disk.open_durable(disk.base, tenant, sectors=SECTORS)

    disk.close()
    Disk.open_durable(disk.base, tenant, sectors=SECTORS).destroy()


def test_files_that_are_there_are_not_made_again(disk: Disk, tenant: OverlayPaths) -> None:
    """R2: a reset makes new files under a new name; nothing is ever overwritten."""
    disk.write(1, b"a" * 512)
    with pytest.raises(FileExistsError):
        create_durable(tenant, SECTORS, disk.base.identity)
    assert read(disk, 1, 1) == b"a" * 512


def test_destroying_removes_all_files(disk: Disk, overlays: pathlib.Path) -> None:
    assert len(list(overlays.rglob("*.*"))) == 3
    disk.destroy()
    assert not list(overlays.rglob("*.*"))


# -- room -------------------------------------------------------------------------------------------------


def test_room_is_set_aside_before_the_first_write_of_a_chunk(disk: Disk, tenant: OverlayPaths) -> None:
    """R9: and charged by the chunk; the next writes into it are inline."""
    assert not disk.write_now(0, memoryview(bytes(512)))  # fallocate may wait
    disk.write(0, b"a" * 512)

    assert os.stat(tenant.path(Part.DATA)).st_blocks * 512 >= CHUNK_SECTORS * SECTOR
    assert disk.allocated_bytes == CHUNK_SECTORS * SECTOR
    assert disk.write_now(CHUNK_SECTORS - 1, memoryview(b"b" * 512))
    assert not disk.write_now(CHUNK_SECTORS, memoryview(b"c" * 512))


def test_a_chunk_that_was_cut_off_by_the_end_gets_its_room_anew_when_the_disk_is_longer(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R9: what was set aside for it ended where the disk did."""
    last = SECTORS // CHUNK_SECTORS * CHUNK_SECTORS
    disk.write(SECTORS - 1, b"a" * 512)
    disk.grow(SECTORS + 40, disk.base)
    disk.grown(SECTORS + 40, disk.base)
    asked = []
    monkeypatch.setattr(
        "scsipub.storage.kernel.reserve", lambda fd, offset, size: asked.append((offset, size))
    )

    assert not disk.write_now(SECTORS, memoryview(b"b" * 512))
    disk.write(SECTORS, b"b" * 512)

    assert asked == [(last * SECTOR, (SECTORS + 40 - last) * SECTOR)]


def test_a_file_system_without_room_says_so_before_anything_is_written(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "injected")

    with monkeypatch.context() as patch:
        patch.setattr("scsipub.storage.kernel.reserve", full)
        with pytest.raises(OSError) as caught:
            disk.write(0, b"a" * 512)
        assert caught.value.errno == errno.ENOSPC
        assert disk.allocated_bytes == 0

    disk.write(0, b"a" * 512)
    assert read(disk, 0, 1) == b"a" * 512


def test_a_trimmed_sector_gets_its_room_anew(disk: Disk) -> None:
    """The hole it left could meet a full file system after the acknowledgement."""
    disk.write(0, b"a" * 4096)
    disk.unmap(0, 8)

    assert not disk.write_now(0, memoryview(b"b" * 4096))
    disk.write(0, b"b" * 4096)
    assert disk.write_now(0, memoryview(b"c" * 4096))


def test_the_budget_is_counted_again_after_the_owner_died(make_base: MakeBase, tenant: OverlayPaths) -> None:
    chunk = CHUNK_SECTORS * SECTOR
    base = make_base()
    create_durable(tenant, SECTORS, base.identity)
    disk = Disk.open_durable(base, tenant, 2 * chunk, sectors=SECTORS)
    disk.write(5, bytes(512))
    disk.write(SECTORS - 1, bytes(512))
    disk.close()

    again = Disk.open_durable(base, tenant, 2 * chunk, sectors=SECTORS)
    assert again.allocated_bytes == 2 * chunk
    with pytest.raises(OSError) as caught:
        again.write(CHUNK_SECTORS, bytes(512))
    assert caught.value.errno == errno.ENOSPC
    again.write(5, b"x" * 512)
    again.unmap(0, CHUNK_SECTORS)
    assert again.allocated_bytes == chunk
    again.write(CHUNK_SECTORS, bytes(512))
    again.destroy()
