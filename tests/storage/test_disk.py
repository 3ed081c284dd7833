"""Disks: what is read where, what a write costs, and that the base never changes."""

import errno
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scsipub.storage.base import SECTOR, Base, Blank
from scsipub.storage.disk import SAME_BYTES, Disk
from scsipub.storage.durable import create_durable
from scsipub.storage.layout import OverlayId, OverlayPaths, Part
from tests.reference.disk import PlainDisk
from tests.storage.conftest import PATTERN

MakeBase = Callable[..., Base]
SECTORS = 67  # neither a multiple of a chunk nor of a byte of bitmap
numbers = iter(range(10**9))


def read(disk: Disk, first: int, count: int) -> bytes:
    """What ``read`` says, after making sure that ``read_now`` says the same if it says anything."""
    slow, quick = bytearray(count * SECTOR), bytearray(b"\xee") * (count * SECTOR)
    disk.read(first, count, memoryview(slow))
    if disk.read_now(first, count, memoryview(quick)):
        assert quick == slow
    return bytes(slow)


def put(disk: Disk, first: int, data: bytes) -> None:
    """Write as a session does: inline if possible, else as a thread would."""
    if not disk.write_now(first, memoryview(data)):
        disk.write(first, memoryview(data))


def outcome(act: Callable[..., None], *arguments: object) -> int:
    """Which error, if any, did it end with?"""
    try:
        act(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.fixture
def blank(paths: OverlayPaths) -> Iterator[Disk]:
    disk = Disk(Blank(SECTORS), paths)
    yield disk
    disk.close()


# -- the slow twin ----------------------------------------------------------------------------------------

odd_places = st.tuples(st.integers(0, SECTORS - 1), st.integers(1, 24)).map(
    lambda pair: (pair[0], min(pair[1], SECTORS - pair[0]))
)
# Whole chunks take shorter ways through the code.
whole_chunks = st.tuples(st.integers(0, 7), st.integers(1, 3)).map(
    lambda pair: (pair[0] * 8, min(pair[1] * 8, SECTORS - 3 - pair[0] * 8))
)
places = st.one_of(odd_places, whole_chunks)
steps = st.lists(
    st.tuples(st.sampled_from(["write", "write", "write_thread", "same", "unmap", "reopen"]), places),
    max_size=14,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps,
    places,
    st.one_of(st.none(), st.integers(0, (SECTORS + 3) * SECTOR)),
    st.sampled_from([2, 5, 100, None]),
)
def test_it_agrees_with_a_dictionary_of_sectors(
    overlays: pathlib.Path,
    make_base: MakeBase,
    steps: list[tuple[str, tuple[int, int]]],
    asked: tuple[int, int],
    base_bytes: int | None,
    budget_chunks: int | None,
) -> None:
    """The quick disk and the plain one hold the same bytes, cost the same, and refuse the same writes.

    Without a budget it is a disk that lasts: it charges otherwise, and holds the same."""
    number = next(numbers)
    lasts = budget_chunks is None
    paths = OverlayPaths(str(overlays), OverlayId("t" if lasts else "d", f"s{number}", 0))
    content = b"" if base_bytes is None else PATTERN[:base_bytes]
    base: Base | Blank = Blank(SECTORS) if base_bytes is None else make_base(content)
    budget = 1 << 30 if budget_chunks is None else budget_chunks * 4096
    plain = PlainDisk(content, SECTORS, budget)
    plain.has_overlay = lasts
    if lasts:
        create_durable(paths, SECTORS, base.identity)

    def open_it() -> Disk:
        if lasts:
            return Disk.open_durable(base, paths, budget, sectors=SECTORS)
        disk = Disk(base, paths, budget, sectors=SECTORS)
        disk.adopt()
        return disk

    disk = open_it()
    try:
        for turn, (what, (first, count)) in enumerate(steps):
            if what == "reopen":
                disk.close()
                disk = open_it()
                plain.reopen()
                continue
            if what == "unmap":
                disk.unmap(first, count)
                plain.unmap(first, count)
            else:
                sector = b"%4d" % turn * 128
                data = sector * count
                if what == "same":
                    happened = outcome(disk.write_same, first, count, sector)
                else:
                    data = b"".join(b"%4d" % n + sector[4:] for n in range(count))
                    happened = outcome(put if what == "write" else Disk.write, disk, first, data)
                assert happened == outcome(plain.write, first, data)
            assert lasts or disk.allocated_bytes == plain.allocated_bytes
        assert read(disk, *asked) == plain.read(*asked)
        assert read(disk, 0, SECTORS) == plain.read(0, SECTORS)
        assert list(disk.mapped_runs(*asked)) == list(plain.mapped_runs(*asked))
    finally:
        disk.destroy()
        base.close()


# -- reading ----------------------------------------------------------------------------------------------


def test_a_disk_nobody_wrote_to_shows_its_base_and_has_no_file(
    paths: OverlayPaths, overlays: pathlib.Path, make_base: MakeBase
) -> None:
    disk = Disk(make_base(), paths)

    assert read(disk, 3, 100) == PATTERN[3 * SECTOR : 103 * SECTOR]
    assert not list(overlays.rglob("*.*"))
    assert not disk.statistics().written


def test_a_cached_read_needs_no_thread(paths: OverlayPaths, make_base: MakeBase) -> None:
    """What lies in the page cache is read inline, from either side and from both."""
    disk = Disk(make_base(), paths)
    disk.write(8, b"x" * 4096)

    for first, count in [(0, 8), (8, 8), (4, 8), (16, 64), (3, 5)]:
        assert disk.read_now(first, count, memoryview(bytearray(count * SECTOR)))


def test_the_end_of_a_base_that_ends_inside_a_sector_is_filled_with_zeros(
    paths: OverlayPaths, make_base: MakeBase
) -> None:
    """R13: beyond the end of the base's file there are zeros."""
    base = make_base(b"a" * 700)
    disk = Disk(base, paths)

    assert base.sectors == 2
    assert read(disk, 0, 2) == b"a" * 700 + bytes(324)
    assert disk.read_now(0, 2, memoryview(bytearray(1024)))


def test_a_disk_longer_than_its_base_ends_in_zeros(paths: OverlayPaths, make_base: MakeBase) -> None:
    disk = Disk(make_base(b"a" * 512), paths, sectors=20)

    assert read(disk, 0, 20) == b"a" * 512 + bytes(19 * SECTOR)
    assert list(disk.mapped_runs(0, 20)) == [(True, 0, 1), (False, 1, 19)]


def test_a_range_beyond_the_end_is_our_mistake_and_touches_nothing(
    blank: Disk, overlays: pathlib.Path
) -> None:
    """R13: the data file is never extended.  The last sector is fine, the one after it is not."""
    blank.write(0, bytes(SECTOR))
    assert not blank.write_now(SECTORS // 8 * 8, memoryview(bytes(4096)))
    blank.write(SECTORS - 1, bytes(SECTOR))
    with pytest.raises(ValueError, match="of a disk of"):
        blank.write(SECTORS, bytes(SECTOR))
    assert not blank.write_now(SECTORS, memoryview(bytes(SECTOR)))

    assert (overlays / "disposable" / "d-session1-0.data").stat().st_size == SECTORS * SECTOR


def test_a_file_system_that_cannot_say_what_is_cached_is_read_inline_all_the_same(
    paths: OverlayPaths, make_base: MakeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EOPNOTSUPP for RWF_NOWAIT: the page cache is asked by other means."""
    real = os.preadv

    def refuse(fd: int, into: tuple[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.EOPNOTSUPP, "injected")
        return real(fd, into, offset)

    monkeypatch.setattr("scsipub.storage.disk._preadv", refuse)
    disk = Disk(make_base(PATTERN[:-100]), paths, sectors=300)
    disk.write(8, b"x" * 4096)
    expected = (PATTERN[:4096] + b"x" * 4096 + PATTERN[8192:-100]).ljust(300 * SECTOR, b"\0")

    for first, count in [(0, 8), (8, 8), (4, 8), (250, 50), (290, 8), (0, 300)]:
        into = memoryview(bytearray(count * SECTOR))
        assert disk.read_now(first, count, into)
        assert into == expected[first * SECTOR : (first + count) * SECTOR]
    monkeypatch.setattr("scsipub.storage.kernel.Residency.resident", lambda *arguments: False)
    assert not disk.read_now(0, 8, memoryview(bytearray(4096)))
    assert not disk.read_now(8, 8, memoryview(bytearray(4096)))
    assert not disk.read_now(4, 8, memoryview(bytearray(4096)))
    disk.destroy()


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EIO])
def test_what_is_not_at_hand_is_left_to_a_thread(
    paths: OverlayPaths, make_base: MakeBase, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Not cached, or a real error: the thread will wait, or tell."""
    disk = Disk(make_base(), paths)
    disk.write(8, b"x" * 4096)

    def refuse(*arguments: object) -> int:
        raise OSError(code, "injected")

    monkeypatch.setattr("scsipub.storage.disk._preadv", refuse)
    for first in (0, 4, 8):
        assert not disk.read_now(first, 8, memoryview(bytearray(4096)))
    disk.destroy()


# -- writing ----------------------------------------------------------------------------------------------


def test_the_first_write_wants_a_thread_the_next_ones_do_not(blank: Disk) -> None:
    """Files are created in a thread; after that, new sectors and old ones are written inline."""
    assert not blank.write_now(0, memoryview(b"a" * 512))
    blank.write(0, b"a" * 512)

    assert blank.write_now(0, memoryview(b"b" * 512))
    assert blank.write_now(1, memoryview(b"c" * 1024))
    assert read(blank, 0, 3) == b"b" * 512 + b"c" * 1024


def test_a_new_sector_written_while_another_thread_has_the_books_open_goes_to_a_thread(blank: Disk) -> None:
    """The event loop never waits for a lock."""
    blank.write(0, b"a" * 512)
    overlay = blank._overlay
    assert overlay is not None
    with overlay.lock:
        assert not blank.write_now(1, memoryview(b"b" * 512))
        assert blank.write_now(0, memoryview(b"c" * 512))  # no bit changes: no books

    assert blank.write_now(1, memoryview(b"b" * 512))


def test_the_base_never_changes(tmp_path: pathlib.Path, paths: OverlayPaths, make_base: MakeBase) -> None:
    """Written, trimmed and destroyed, the base's bytes stay; its descriptor could not write them."""
    base = make_base()
    before = hashlib.sha256(pathlib.Path(base.path).read_bytes()).digest()
    disk = Disk(base, paths)
    disk.write(0, b"x" * 65536)
    disk.unmap(64, 64)
    disk.write_same(130, 100, b"y" * 512)
    disk.destroy()

    assert hashlib.sha256(pathlib.Path(base.path).read_bytes()).digest() == before
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(base.fd, b"x", 0)


def test_a_read_only_disk_refuses_writes_and_trims(make_base: MakeBase) -> None:
    disk = Disk(make_base(), None)

    assert not disk.write_now(0, memoryview(bytes(512)))
    for act in (lambda: disk.write(0, bytes(512)), lambda: disk.unmap(0, 1)):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.EROFS


def test_a_pattern_is_repeated_over_more_than_one_step(paths: OverlayPaths) -> None:
    """WRITE SAME expands in bounded pieces; 4 KiB blocks too."""
    sectors = 2 * SAME_BYTES // SECTOR + 64
    disk = Disk(Blank(sectors), paths)
    disk.write_same(8, sectors - 16, bytes(range(256)) * 16)

    assert read(disk, 8, sectors - 16) == bytes(range(256)) * 16 * ((sectors - 16) // 8)
    assert read(disk, 0, 8) == bytes(4096) == read(disk, sectors - 8, 8)
    with pytest.raises(ValueError, match="cannot be filled"):
        disk.write_same(0, 9, bytes(4096))
    disk.destroy()


# -- the budget -------------------------------------------------------------------------------------------


def test_the_last_chunk_of_the_budget_can_be_written_the_next_cannot(paths: OverlayPaths) -> None:
    """A spent budget says ENOSPC; sectors that have their room stay writable, reads go on."""
    disk = Disk(Blank(64), paths, budget_bytes=2 * 4096)
    disk.write(0, b"a" * 512)
    assert disk.write_now(63, memoryview(b"b" * 512))
    assert disk.allocated_bytes == 2 * 4096

    assert not disk.write_now(30, memoryview(b"c" * 512))
    with pytest.raises(OSError) as caught:
        disk.write(30, b"c" * 512)
    assert caught.value.errno == errno.ENOSPC

    disk.write(0, b"d" * 4096)  # the rest of a chunk that is paid for
    assert disk.write_now(63, memoryview(b"e" * 512))
    assert read(disk, 0, 1) + read(disk, 30, 1) + read(disk, 63, 1) == b"d" * 512 + bytes(512) + b"e" * 512
    assert disk.statistics().failed == ""
    disk.destroy()


def test_a_budget_smaller_than_a_chunk_buys_nothing(paths: OverlayPaths) -> None:
    disk = Disk(Blank(64), paths, budget_bytes=4095)
    with pytest.raises(OSError) as caught:
        disk.write(0, bytes(512))
    assert caught.value.errno == errno.ENOSPC
    disk.destroy()


def test_trimming_gives_budget_and_space_back(paths: OverlayPaths, overlays: pathlib.Path) -> None:
    disk = Disk(Blank(4096), paths, budget_bytes=1 << 20)
    disk.write(0, b"a" * (1 << 20))
    full = (overlays / "disposable" / "d-session1-0.data").stat().st_blocks
    with pytest.raises(OSError):
        disk.write(2048, b"b" * 4096)

    disk.unmap(0, 1024)

    assert disk.allocated_bytes == 1 << 19
    assert (overlays / "disposable" / "d-session1-0.data").stat().st_blocks <= full // 2 + 16
    disk.write(2048, b"b" * 4096)
    disk.destroy()


def test_a_chunk_trimmed_piece_by_piece_is_given_back_with_its_last_piece(
    paths: OverlayPaths, overlays: pathlib.Path
) -> None:
    """The file system frees whole blocks only, so the last piece punches the whole of it."""
    disk = Disk(Blank(64), paths)
    disk.write(0, b"a" * 8192)
    before = (overlays / "disposable" / "d-session1-0.data").stat().st_blocks
    disk.unmap(0, 3)
    disk.unmap(5, 3)
    assert disk.allocated_bytes == 8192

    disk.unmap(3, 2)

    assert disk.allocated_bytes == 4096
    assert (overlays / "disposable" / "d-session1-0.data").stat().st_blocks == before - 8
    assert read(disk, 0, 16) == bytes(4096) + b"a" * 4096
    disk.destroy()


# -- trimming ---------------------------------------------------------------------------------------------


def test_trimmed_sectors_read_as_zeros_and_never_as_the_base(
    paths: OverlayPaths, make_base: MakeBase
) -> None:
    """LBPRZ: what was trimmed reads as zeros, exactly to the sector; also after another process took over."""
    disk = Disk(make_base(), paths)
    disk.unmap(5, 9)
    for _ in range(2):
        assert read(disk, 0, 20) == PATTERN[: 5 * 512] + bytes(9 * 512) + PATTERN[14 * 512 : 20 * 512]
        assert list(disk.mapped_runs(0, 20)) == [(True, 0, 5), (False, 5, 9), (True, 14, 6)]
        disk.close()
        disk = Disk(disk.base, paths)
        assert disk.adopt()
    disk.destroy()


def test_trimming_a_blank_disk_nobody_wrote_to_costs_no_file(blank: Disk, overlays: pathlib.Path) -> None:
    """mkfs trims the whole disk before it writes anything."""
    blank.unmap(0, SECTORS)

    assert not list(overlays.rglob("*.*"))
    assert list(blank.mapped_runs(0, SECTORS)) == [(False, 0, SECTORS)]


def test_a_trimmed_sector_written_again_is_mapped_and_charged_again(blank: Disk) -> None:
    blank.write(0, b"a" * 4096)
    blank.unmap(0, 8)
    assert blank.allocated_bytes == 0

    assert blank.write_now(3, memoryview(b"b" * 512))

    assert blank.allocated_bytes == 4096
    assert list(blank.mapped_runs(0, 8)) == [(False, 0, 3), (True, 3, 1), (False, 4, 4)]
    assert read(blank, 0, 8) == bytes(3 * 512) + b"b" * 512 + bytes(4 * 512)


def test_trimming_nothing_does_nothing(blank: Disk) -> None:
    blank.unmap(SECTORS, 0)


def test_without_holes_in_the_file_system_zeros_are_written(
    paths: OverlayPaths, make_base: MakeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EOPNOTSUPP: the data is gone all the same, but the room is not given back."""

    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no holes here")

    monkeypatch.setattr("scsipub.storage.kernel.punch", refuse)
    disk = Disk(make_base(), paths)
    disk.write(4, b"x" * 8192)

    disk.unmap(0, 64)

    assert read(disk, 0, 65) == bytes(64 * 512) + PATTERN[64 * 512 : 65 * 512]
    assert disk.allocated_bytes == 3 * 4096
    disk.destroy()


# -- owners -----------------------------------------------------------------------------------------------


def test_what_was_written_is_there_for_the_next_owner(paths: OverlayPaths, make_base: MakeBase) -> None:
    """Acknowledged means kept, also when the process died without a word."""
    base = make_base()
    first = Disk(base, paths)
    first.write(3, b"a" * 512)
    assert first.write_now(9, memoryview(b"b" * 1024))
    first.close()

    second = Disk(base, paths)
    assert second.adopt()

    expected = bytearray(PATTERN[: 20 * 512])
    expected[3 * 512 : 4 * 512] = b"a" * 512
    expected[9 * 512 : 11 * 512] = b"b" * 1024
    assert read(second, 0, 20) == bytes(expected)
    assert second.allocated_bytes == 2 * 4096
    second.destroy()


def test_a_closed_disk_answers_nothing(paths: OverlayPaths, make_base: MakeBase) -> None:
    """Least of all the base in place of what was written."""
    disk = Disk(make_base(), paths)
    disk.write(0, b"a" * 512)
    disk.close()

    assert not disk.read_now(0, 1, memoryview(bytearray(512)))
    with pytest.raises(OSError, match="closed"):
        disk.read(0, 1, memoryview(bytearray(512)))
    with pytest.raises(OSError, match="read-only"):
        disk.write(0, bytes(512))


def test_destroying_a_disk_leaves_no_file(paths: OverlayPaths, overlays: pathlib.Path) -> None:
    disk = Disk(Blank(64), paths)
    disk.write(0, bytes(512))
    assert {path.name for path in overlays.rglob("*.*")} == {"d-session1-0.data", "d-session1-0.live"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in overlays.rglob("*.*"))

    disk.destroy()

    assert not list(overlays.rglob("*.*"))
    disk.destroy()  # again is no error


def test_an_io_error_latches(blank: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """R7: after EIO the page cache and the medium may differ: nothing is served any more."""
    blank.write(0, b"a" * 512)
    real = os.pwritev

    def broken(fd: int, data: object, offset: int, flags: int = 0) -> int:
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(os, "pwritev", broken)
    with pytest.raises(OSError, match="injected"):
        blank.write(0, b"b" * 512)
    monkeypatch.setattr(os, "pwritev", real)

    for act in (
        lambda: blank.write(0, bytes(512)),
        lambda: blank.read(0, 1, memoryview(bytearray(512))),
        blank.flush,
    ):
        with pytest.raises(OSError, match="latched") as caught:
            act()
        assert caught.value.errno == errno.EIO
    assert not blank.write_now(0, memoryview(bytes(512)))
    assert not blank.read_now(0, 1, memoryview(bytearray(512)))
    assert "injected" in blank.statistics().failed


def test_a_full_file_system_is_told_apart_from_a_failed_overwrite(
    blank: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC where a sector is new; EIO where it had its room; neither latches, a retry works."""
    blank.write(0, b"a" * 512)
    with monkeypatch.context() as broken:

        def full(fd: int, data: object, offset: int, flags: int = 0) -> int:
            raise OSError(errno.ENOSPC, "injected")

        broken.setattr(os, "pwritev", full)
        with pytest.raises(OSError) as new:
            blank.write(1, b"b" * 512)
        with pytest.raises(OSError) as old:
            blank.write(0, b"b" * 512)
    assert (new.value.errno, old.value.errno) == (errno.ENOSPC, errno.EIO)

    assert read(blank, 0, 2) == b"a" * 512 + bytes(512)
    blank.write(0, b"c" * 1024)
    assert read(blank, 0, 2) == b"c" * 1024


def test_a_write_cut_short_sets_no_bits_until_all_of_it_is_there(
    paths: OverlayPaths, make_base: MakeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """700 bytes arrive, then there is no room: reads still show the base, a retry shows the data."""
    disk = Disk(make_base(), paths)
    disk.write(100, bytes(512))
    real = os.pwritev
    with monkeypatch.context() as broken:
        budget = [700]

        def short(fd: int, data: tuple[memoryview], offset: int, flags: int = 0) -> int:
            if not budget[0]:
                raise OSError(errno.ENOSPC, "injected")
            taken, budget[0] = budget[0], 0
            return real(fd, (data[0][:taken],), offset, flags)

        broken.setattr(os, "pwritev", short)
        with pytest.raises(OSError):
            disk.write(0, memoryview(b"x" * 2048))
    assert read(disk, 0, 4) == PATTERN[:2048]

    disk.write(0, memoryview(b"x" * 2048))
    assert read(disk, 0, 4) == b"x" * 2048
    disk.destroy()


def test_the_bit_file_refusing_keeps_the_bit_out_of_memory_too(
    blank: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next write would find the bit set, skip the file, and be lost with the process."""
    blank.write(0, b"a" * 512)
    overlay = blank._overlay
    assert overlay is not None
    real = os.pwritev
    with monkeypatch.context() as broken:

        def no_bits(fd: int, data: object, offset: int, flags: int = 0) -> int:
            if fd == overlay.live_fd:
                raise OSError(errno.ENOSPC, "injected")
            return real(fd, data, offset, flags)  # type: ignore[arg-type]

        broken.setattr(os, "pwritev", no_bits)
        assert not blank.write_now(1, memoryview(b"b" * 512))
        with pytest.raises(OSError):
            blank.write(1, b"b" * 512)

    assert not overlay.live.all_set(1, 1)
    assert read(blank, 1, 1) == bytes(512)


def test_the_files_are_what_layout_says(paths: OverlayPaths) -> None:
    disk = Disk(Blank(SECTORS), paths)
    disk.write(9, b"a" * 512)

    live = pathlib.Path(paths.path(Part.LIVE)).read_bytes()
    assert len(live) == 3 * 4096
    assert live[4096 : 4096 + 3] == bytes([0, 0b10, 0])
    assert live[8192:] == bytes(4096)
    disk.destroy()
