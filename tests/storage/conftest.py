"""Disks and bases for the tests of the storage room."""

import pathlib
from collections.abc import Callable

import pytest

from scsipub.storage.base import Base
from scsipub.storage.layout import OverlayId, OverlayPaths

BOOT = bytes(range(16))
PATTERN = b"".join(b"base %07d\n" % n + bytes([n % 251]) * 499 for n in range(256))


@pytest.fixture
def overlays(tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory for overlay files."""
    directory = tmp_path / "overlays"
    (directory / "disposable").mkdir(mode=0o700, parents=True)
    return directory


@pytest.fixture
def paths(overlays: pathlib.Path) -> OverlayPaths:
    """Where one disposable disk keeps its files."""
    return OverlayPaths(str(overlays), OverlayId("d", "session1", 0), boot=BOOT)


@pytest.fixture
def make_base(tmp_path: pathlib.Path) -> Callable[[bytes], Base]:
    """Make a base of these bytes."""

    def make(content: bytes = PATTERN) -> Base:
        path = tmp_path / f"base{len(list(tmp_path.iterdir()))}.img"
        path.write_bytes(content)
        path.chmod(0o444)
        return Base.open(path)

    return make
