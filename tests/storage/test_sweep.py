"""The janitor's rules, and the broom that keeps to them."""

import os
import pathlib

import pytest

from scsipub.storage import broom
from scsipub.storage.base import Blank
from scsipub.storage.disk import Disk
from scsipub.storage.layout import OverlayId, OverlayPaths
from scsipub.storage.sweep import DAY, HOUR, Found, Known, Rules, plan

OLD, YOUNG = HOUR, HOUR - 1
NOW = 2_000_000_000.0


def disposable(owner: str, age: float = OLD) -> Found:
    return Found(OverlayId("d", owner, 0), age)


def tenant(owner: str, age: float = OLD) -> Found:
    return Found(OverlayId("t", owner, 0), age)


def test_an_orphan_goes_once_it_is_old_enough() -> None:
    """A younger one may be a session's whose row is on the way."""
    decided = plan([disposable("old"), disposable("young", YOUNG)], Known([]), Rules())

    assert decided.remove == [OverlayId("d", "old", 0)]
    assert decided.kept == 1


def test_what_is_known_stays_however_old() -> None:
    decided = plan([disposable("a", 100 * DAY)], Known(["d-a-0"]), Rules())

    assert decided.remove == []
    assert decided.kept == 1


def test_what_has_expired_goes_however_young() -> None:
    """The grace is over: nobody will come back for it."""
    assert plan([disposable("a", 0)], Known([], ["d-a-0"]), Rules()).remove == [OverlayId("d", "a", 0)]


def test_who_is_known_and_expired_stays() -> None:
    """Every doubt keeps the file."""
    assert plan([disposable("a")], Known(["d-a-0"], ["d-a-0"]), Rules()).remove == []


def test_a_clock_that_was_set_back_removes_nothing() -> None:
    assert plan([disposable("a", -5.0)], Known([]), Rules()).remove == []


def test_a_query_that_failed_sweeps_nothing() -> None:
    decided = plan([disposable("a"), tenant("b")], None, Rules())

    assert (decided.remove, decided.put_aside, decided.kept) == ([], [], 2)
    assert decided.doubts


@pytest.mark.parametrize(("orphans", "swept"), [(1, 1), (2, 0)])
def test_a_fifth_of_the_tenants_may_go_and_no_more(orphans: int, swept: int) -> None:
    """One of five is a fifth; two of five mean that the store is wrong."""
    found = [tenant(f"n{n}") for n in range(5)]
    decided = plan(found, Known([f"t-n{n}-0" for n in range(orphans, 5)]), Rules())

    assert len(decided.put_aside) == swept
    assert bool(decided.doubts) == (not swept)


def test_a_store_that_knows_no_tenant_at_all_sweeps_none() -> None:
    decided = plan([tenant("a"), disposable("b")], Known(["d-x-0"]), Rules(tenants_share=1.0))

    assert decided.put_aside == []
    assert decided.remove == [OverlayId("d", "b", 0)]  # disposable ones are no row's business
    assert decided.kept == 1


# -- the broom --------------------------------------------------------------------------------------------


def make(directory: pathlib.Path, id: str, age: float) -> None:
    for suffix in ("data", "live"):
        path = (directory / "disposable" if id[0] == "d" else directory) / f"{id}.{suffix}"
        path.write_bytes(b"x")
        os.utime(path, (NOW - age, NOW - age))


def names(directory: pathlib.Path) -> set[str]:
    """Of the files that are not in the trash."""
    return {path.name for path in directory.rglob("*") if path.is_file() and path.parent.name != "trash"}


def test_the_youngest_file_of_an_overlay_tells_its_age(overlays: pathlib.Path) -> None:
    make(overlays, "d-a-0", 500)
    os.utime(overlays / "disposable" / "d-a-0.live", (NOW - 20, NOW - 20))

    assert broom.look(str(overlays), NOW) == ([Found(OverlayId("d", "a", 0), 20)], [])


def test_strangers_and_what_lies_in_the_wrong_folder_are_told_and_left(overlays: pathlib.Path) -> None:
    odd = ["d-a-0.txt", "x-a-0.data", "d-A-0.data", "d-a-00.data", "notes", "t-a-0.data", "d-b-0.data"]
    for name in odd:
        folder = overlays / "disposable" if name[0] in "dt" and name[2:3] == "a" else overlays
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (0, 0))

    swept = broom.sweep(str(overlays), lambda: Known([]), NOW)

    assert sorted(swept.strangers) == sorted(odd)
    assert names(overlays) == set(odd)


def test_an_owned_overlay_cannot_be_swept(overlays: pathlib.Path, paths: OverlayPaths) -> None:
    """Whatever the store says: whoever holds the lock is alive."""
    disk = Disk(Blank(64), paths)
    disk.write(0, bytes(512))
    known = Known([], [str(paths.id)])

    swept = broom.sweep(str(overlays), lambda: known, NOW)
    assert (swept.removed, swept.kept) == ([], 1)

    disk.close()
    swept = broom.sweep(str(overlays), lambda: known, NOW)
    assert (swept.removed, swept.kept) == ([str(paths.id)], 0)
    assert names(overlays) == set()


def test_bits_without_data_can_go(overlays: pathlib.Path) -> None:
    """Killed in the middle of a removal."""
    make(overlays, "d-a-0", OLD)
    (overlays / "disposable" / "d-a-0.data").unlink()

    assert broom.sweep(str(overlays), lambda: Known([]), NOW).removed == ["d-a-0"]
    assert names(overlays) == set()


def test_a_tenants_overlay_is_put_aside_for_a_day(overlays: pathlib.Path) -> None:
    for n in range(6):
        make(overlays, f"t-n{n}-0", 10 * DAY)
    known = Known([f"t-n{n}-0" for n in range(1, 6)])
    trash = overlays / "trash"

    swept = broom.sweep(str(overlays), lambda: known, NOW)
    assert swept.put_aside == ["t-n0-0"]
    assert set(os.listdir(trash)) == {"t-n0-0.data", "t-n0-0.live"}

    broom.sweep(str(overlays), lambda: known, NOW + DAY - 1)
    assert set(os.listdir(trash)) == {"t-n0-0.data", "t-n0-0.live"}
    broom.sweep(str(overlays), lambda: known, NOW + DAY)
    assert os.listdir(trash) == []
    assert len(names(overlays)) == 5 * 2


def test_the_store_is_asked_after_the_directory_was_read(overlays: pathlib.Path) -> None:
    """Else an overlay made between the two would look like an orphan."""

    def known() -> Known:
        make(overlays, "d-new-0", 10 * DAY)
        return Known([])

    assert broom.sweep(str(overlays), known, NOW).removed == []
    assert "d-new-0.data" in names(overlays)
