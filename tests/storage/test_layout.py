"""Names and headers of overlay files."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.storage.base import BaseIdentity
from scsipub.storage.layout import (
    HEADER,
    Header,
    OverlayId,
    OverlayPaths,
    OverlayRefused,
    Part,
    bitmap_bytes,
    boot_id,
    parse_file_name,
)

GOOD = Header(131072, BaseIdentity(b"s" * 32, 1 << 26), b"c" * 16, b"b" * 16, 7, "t-abc-0")


@pytest.mark.parametrize("id", [OverlayId("d", "a", 0), OverlayId("t", "0" * 64, 255)])
@pytest.mark.parametrize("part", Part)
def test_a_file_name_says_whose_it_is(id: OverlayId, part: Part) -> None:
    assert parse_file_name(f"{id}.{part.value}") == (id, part)


@pytest.mark.parametrize(
    "name",
    [
        "", "d-a-0", "d-a-0.datax", "d-a-0.data ", "d-a-0.data\n", "x-a-0.data", "d-A-0.data", "d--0.data",
        "d-a-00.data", "d-a--1.data", "d-a-0.data.data", ".data", "d-a-100000.data",
        "d-" + "a" * 65 + "-0.data", "d-\u0661-0.data", "d-a-\u0661.data",
    ],
)  # fmt: skip
def test_other_names_are_nobodys(name: str) -> None:
    """The janitor leaves alone what it cannot read."""
    assert parse_file_name(name) is None


@pytest.mark.parametrize(
    ("kind", "owner", "lun"),
    [("x", "a", 0), ("d", "", 0), ("d", "a-b", 0), ("d", "../x", 0), ("d", "a", -1), ("d", "A", 0)],
)
def test_an_id_that_could_not_be_read_back_cannot_be_made(kind: str, owner: str, lun: int) -> None:
    with pytest.raises(ValueError, match="no overlay id"):
        OverlayId(kind, owner, lun)


@pytest.mark.parametrize(("kind", "folder"), [("t", "/x"), ("d", "/x/disposable")])
def test_paths_lie_in_the_directory_disposable_ones_apart(kind: str, folder: str) -> None:
    paths = OverlayPaths("/x", OverlayId(kind, "a", 3))

    assert [paths.path(part) for part in Part] == [
        f"{folder}/{kind}-a-3.data",
        f"{folder}/{kind}-a-3.live",
        f"{folder}/{kind}-a-3.map",
        f"{folder}/{kind}-a-3.failed",
    ]
    assert paths.boot == boot_id()
    assert len(paths.boot) == 16


@pytest.mark.parametrize("part", [Part.LIVE, Part.MAP])
def test_a_header_is_read_as_it_was_written(part: Part) -> None:
    raw = GOOD.pack(part)

    assert len(raw) == HEADER
    assert Header.unpack(raw, part) == GOOD


def test_one_kind_of_file_is_not_taken_for_the_other() -> None:
    with pytest.raises(OverlayRefused, match="magic"):
        Header.unpack(GOOD.pack(Part.LIVE), Part.MAP)


@given(st.integers(0, HEADER * 8 - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    raw = bytearray(GOOD.pack(Part.LIVE))
    raw[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises(OverlayRefused):
        Header.unpack(bytes(raw), Part.LIVE)


def test_a_later_version_is_refused_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator decides what becomes of it."""
    with monkeypatch.context() as later:
        later.setattr("scsipub.storage.layout.VERSION", 2)
        raw = GOOD.pack(Part.LIVE)
    with pytest.raises(OverlayRefused, match="version 2"):
        Header.unpack(raw, Part.LIVE)


@pytest.mark.parametrize(
    "change", [{"sectors": 1}, {"name": "t-abc-1"}, {"base": BaseIdentity(bytes(32), 1 << 26)}]
)
def test_a_header_of_something_else_does_not_fit(change: dict[str, object]) -> None:
    GOOD.must_fit(Part.LIVE, GOOD.sectors, GOOD.base, GOOD.name)
    other = attrs.evolve(GOOD, **change)
    with pytest.raises(OverlayRefused, match="another"):
        other.must_fit(Part.LIVE, GOOD.sectors, GOOD.base, GOOD.name)


@pytest.mark.parametrize(("sectors", "room"), [(1, 4096), (32768, 4096), (32769, 8192)])
def test_a_bitmap_takes_whole_pages(sectors: int, room: int) -> None:
    assert bitmap_bytes(sectors) == room
