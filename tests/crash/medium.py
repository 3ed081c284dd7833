"""A disk with a volatile cache: what it was told, in order, and what may be left of it at any moment.

``Recorder`` stands between the storage room and the kernel.  The real calls are made as well, so that the
code under test finds its files; each call that changes something is written down.  ``Medium`` plays the list
again and knows, before each entry, what is on the medium for certain and what may or may not be:

* a sector holds its last synced contents or any later; sectors of one write go apart, each as a whole;
* a hole is settled by ``fsync`` only: ``fdatasync`` need not wait for a change of the file's map;
* a length is old or new until the file is synced;
* a name that was made, moved or removed is so, or not yet, until its directory is synced."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from scsipub.storage import disk as disk_module
from scsipub.storage import kernel
from scsipub.storage.base import SECTOR

ABSENT = -1


@attrs.frozen
class Entry:
    """One call.  ``kind``: create write hole length sync datasync rename unlink dirsync mark."""

    kind: str
    file: int = 0  # which file: they are numbered as they are made
    name: str = ""
    sectors: tuple[tuple[int, bytes], ...] = ()
    length: int = 0
    through: bool = False  # RWF_DSYNC
    mark: Any = None  # what the client was told


@attrs.define
class Recorder:
    """Writes down.  One directory, without folders in it."""

    directory: str
    log: list[Entry] = attrs.field(factory=list)
    files: dict[str, int] = attrs.field(factory=dict)  # by name
    reserved: dict[int, set[int]] = attrs.field(factory=dict)  # sectors with room, by file
    findings: list[str] = attrs.field(factory=list)
    made: int = 0

    def mark(self, *told: Any) -> None:
        self.log.append(Entry("mark", mark=told))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        undo: list[tuple[Any, str, Any]] = []

        def put(where: Any, name: str, how: Callable[..., Any]) -> None:
            undo.append((where, name, getattr(where, name)))
            setattr(where, name, how)

        self._watch(put)
        try:
            yield
        finally:
            for where, name, value in reversed(undo):
                setattr(where, name, value)

    def _watch(self, put: Callable[[Any, str, Callable[..., Any]], None]) -> None:
        real = {name: getattr(os, name) for name in ("open", "pwritev", "ftruncate", "unlink", "replace")}
        real_punch, real_reserve = kernel.punch, kernel.reserve

        def opened(path: Any, flags: int, mode: int = 0o777, **how: Any) -> int:
            inside = os.path.dirname(path) == self.directory
            new = inside and flags & os.O_CREAT and not os.path.exists(path)
            fd: int = real["open"](path, flags, mode, **how)
            if new:
                self.made += 1
                self.files[os.path.basename(path)] = self.made
                self.log.append(Entry("create", self.made, os.path.basename(path)))
            elif inside and flags & os.O_TRUNC:
                self.log.append(Entry("length", self.files[os.path.basename(path)], length=0))
            return fd

        def pwritev(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
            done: int = real["pwritev"](fd, buffers, offset)
            file = self.file(fd)
            if file:
                self._must_have_room(fd, file, offset, done)
                through = bool(flags & os.RWF_DSYNC)
                self.log.append(Entry("write", file, sectors=_now(fd, offset, done), through=through))
            return done

        def punch(fd: int, offset: int, length: int) -> None:
            real_punch(fd, offset, length)
            file = self.file(fd)
            self.reserved.setdefault(file, set()).difference_update(_sectors(offset, length))
            self.log.append(Entry("hole", file, sectors=_now(fd, offset, length)))

        def reserve(fd: int, offset: int, length: int) -> None:
            self.reserved.setdefault(self.file(fd), set()).update(_sectors(offset, length))
            real_reserve(fd, offset, length)

        def ftruncate(fd: int, length: int) -> None:
            real["ftruncate"](fd, length)
            self.log.append(Entry("length", self.file(fd), length=length))

        def unlink(path: Any, **how: Any) -> None:
            real["unlink"](path, **how)
            if os.path.dirname(path) == self.directory:
                name = os.path.basename(path)
                self.log.append(Entry("unlink", self.files.pop(name), name))

        def replace(old: Any, new: Any, **how: Any) -> None:
            real["replace"](old, new, **how)
            file = self.files.pop(os.path.basename(old))
            self.files[os.path.basename(new)] = file
            self.log.append(Entry("rename", file, os.path.basename(new)))

        def sync(kind: str) -> Callable[[int], None]:
            def synced(fd: int) -> None:
                if os.path.realpath(f"/proc/self/fd/{fd}") == self.directory:
                    self.log.append(Entry("dirsync"))
                else:
                    self.log.append(Entry(kind, self.file(fd)))

            return synced

        put(os, "open", opened)
        put(os, "pwritev", pwritev)
        put(disk_module, "_pwrite", lambda fd, data, offset: pwritev(fd, (data,), offset))
        put(os, "ftruncate", ftruncate)
        put(os, "unlink", unlink)
        put(os, "replace", replace)
        put(os, "rename", replace)
        put(os, "fsync", sync("sync"))
        put(os, "fdatasync", sync("datasync"))
        put(kernel, "punch", punch)
        put(kernel, "reserve", reserve)

    def file(self, fd: int) -> int:
        """Which one it is; 0 for what is not ours."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        return self.files.get(os.path.basename(path), 0) if os.path.dirname(path) == self.directory else 0

    def _must_have_room(self, fd: int, file: int, offset: int, length: int) -> None:
        """R9: before data is acknowledged, its room is set aside; what was written has it."""
        if not os.readlink(f"/proc/self/fd/{fd}").endswith(".data"):
            return
        missing = set(_sectors(offset, length)) - self.reserved.get(file, set())
        if missing:
            self.findings.append(f"R9: sector {min(missing)} is written before it has room")


def _sectors(offset: int, length: int) -> range:
    return range(offset // SECTOR, -(-(offset + length) // SECTOR))


def _now(fd: int, offset: int, length: int) -> tuple[tuple[int, bytes], ...]:
    return tuple(
        (sector, os.pread(fd, SECTOR, sector * SECTOR).ljust(SECTOR, b"\0"))
        for sector in _sectors(offset, length)
    )


# What a choice is about: ("sector", file, number), ("length", file), ("name", name).
Key = tuple[str, int | str, int]


@attrs.define
class Choice:
    """One thing of which it is not certain how it is."""

    key: Key
    versions: list[tuple[int, Any]]  # (entry it came from, value): the first is certain to be at least


@attrs.define
class Medium:
    """The list, played entry by entry."""

    certain: dict[Key, tuple[int, Any]] = attrs.field(factory=dict)
    pending: dict[Key, list[tuple[int, Any, bool]]] = attrs.field(factory=dict)  # …, by fsync only
    at: int = 0

    def play(self, entry: Entry) -> None:
        self.at += 1
        match entry.kind:
            case "create" | "rename":
                if entry.kind == "rename":
                    for key in [key for key, _ in self.names() if self.last(key) == entry.file]:
                        self.may_be(key, ABSENT)
                self.may_be(("name", entry.name, 0), entry.file)
            case "unlink":
                self.may_be(("name", entry.name, 0), ABSENT)
            case "length":
                self.may_be(("length", entry.file, 0), entry.length)
            case "write" | "hole":
                for sector, data in entry.sectors:
                    key = ("sector", entry.file, sector)
                    self.may_be(key, data, by_fsync=entry.kind == "hole")
                    if entry.through:
                        self.settle(key, thoroughly=False)
            case "sync" | "datasync":
                for key in [key for key in self.pending if key[1] == entry.file]:
                    self.settle(key, thoroughly=entry.kind == "sync")
            case "dirsync":
                for key in [key for key in self.pending if key[0] == "name"]:
                    self.settle(key, thoroughly=True)

    def may_be(self, key: Key, value: Any, by_fsync: bool = False) -> None:
        self.pending.setdefault(key, []).append((self.at, value, by_fsync))

    def settle(self, key: Key, thoroughly: bool) -> None:
        """The last version counts from now on; but a hole stays open until an fsync."""
        versions = self.pending[key]
        keep = 0 if thoroughly else next((n for n, v in enumerate(reversed(versions)) if not v[2]), None)
        if keep is None:
            return
        last = len(versions) - 1 - keep
        self.certain[key] = versions[last][:2]
        if versions[last + 1 :]:
            self.pending[key] = versions[last + 1 :]
        else:
            del self.pending[key]

    def last(self, key: Key) -> Any:
        return self.pending[key][-1][1] if key in self.pending else self.certain[key][1]

    def names(self) -> Iterator[tuple[Key, Any]]:
        for key in {*self.pending, *self.certain}:
            if key[0] == "name":
                yield key, self.last(key)

    def choices(self) -> list[Choice]:
        """What is uncertain; the newest first."""
        found = []
        for key, versions in self.pending.items():
            nothing = {"name": ABSENT, "length": 0, "sector": bytes(SECTOR)}[key[0]]
            found.append(Choice(key, [self.certain.get(key, (0, nothing)), *(v[:2] for v in versions)]))
        return sorted(found, key=lambda choice: -choice.versions[-1][0])
