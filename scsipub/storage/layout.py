"""What overlay files are called and how they begin.

    <id>.data    sparse, exactly as long as the disk: the sectors that were written
    <id>.live    4 KiB header, then one bit per sector that was written, then one bit per sector that was
                 trimmed since; both parts rounded up to 4 KiB
    <id>.map     only for disks that last: 4 KiB header, then one bit per sector whose data is known to be on
                 the medium, rounded up to 4 KiB
    <id>.failed  only of disks that last: their medium has failed, and why; until an operator has looked

An id says whose the files are: ``d-<owner>-<lun>`` belongs to a disposable disk, and lies in the folder
``disposable``; ``t-<owner>-<lun>`` belongs to a tenant's.  The janitor touches no name that does not read so.

Pure but for ``boot_id``, which asks the kernel.  Integers in headers are big-endian."""

import enum
import functools
import os
import re
import struct
from typing import Self

import attrs
from crc32c import crc32c

from scsipub.storage.base import SECTOR, BaseIdentity
from scsipub.storage.folder import DIRECT, Folder

PAGE = 4096
DISPOSABLE = "disposable"  # a folder below the one that overlays are in
HEADER = PAGE
VERSION = 1

_ID = re.compile(r"(?P<kind>[dt])-(?P<owner>[a-z0-9]{1,64})-(?P<lun>0|[1-9][0-9]{0,4})")
_FILE = re.compile(r"(?P<id>[a-z0-9-]{1,80})\.(?P<part>data|live|map|failed)")

# magic, version, sector size, sectors, base length, base sha256, creation, boot id, owner, name
_HEADER = struct.Struct(">8sHHQQ32s16s16sQ96s")
_CRC = struct.Struct(">I")


class Part(enum.Enum):
    """One file of an overlay; the value is its suffix and decides its magic."""

    DATA = "data"
    LIVE = "live"
    MAP = "map"
    FAILED = "failed"


_MAGIC = {Part.LIVE: b"SCSIPUBL", Part.MAP: b"SCSIPUBM"}


class OverlayRefused(OSError):
    """The files are there, but they are not what they should be: never serve them."""

    def __init__(self, why: str) -> None:
        super().__init__(5, why)  # EIO: to an initiator it is a medium error


@attrs.frozen
class OverlayId:
    """Whose files these are."""

    kind: str  # "d" disposable, "t" tenant
    owner: str  # [a-z0-9]: a session for "d", a target for "t"
    lun: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.owner}-{self.lun}"

    def __attrs_post_init__(self) -> None:
        if not _ID.fullmatch(str(self)):
            raise ValueError(f"{str(self)!r} is no overlay id")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        found = _ID.fullmatch(text)
        return cls(found["kind"], found["owner"], int(found["lun"])) if found else None


def parse_file_name(name: str) -> tuple[OverlayId, Part] | None:
    """Read a file name of the overlay directory; None for whatever is not ours."""
    found = _FILE.fullmatch(name)
    if found is None:
        return None
    overlay = OverlayId.parse(found["id"])
    return (overlay, Part(found["part"])) if overlay else None


@functools.cache
def boot_id() -> bytes:
    """Which boot of the machine this is: page cache of an earlier one is gone."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return bytes.fromhex(file.read().strip().replace("-", ""))


@attrs.frozen
class OverlayPaths:
    """Where one disk keeps what was written to it."""

    directory: str
    id: OverlayId
    boot: bytes = attrs.field(factory=boot_id)  # 16 bytes
    owner: int = 0  # incarnation of the worker, for whoever reads the files later
    folder: Folder = attrs.field(default=DIRECT, eq=False, repr=False)

    def path(self, part: Part) -> str:
        return os.path.join(self.folder_of_kind, f"{self.id}.{part.value}")

    @property
    def folder_of_kind(self) -> str:
        """Disposable ones lie apart: workers reach that folder, and no tenant's disk."""
        return os.path.join(self.directory, DISPOSABLE) if self.id.kind == "d" else self.directory

    @property
    def longer_map(self) -> str:
        """What the map is called until a growth of the disk has come so far."""
        return self.path(Part.MAP) + ".new"

    @property
    def longer_live(self) -> str:
        """The same of the live bitmap, when the disk grows while it is open."""
        return self.path(Part.LIVE) + ".new"


def bitmap_bytes(sectors: int) -> int:
    """Room for one bit per sector, in whole pages."""
    return -(-sectors // (8 * PAGE)) * PAGE


@attrs.frozen
class Header:
    """What a .live or .map file says of itself."""

    sectors: int
    base: BaseIdentity
    creation: bytes  # 16 random bytes, the same in all files of one overlay
    boot: bytes
    owner: int
    name: str

    def pack(self, part: Part) -> bytes:
        start = _HEADER.pack(
            _MAGIC[part], VERSION, SECTOR, self.sectors, self.base.length, self.base.sha256,
            self.creation, self.boot, self.owner, self.name.encode("ascii"),
        )  # fmt: skip
        body = start.ljust(HEADER - _CRC.size, b"\0")
        return body + _CRC.pack(crc32c(body))

    @classmethod
    def unpack(cls, raw: bytes, part: Part) -> Self:
        """Read a header, or raise OverlayRefused."""
        if len(raw) != HEADER:
            raise OverlayRefused(f".{part.value} is shorter than its header")
        if _CRC.unpack(raw[-_CRC.size :])[0] != crc32c(raw[: -_CRC.size]):
            raise OverlayRefused(f".{part.value} has a damaged header")
        magic, version, sector, sectors, length, sha256, creation, boot, owner, name = _HEADER.unpack_from(
            raw
        )
        if magic != _MAGIC[part]:
            raise OverlayRefused(f".{part.value} has the wrong magic")
        if version != VERSION or sector != SECTOR:
            # Never converted silently: the operator decides.
            raise OverlayRefused(f".{part.value} has version {version} and sectors of {sector} bytes")
        return cls(
            sectors, BaseIdentity(sha256, length), creation, boot, owner, name.rstrip(b"\0").decode("ascii")
        )

    def must_fit(self, part: Part, sectors: int, base: BaseIdentity, name: str) -> None:
        """Refuse an overlay of another disk, or over another base: it would silently show garbage."""
        for what, mine, theirs in (
            ("name", name, self.name),
            ("length", sectors, self.sectors),
            ("base", base, self.base),
        ):
            if mine != theirs:
                raise OverlayRefused(f".{part.value} is of another {what}: {theirs!r}, not {mine!r}")
