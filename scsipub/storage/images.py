"""Images: taking them in, listing them, letting them go.

    <name>.img     the bytes as served, 0444, sparse where they are zeros
    <name>.json    its record: format, length, sha256 of the bytes as served, when it came and from what
    .incoming-*    an image on its way in; locked while its import lives

An image is there once both files are.  Its format and its packing were declared, by a person or by the
suffix of the file it came from, and are never guessed from the bytes: a raw image that begins like a qcow2
one is served as the raw bytes it is.

Knows files and bytes.  Where the bytes come from is the caller's: anything with ``read``."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs

from scsipub.errors import OperatorError
from scsipub.storage.base import Base
from scsipub.storage.decompress import COMPRESSIONS, unpacked_untrusted
from scsipub.storage.files import sync_directory

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_BLOCK = 64 * 1024  # zeros of this size become a hole
_ZEROS = bytes(_BLOCK)
_INCOMING = ".incoming-"

# What a sector on the original medium was: the image is filled up to a multiple of it.
FORMATS = {"raw": 512, "iso": 2048}
_SUFFIX_FORMATS = {"img": "raw", "raw": "raw", "bin": "raw", "dd": "raw", "iso": "iso"}
_SUFFIX_PACKING = {"gz": "gz", "xz": "xz", "bz2": "bz2", "zst": "zst", "zstd": "zst"}
_FOREIGN = {"qcow2", "qcow", "vmdk", "vdi", "vhd", "vhdx", "zip", "7z", "tar", "tgz"}

Progress = Callable[[int, int | None, int], None]  # bytes in, of how many (None: unknown), bytes out


class Source(Protocol):
    """Where an image's bytes come from: an open file, a pipe, an HTTP response."""

    def read(self, size: int, /) -> bytes: ...


@attrs.frozen
class Image:
    """The record of one image."""

    name: str
    format: str
    bytes: int
    sha256: str
    imported: str  # ISO 8601, as the caller's clock said
    source: str = ""  # what it was made from, for people


@attrs.frozen
class Declared:
    """What the name of a file says of it."""

    name: str
    format: str
    compression: str


def check_name(name: str) -> str:
    """A name that can be part of a target's name and of a file's, or OperatorError."""
    if not _NAME.fullmatch(name):
        raise OperatorError(
            f"{name!r} cannot be the name of an image.",
            "Use up to 63 small letters, digits, dots and hyphens, beginning with a letter or digit.",
        )
    return name


def declared_by(file_name: str) -> Declared:
    """Read ``Debian_12.iso.xz`` as an ISO image packed with xz, to be called ``debian-12``.

    A suffix that is not known belongs to the name, and the image is raw; OperatorError for formats that would
    be served as garbage."""
    stem = os.path.basename(file_name).lower()
    compression, format_ = "none", "raw"
    head, dot, suffix = stem.rpartition(".")
    if dot and suffix in _SUFFIX_PACKING:
        compression, stem = _SUFFIX_PACKING[suffix], head
        head, dot, suffix = stem.rpartition(".")
    if dot and suffix in _FOREIGN:
        raise OperatorError(
            f"{file_name} is a {suffix} file, and only raw and iso images are taken.",
            "Make a raw image of it, for example with: qemu-img convert -O raw IN OUT; "
            "or declare it raw to serve its bytes as they are.",
        )
    if dot and suffix in _SUFFIX_FORMATS:
        format_, stem = _SUFFIX_FORMATS[suffix], head
    name = re.sub(r"[^a-z0-9.-]+", "-", stem).strip(".-")[:63].rstrip(".-")
    return Declared(name, format_, compression)


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
        check_name(name)
        if format not in FORMATS:
            raise OperatorError(f"The format {format!r} is not taken.", f"Use one of: {', '.join(FORMATS)}.")
        if compression not in COMPRESSIONS:
            raise OperatorError(
                f"The packing {compression!r} is not known.", f"Use one of: {', '.join(COMPRESSIONS)}."
            )
        if max_bytes is not None and compression == "none" and total is not None and total > max_bytes:
            raise too_large(max_bytes)
        self._must_be_new(name)
        with _incoming(self.directory) as (fd, temporary):
            reader = _Counted(source, total, progress)
            length, sha256 = _fill(
                fd, unpacked_untrusted(reader.read, compression), reader, max_bytes, FORMATS[format]
            )
            image = Image(name, format, length, sha256, imported, origin)
            os.fchmod(fd, 0o444)
            os.fsync(fd)
            self._publish(image, temporary)
            return image

    def _must_be_new(self, name: str) -> None:
        if os.path.lexists(self.path(name)) and os.path.lexists(self._record_path(name)):
            raise OperatorError(
                f"There is an image {name!r} already.", "Choose another name, or remove that one first."
            )

    def _publish(self, image: Image, temporary: str) -> None:
        with _locked(self.directory):
            self._must_be_new(image.name)
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
        gone = []
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
        return gone


def too_large(max_bytes: int) -> OperatorError:
    return OperatorError(
        f"The image is larger than the {max_bytes} bytes allowed.", "Make it smaller, or raise the limit."
    )


class _Counted:
    """A source that tells how far it is."""

    def __init__(self, source: Source, total: int | None, progress: Progress | None) -> None:
        self._source = source
        self._total = total
        self._progress = progress
        self.bytes_in = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self.bytes_in += len(data)
        return data

    def tell(self, bytes_out: int) -> None:
        if self._progress is not None:
            self._progress(self.bytes_in, self._total, bytes_out)


def _fill(
    fd: int, pieces: Iterator[bytes], reader: _Counted, max_bytes: int | None, multiple: int
) -> tuple[int, str]:
    """Write the pieces, sparsely, filled up to a multiple; give length and sha256."""
    digest = hashlib.sha256()
    length = 0
    try:
        for piece in pieces:
            if max_bytes is not None and length + len(piece) > max_bytes:
                raise too_large(max_bytes)
            digest.update(piece)
            _write_sparse(fd, memoryview(piece), length)
            length += len(piece)
            reader.tell(length)
        rest = -length % multiple
        digest.update(bytes(rest))
        os.ftruncate(fd, length + rest)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OperatorError(
                f"There is no room for the image: {error.strerror}.",
                "Free some space in the state directory.",
            ) from error
        raise
    if not length:
        raise OperatorError("The image is empty.", "Check the file it comes from.")
    return length + rest, digest.hexdigest()


def _write_sparse(fd: int, piece: memoryview, offset: int) -> None:
    for start in range(0, len(piece), _BLOCK):
        block = piece[start : start + _BLOCK]
        if block == _ZEROS[: len(block)]:
            continue
        done = 0
        while done < len(block):
            done += os.pwrite(fd, block[done:], offset + start + done)


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
