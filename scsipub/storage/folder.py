"""Folders: how the files of overlays get their names, lose them, and are opened.

Everything else about a file goes by its descriptor.  So whoever may not reach the folder itself can be given
another one, which asks somebody who may: a worker that has locked itself in does so for tenants' disks.

Knows ``os``.  Paths are whole; each call raises ``OSError`` as ``os`` would."""

import contextlib
import os
from typing import Protocol

MOST_WORDS = 4096  # bytes


class Folder(Protocol):
    """What a disk asks of the place where its files are."""

    def open(self, path: str, flags: int) -> int:
        """A descriptor; a file that is made has mode 0600."""

    def unlink(self, path: str) -> None: ...

    def replace(self, path: str, by: str) -> None:
        """``by`` takes the name ``path``."""

    def sync(self, directory: str) -> None:
        """As ``sync_directory``."""

    def remember(self, path: str, words: str) -> None:
        """Write a file with these words, if there is none yet.  Raises nothing; from any thread."""


def sync_directory(directory: str) -> None:
    """Names that were made or removed are so on the medium too."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Direct:
    """The folder itself."""

    def open(self, path: str, flags: int) -> int:
        return os.open(path, flags, 0o600)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def replace(self, path: str, by: str) -> None:
        os.replace(by, path)

    def sync(self, directory: str) -> None:
        sync_directory(directory)

    def remember(self, path: str, words: str) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(fd, words.encode(errors="replace")[:MOST_WORDS])
            finally:
                os.close(fd)


DIRECT = Direct()
