"""Images on their way in, as files: so many bytes have come, so many are to come.

    <id>.json    what was said when it began
    <id>.part    what has come so far; its length is the offset to go on from

A sender holds the lock of ``.part`` while it writes.  Whatever ends in between, daemon, web process or
connection, the file's length is the truth.  Knows files; blocks."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator

import attrs

from scsipub.storage.folder import sync_directory

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
UPLOADING, IMPORTING = "uploading", "importing"


@attrs.frozen(kw_only=True)
class Record:
    """One image on its way.  ``size`` None and ``url``: it is fetched from there.  Sizes are bytes."""

    id: str
    name: str
    format: str | None  # None: not declared; the first bytes will say it
    compression: str
    size: int | None
    sha256: str | None  # of what comes in, in hex
    url: str | None
    origin: str
    created: str
    state: str = UPLOADING


class Uploads:
    """Those of one state directory."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.fspath(directory)

    def part(self, id: str) -> str:
        return os.path.join(self.directory, f"{id}.part")

    def _json(self, id: str) -> str:
        return os.path.join(self.directory, f"{id}.json")

    def records(self) -> list[Record]:
        """All of them, oldest first.  Files that are no record of ours are none."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        found = []
        for file in os.listdir(self.directory):
            id, _, kind = file.rpartition(".")
            if kind == "json" and _ID.fullmatch(id):
                with contextlib.suppress(OSError, ValueError, TypeError):
                    with open(self._json(id), encoding="utf-8") as stream:
                        record = Record(**json.load(stream))
                    if record.id == id and os.path.exists(self.part(id)):
                        found.append(record)
        return sorted(found, key=lambda record: (record.created, record.id))

    def begin(self, record: Record) -> None:
        """Make its files; there once both are."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        os.close(os.open(self.part(record.id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self.change(record)

    def change(self, record: Record) -> None:
        """Write the record anew, whole or not at all."""
        temporary = self._json(record.id) + ".new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            json.dump(attrs.asdict(record), stream)
            stream.flush()
            os.fsync(fd)
        os.rename(temporary, self._json(record.id))
        sync_directory(self.directory)

    def offset(self, id: str) -> int:
        """How many bytes have come."""
        return os.stat(self.part(id)).st_size

    def touched(self, id: str) -> float:
        """When the last of them came, as time.time has it."""
        return os.stat(self.part(id)).st_mtime

    def open_to_write(self, id: str) -> int:
        """A descriptor for a sender, who locks it."""
        return os.open(self.part(id), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    @contextlib.contextmanager
    def alone(self, id: str) -> Iterator[int]:
        """The file to read, while nobody writes to it; BlockingIOError when somebody does."""
        fd = os.open(self.part(id), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield fd
        finally:
            os.close(fd)

    def remove(self, id: str) -> None:
        """Forget it: the record first, for without it the rest means nothing."""
        for path in (self._json(id), self.part(id)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def sweep(self, known: set[str]) -> list[str]:
        """Remove files that belong to nobody known; say which."""
        gone = []
        for file in sorted(os.listdir(self.directory)) if os.path.isdir(self.directory) else []:
            if file.partition(".")[0] not in known:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.directory, file))
                    gone.append(file)
        return gone
