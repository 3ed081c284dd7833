"""Looking through the overlay directory, and carrying out what ``sweep`` decided.

Knows files and their locks.  An overlay that somebody owns cannot be removed: its lock is taken first."""

import contextlib
import os
from collections.abc import Callable, Iterable

import attrs

from scsipub.storage.files import own, remove_files
from scsipub.storage.layout import DISPOSABLE, OverlayId, OverlayPaths, Part, parse_file_name
from scsipub.storage.sweep import Found, Known, Plan, Rules, plan

TRASH = "trash"


@attrs.frozen
class Swept:
    """What a sweep did."""

    removed: list[str]
    put_aside: list[str]
    kept: int
    doubts: list[str]
    strangers: list[str]  # names in the directory that are not ours


def look(directory: str, now: float) -> tuple[list[Found], list[str]]:
    """Find overlays and strangers.  ``now`` is in the file system's time: seconds since 1970."""
    youngest: dict[OverlayId, float] = {}
    strangers = []
    entries = [(entry, "t") for entry in os.scandir(directory) if entry.name not in (TRASH, DISPOSABLE)]
    with contextlib.suppress(FileNotFoundError):
        entries += [(entry, "d") for entry in os.scandir(os.path.join(directory, DISPOSABLE))]
    for entry, kind in entries:
        parsed = parse_file_name(entry.name)
        if parsed is None or parsed[0].kind != kind:
            strangers.append(entry.name)
            continue
        with contextlib.suppress(FileNotFoundError):
            written = entry.stat(follow_symlinks=False).st_mtime
            youngest[parsed[0]] = max(written, youngest.get(parsed[0], written))
    found = [Found(id, now - written) for id, written in youngest.items()]
    return sorted(found, key=lambda one: str(one.id)), sorted(strangers)


def sweep(directory: str, known: Callable[[], Known | None], now: float, rules: Rules | None = None) -> Swept:
    """Look, then ask, then sweep: the order is what makes a new overlay safe."""
    rules = rules or Rules()
    found, strangers = look(directory, now)
    return carry_out(directory, plan(found, known(), rules), now, rules, strangers)


def carry_out(
    directory: str, decided: Plan, now: float, rules: Rules, strangers: Iterable[str] = ()
) -> Swept:
    """Remove and put aside what was decided, but for what is locked."""
    removed = [str(id) for id in decided.remove if _remove(OverlayPaths(directory, id))]
    aside = [str(id) for id in decided.put_aside if _put_aside(OverlayPaths(directory, id), directory, now)]
    _empty_trash(directory, now, rules)
    locked = len(decided.remove) + len(decided.put_aside) - len(removed) - len(aside)
    return Swept(removed, aside, decided.kept + locked, decided.doubts, list(strangers))


def _remove(paths: OverlayPaths) -> bool:
    with contextlib.ExitStack() as stack:
        if not _locked(paths, stack):
            return False
        remove_files(paths)
        return True


def _locked(paths: OverlayPaths, stack: contextlib.ExitStack) -> bool:
    """Be the owner while it goes.  No data file: nobody can own it."""
    try:
        fd = os.open(paths.path(Part.DATA), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    stack.callback(os.close, fd)
    try:
        own(fd)
    except BlockingIOError:
        return False
    return True


def _put_aside(paths: OverlayPaths, directory: str, now: float) -> bool:
    trash = os.path.join(directory, TRASH)
    os.makedirs(trash, mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if not _locked(paths, stack):
            return False
        for part in Part:
            with contextlib.suppress(FileNotFoundError):
                path = paths.path(part)
                target = os.path.join(trash, os.path.basename(path))
                os.rename(path, target)
                os.utime(target, (now, now))  # a day from now, not from its last write
        for half in (paths.longer_map, paths.longer_live):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(half)
        return True


def _empty_trash(directory: str, now: float, rules: Rules) -> None:
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(os.path.join(directory, TRASH)):
            if now - entry.stat(follow_symlinks=False).st_mtime >= rules.trash_age:
                os.unlink(entry.path)
