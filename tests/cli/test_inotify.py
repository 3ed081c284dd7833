"""scsipub/cli/inotify.py"""

import contextlib
import os

import pytest

from scsipub.cli.inotify import Watch


@pytest.fixture
def watch(tmp_path):
    with contextlib.closing(Watch()) as found:
        assert found.add([tmp_path])
        yield found


def test_nothing_happens_for_so_long_and_no_longer(watch):
    assert not watch.wait(0.01)


@pytest.mark.parametrize(
    "change",
    [
        lambda place: (place / "new").write_text("x"),
        lambda place: (place / "folder").mkdir(),
        lambda place: os.replace(place / "old", place / "older"),
        lambda place: (place / "old").unlink(),
    ],
    ids=["a file", "a directory", "a name", "a removal"],
)
def test_changes_are_told_once(tmp_path, change):
    (tmp_path / "old").touch()
    with contextlib.closing(Watch()) as watch:
        watch.add([tmp_path])
        change(tmp_path)

        assert watch.wait(10)
        assert not watch.wait(0.01)


def test_what_is_read_is_no_change(watch, tmp_path):
    list(tmp_path.iterdir())

    assert not watch.wait(0.01)


def test_what_is_not_there_is_passed_over(watch, tmp_path):
    assert watch.add([tmp_path / "absent", tmp_path])


def test_what_cannot_be_watched_is_said(watch, tmp_path, monkeypatch):
    """inotify(7): ENOSPC when a user has as many watches as one may have."""
    import ctypes
    import errno

    from scsipub.cli import inotify

    class Full:
        @staticmethod
        def inotify_add_watch(*_):
            ctypes.set_errno(errno.ENOSPC)
            return -1

    monkeypatch.setattr(inotify, "_libc", Full)
    assert not watch.add([tmp_path])
