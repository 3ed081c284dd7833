"""Overlays: who owns them, what may be taken over, and that threads do not lose each other's bits."""

import errno
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import threading

import attrs
import pytest

from scsipub.storage.base import SECTOR, BaseIdentity, Blank
from scsipub.storage.disk import Disk
from scsipub.storage.layout import HEADER, OverlayId, OverlayPaths, OverlayRefused, Part
from scsipub.storage.overlay import Overlay

SECTORS = 640
BASE = Blank(SECTORS).identity


@pytest.fixture
def left(paths: OverlayPaths) -> OverlayPaths:
    """Files of an owner that died."""
    disk = Disk(Blank(SECTORS), paths)
    disk.write(8, b"a" * 4096)
    disk.close()
    return paths


def adopt(paths: OverlayPaths, sectors: int = SECTORS, base: BaseIdentity = BASE) -> Overlay | None:
    return Overlay.open(paths, sectors, base, 1 << 30)


def test_nothing_to_adopt_is_no_error(paths: OverlayPaths) -> None:
    assert adopt(paths) is None


def test_a_living_owner_is_not_robbed(paths: OverlayPaths) -> None:
    """The lock is held until the last thread of the owner is gone."""
    disk = Disk(Blank(SECTORS), paths)
    disk.write(0, bytes(512))

    with pytest.raises(BlockingIOError):
        adopt(paths)
    disk.close()
    assert adopt(paths) is not None


def test_files_from_before_the_last_boot_are_thrown_away(left: OverlayPaths, overlays: pathlib.Path) -> None:
    """Nobody promised them a life after the machine's, and half of them may be missing."""
    assert adopt(attrs.evolve(left, boot=bytes(16))) is None
    assert not list(overlays.rglob("*.*"))


@pytest.mark.parametrize("damage", ["no live file", "no header yet", "an empty file"])
def test_a_creation_that_was_killed_left_nothing_acknowledged(
    left: OverlayPaths, overlays: pathlib.Path, damage: str
) -> None:
    """The header is written before the first acknowledgement: without one the disk starts afresh."""
    live = pathlib.Path(left.path(Part.LIVE))
    if damage == "no live file":
        live.unlink()
    elif damage == "no header yet":
        live.write_bytes(bytes(live.stat().st_size))
    else:
        live.write_bytes(b"")

    assert adopt(left) is None
    assert not list(overlays.rglob("*.*"))


def test_what_belongs_to_another_disk_is_refused_and_kept(left: OverlayPaths, overlays: pathlib.Path) -> None:
    """A wrong base would silently corrupt; the operator may want the files."""
    before = {path.name: path.read_bytes() for path in overlays.rglob("*.*")}
    with pytest.raises(OverlayRefused, match="another base"):
        adopt(left, base=BaseIdentity(b"\1" * 32, BASE.length))
    with pytest.raises(OverlayRefused, match="another length"):
        adopt(left, sectors=SECTORS - 1)
    other = attrs.evolve(left, id=OverlayId("d", "other", 0))
    for part in (Part.DATA, Part.LIVE):
        os.link(left.path(part), other.path(part))
    with pytest.raises(OverlayRefused, match="another name"):
        adopt(other)
    assert before.items() <= {path.name: path.read_bytes() for path in overlays.rglob("*.*")}.items()


@pytest.mark.parametrize("at", [0, 9, 100, HEADER - 1])
def test_a_damaged_header_is_refused(left: OverlayPaths, at: int) -> None:
    with open(left.path(Part.LIVE), "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x80]))

    with pytest.raises(OverlayRefused, match="damaged"):
        adopt(left)


@pytest.mark.parametrize(("part", "why"), [(Part.DATA, "wrong length"), (Part.LIVE, "wrong length")])
def test_files_cut_short_are_refused(left: OverlayPaths, part: Part, why: str) -> None:
    os.truncate(left.path(part), HEADER + 10)
    with pytest.raises(OverlayRefused, match=why):
        adopt(left)


def test_a_symbolic_link_is_not_followed(paths: OverlayPaths, tmp_path: pathlib.Path) -> None:
    """Somebody else's file under our name stays as it is."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.symlink(victim, paths.path(Part.DATA))

    with pytest.raises(FileExistsError):
        Disk(Blank(8), paths).write(0, bytes(512))
    with pytest.raises(OSError):
        adopt(paths)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE], ids=errno.errorcode.get
)
def test_what_a_file_system_refuses_for_a_while_is_well_when_it_is_over(
    paths: OverlayPaths, overlays: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Full (of bytes, of inodes), over its quota, mounted for reading, no descriptors: nothing latches and
    nothing is left; the base can be read all the while, and the next write needs no restart."""
    disk = Disk(Blank(SECTORS), paths)
    into = memoryview(bytearray(SECTOR))
    with monkeypatch.context() as patch:

        def refuses(path: object, flags: int, *more: object, **how: object) -> int:
            if flags & os.O_CREAT:
                raise OSError(number, "injected")
            return real(path, flags, *more, **how)  # type: ignore[arg-type]

        real = os.open
        patch.setattr(os, "open", refuses)
        for _ in range(2):
            with pytest.raises(OSError, match="injected") as refused:
                disk.write(0, b"w" * SECTOR)
            assert refused.value.errno == number
        disk.read(0, 1, into)
        assert bytes(into) == bytes(SECTOR)
    assert not list(overlays.rglob("*.*"))

    disk.write(0, b"w" * SECTOR)

    disk.read(0, 1, into)
    assert bytes(into) == b"w" * SECTOR
    disk.destroy()


def test_a_creation_that_fails_leaves_nothing(
    paths: OverlayPaths, overlays: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system was full; the next write tries again."""
    disk = Disk(Blank(SECTORS), paths)
    with monkeypatch.context() as patch:

        def full(fd: int, length: int) -> None:
            raise OSError(28, "injected")

        patch.setattr(os, "ftruncate", full)
        with pytest.raises(OSError, match="injected"):
            disk.write(0, bytes(512))
    assert not list(overlays.rglob("*.*"))
    disk.write(0, bytes(512))
    disk.destroy()


def test_bits_whose_data_is_gone_do_not_stand_in_the_way(left: OverlayPaths) -> None:
    """Killed in the middle of a removal: the next disk of that name starts afresh."""
    os.unlink(left.path(Part.DATA))
    disk = Disk(Blank(SECTORS), left)
    assert not disk.adopt()
    disk.write(0, b"b" * 512)

    assert contents(disk) == [b"b" * 512, *[bytes(SECTOR)] * (SECTORS - 1)]
    disk.destroy()


def test_the_first_writes_of_many_threads_make_one_overlay(paths: OverlayPaths) -> None:
    disk = Disk(Blank(SECTORS), paths)
    start = threading.Barrier(8)

    def first_write(n: int) -> None:
        start.wait()
        disk.write(n, bytes([n]) * SECTOR)

    run([threading.Thread(target=first_write, args=(n,)) for n in range(8)])

    assert contents(disk)[:8] == [bytes([n]) * SECTOR for n in range(8)]
    disk.destroy()


def test_threads_do_not_lose_each_others_bits(paths: OverlayPaths) -> None:
    """Neighbours share bytes of the bitmap, chunks of the budget, and blocks of the file.

    Each thread owns every fifth sector, writes and trims it in any order; in the end all is as each left it,
    in memory and for the next owner."""
    disk = Disk(Blank(SECTORS), paths)
    disk.write(0, bytes(SECTOR))
    finals: dict[int, bytes] = {}

    def one(n: int) -> None:
        choice = random.Random(n)
        for turn in range(400):
            sector = choice.randrange(SECTORS // 5) * 5 + n
            if choice.random() < 0.25:
                disk.unmap(sector, 1)
                finals[sector] = bytes(SECTOR)
            else:
                data = (b"%3d %5d" % (n, turn)).ljust(SECTOR, b".")
                if choice.random() < 0.5 or not disk.write_now(sector, data):
                    disk.write(sector, data)
                finals[sector] = data

    run([threading.Thread(target=one, args=(n,)) for n in range(5)])

    expected = [finals.get(sector, bytes(SECTOR)) for sector in range(SECTORS)]
    assert contents(disk) == expected
    mapped = {sector for sector, data in finals.items() if data.strip(b"\0")}
    assert {n for is_mapped, first, count in disk.mapped_runs(1, SECTORS - 1) if is_mapped
            for n in range(first, first + count)} == mapped - {0}  # fmt: skip
    disk.close()
    again = Disk(Blank(SECTORS), paths)
    assert again.adopt()
    assert contents(again) == expected
    assert list(again.mapped_runs(0, SECTORS)) == list(disk.mapped_runs(0, SECTORS))
    again.destroy()


def test_a_killed_process_keeps_every_acknowledged_write(paths: OverlayPaths, overlays: pathlib.Path) -> None:
    """For once with a real SIGKILL: the child tells each write it was promised; all of them are there."""
    program = textwrap.dedent(
        """
        import random, sys
        from scsipub.storage.base import Blank
        from scsipub.storage.disk import Disk
        from scsipub.storage.layout import OverlayId, OverlayPaths
        disk = Disk(Blank(640), OverlayPaths(sys.argv[1], OverlayId("d", "session1", 0)))
        choice = random.Random(1)
        for turn in range(10**9):
            sector = choice.randrange(640)
            data = (b"%9d" % turn).ljust(512, b"x")
            if not disk.write_now(sector, data):
                disk.write(sector, data)
            sys.stdout.write(f"{sector} {turn}\\n")
            sys.stdout.flush()
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(overlays)],
        stdout=subprocess.PIPE,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert child.stdout is not None
    acknowledged: dict[int, int] = {}
    for n, line in enumerate(child.stdout):
        sector, turn = map(int, line.split())
        acknowledged[sector] = turn
        if n == 1500:
            child.send_signal(signal.SIGKILL)
    child.wait()

    disk = Disk(Blank(SECTORS), OverlayPaths(str(overlays), paths.id))
    assert disk.adopt()
    now = contents(disk)
    wrong = [n for n, turn in acknowledged.items() if int(now[n][:9]) < turn]
    assert wrong == []
    disk.destroy()


def test_a_disk_of_many_terabytes_is_as_cheap_as_what_was_written(paths: OverlayPaths) -> None:
    """The bitmap of 8 TiB has 2 GiB; the first write must not make room for them."""
    sectors = 8 << 31
    base = Blank(sectors)
    disk = Disk(base, paths)
    disk.write(sectors - 1, b"x" * 512)
    assert disk.write_now(1 << 33, memoryview(b"y" * 4096))
    disk.unmap((1 << 33) + 1, 1)

    assert disk.allocated_bytes == 8192
    assert list(disk.mapped_runs(sectors - 2, 2)) == [(False, sectors - 2, 1), (True, sectors - 1, 1)]
    assert os.stat(paths.path(Part.LIVE)).st_blocks * 512 < 1 << 20
    disk.destroy()


def test_a_large_disk_is_taken_over(paths: OverlayPaths) -> None:
    sectors = 1 << 28
    disk = Disk(Blank(sectors), paths)
    disk.write(sectors - 8, b"x" * 4096)
    disk.write(77, b"y" * 512)
    disk.unmap(sectors - 8, 8)
    disk.close()

    again = Disk(Blank(sectors), paths)
    assert again.adopt()
    assert again.allocated_bytes == 4096
    assert list(again.mapped_runs(0, 100)) == [(False, 0, 77), (True, 77, 1), (False, 78, 22)]
    again.destroy()


def contents(disk: Disk) -> list[bytes]:
    into = bytearray(disk.sectors * SECTOR)
    disk.read(0, disk.sectors, memoryview(into))
    return [bytes(into[n : n + SECTOR]) for n in range(0, len(into), SECTOR)]


def run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
