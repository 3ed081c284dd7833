"""Images: taking them in, listing them, letting them go.

    <name>.img     the bytes as served, 0444, sparse where they are zeros
    <name>.json    its record: format, length, sha256 of the bytes as served, when it came and from what
    .incoming-*    an image on its way in; locked while its import lives

An image is there once both files are.  Its bytes are raw, whatever it came as: ``formats`` says what that may
be, and the record keeps it.

Knows files and bytes.  Where the bytes come from is the caller's: anything with ``read``."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import attrs

from scsipub.errors import OperatorError
from scsipub.storage.base import Base
from scsipub.storage.decompress import unpacked_untrusted
from scsipub.storage.folder import sync_directory
from scsipub.storage.formats import RAW, check_format
from scsipub.storage.sparse import SparseWriter, too_large

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_INCOMING = ".incoming-"

Progress = Callable[[int, int | None, int], None]  # bytes in, of how many (None: unknown), bytes out


class Source(Protocol):
    """Where an image's bytes come from: an open file, a pipe, an HTTP response."""

    def read(self, size: int, /) -> bytes: ...


@attrs.frozen
class Image:
    """The record of one image."""

    name: str
    format: str  # what it came as; its bytes are raw
    bytes: int
    sha256: str  # of the bytes as served
    imported: str  # ISO 8601, as the caller's clock said
    source: str = ""  # what it was made from, for people


def check_name(name: str) -> str:
    """A name that can be part of a target's name and of a file's, or OperatorError."""
    if not _NAME.fullmatch(name):
        raise OperatorError(
            f"{name!r} cannot be the name of an image.",
            "Use up to 63 small letters, digits, dots and hyphens, beginning with a letter or digit.",
        )
    return name


class ImageStore:
    """The images of one state directory."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.fspath(directory)

    def path(self, name: str) -> str:
        return os.path.join(self.directory, f"{check_name(name)}.img")

    def _record_path(self, name: str) -> str:
        return os.path.join(self.directory, f"{check_name(name)}.json")

    # -- asking -------------------------------------------------------------------------------------------

    def images(self) -> list[Image]:
        """All images, by name; files without a readable record are none."""
        try:
            files = sorted(os.listdir(self.directory))
        except FileNotFoundError:
            return []
        found = (
            self.get(file[:-5]) for file in files if file.endswith(".json") and _NAME.fullmatch(file[:-5])
        )
        return [image for image in found if image is not None]

    def get(self, name: str) -> Image | None:
        """One image, or None."""
        if not _NAME.fullmatch(name):
            return None
        try:
            with open(self._record_path(name), encoding="utf-8") as file:
                record = json.load(file)
            image = Image(**record)
            length = os.stat(self.path(name)).st_size
        except (OSError, ValueError, TypeError):
            return None
        # The file was changed behind our back: overlays of it would be garbage, so it is not offered.
        return image if image.name == name and image.bytes == length else None

    def open(self, name: str) -> Base:
        """Open an image as a base, or OperatorError."""
        image = self.get(name)
        if image is None:
            raise OperatorError(f"There is no image {name!r}.", "See: scsipub image list")
        return Base.open(self.path(name), image.sha256)

    # -- taking in ----------------------------------------------------------------------------------------

    def add(
        self,
        source: Source,
        name: str,
        *,
        format: str = "raw",
        compression: str = "none",
        imported: str = "",
        origin: str = "",
        total: int | None = None,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> Image:
        """Take in an image; blocks until it is there, on the medium.

        On any failure, and when ``progress`` raises, nothing is left behind."""
        if max_bytes is not None and compression == "none" and total is not None and total > max_bytes:
            raise too_large(max_bytes)
        check_format(format, compression)
        reader = _Counted(source, total, progress)
        pieces = unpacked_untrusted(reader.read, compression)
        told = (reader.told(piece) for piece in pieces)
        return self.add_pieces(
            told, name, format=format, imported=imported, origin=origin, max_bytes=max_bytes
        )

    def add_pieces(
        self,
        pieces: Iterable[bytes],
        name: str,
        *,
        format: str,
        imported: str = "",
        origin: str = "",
        max_bytes: int | None = None,
    ) -> Image:
        """Take in an image that is unpacked already."""
        if format not in RAW:
            raise OperatorError(f"An image of format {format!r} must be converted.", "That is a bug of ours.")
        with self.incoming(name) as incoming:
            writer = SparseWriter(incoming.fd, max_bytes)
            for piece in pieces:
                writer.put(piece)
            length, sha256 = writer.finish(RAW[format])
            return incoming.publish(Image(name, format, length, sha256, imported, origin))

    @contextlib.contextmanager
    def incoming(self, name: str) -> Iterator["Incoming"]:
        """A file for an image of this name, gone at the end unless it was published."""
        self.must_be_new(name)
        with _incoming(self.directory) as (fd, temporary):
            yield Incoming(self, fd, temporary)

    def must_be_new(self, name: str) -> None:
        """OperatorError when there is such an image, or cannot be."""
        check_name(name)
        if os.path.lexists(self.path(name)) and os.path.lexists(self._record_path(name)):
            raise OperatorError(
                f"There is an image {name!r} already.", "Choose another name, or remove that one first."
            )

    def publish(self, image: Image, temporary: str) -> None:
        """Give a finished file its name, and its record."""
        with _locked(self.directory):
            self.must_be_new(image.name)
            record = temporary + ".json"
            fd = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                os.write(fd, json.dumps(attrs.asdict(image), indent=2).encode() + b"\n")
                os.fsync(fd)
                os.rename(record, self._record_path(image.name))
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(record)
                raise
            finally:
                os.close(fd)
            os.rename(temporary, self.path(image.name))
            sync_directory(self.directory)

    # -- letting go ---------------------------------------------------------------------------------------

    def remove(self, name: str) -> Image:
        """Remove an image.  Disks that have it open keep it until they close."""
        image = self.get(name)
        if image is None:
            raise OperatorError(f"There is no image {name!r}.", "See: scsipub image list")
        with _locked(self.directory):
            os.unlink(self._record_path(name))
            os.unlink(self.path(name))
            sync_directory(self.directory)
        return image

    def sweep(self) -> list[str]:
        """Remove what imports left that were killed; say what went."""
        gone: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            self._sweep(gone)
        return gone

    def _sweep(self, gone: list[str]) -> None:
        for file in sorted(os.listdir(self.directory)):
            path = os.path.join(self.directory, file)
            if not file.startswith(_INCOMING):
                continue
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                    gone.append(file)
                finally:
                    os.close(fd)


@attrs.frozen
class Incoming:
    """An image on its way in: write to ``fd``, then ``publish``."""

    store: ImageStore
    fd: int
    path: str

    def publish(self, image: Image) -> Image:
        """It is complete: read-only from now on, on the medium, and there for everybody."""
        os.fchmod(self.fd, 0o444)
        os.fsync(self.fd)
        self.store.publish(image, self.path)
        return image


class _Counted:
    """A source that tells how far it is."""

    def __init__(self, source: Source, total: int | None, progress: Progress | None) -> None:
        self._source = source
        self._total = total
        self._progress = progress
        self.bytes_in = self._bytes_out = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self.bytes_in += len(data)
        return data

    def told(self, piece: bytes) -> bytes:
        """A piece that goes out, and how far we are with it."""
        self._bytes_out += len(piece)
        if self._progress is not None:
            self._progress(self.bytes_in, self._total, self._bytes_out)
        return piece


@contextlib.contextmanager
def _incoming(directory: str) -> Iterator[tuple[int, str]]:
    """A locked file for an image on its way in; gone at the end unless it was renamed."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    path = os.path.join(directory, f"{_INCOMING}{os.urandom(8).hex()}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd, path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(fd)


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """One change of the directory at a time, whichever process makes it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
