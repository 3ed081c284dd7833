"""vmdk: sparse extents with their descriptor inside, plain (monolithicSparse) or packed (streamOptimized).

Source: VMware, Virtual Disk Format 5.0.  One file only: whatever names another (a parent, extents beside it)
is refused.  As with qcow2, every table is looked at before any data is read, and nothing is used twice."""

import re
import struct
import zlib
from collections.abc import Iterator

from scsipub.convert.source import File, in_pieces, refused

MAGIC = b"KDMV"
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")  # the first 79 bytes of a sector
_MARKER = struct.Struct("<QI")  # in front of a packed grain: its first sector, its bytes
SECTOR = 512
_AT_END = (1 << 64) - 1  # the header at the end of the file says where the tables are
_REDUNDANT, _ZEROED, _PACKED, _MARKERS = 1 << 1, 1 << 2, 1 << 16, 1 << 17
_KNOWN = 1 | _REDUNDANT | _ZEROED | _PACKED | _MARKERS
_ZERO_GRAIN = 1
_NEWLINES = b"\n \r\n"
LEAST_GRAIN, MOST_GRAIN = 8, 4096  # sectors: 4 KiB to 2 MiB
ENTRIES = 512  # of a grain table, always
DESCRIPTOR_BYTES = 64 << 10
MOST_TABLES = 1 << 20
_TYPES = ("monolithicsparse", "streamoptimized")


class Vmdk:
    """See the module.  Made by ``open_vmdk_untrusted``."""

    def __init__(self, file: File, max_bytes: int) -> None:
        self.file = file
        if file.size < SECTOR or file.at(0, 4) != MAGIC:
            if file.size >= 21 and file.at(0, 21) == b"# Disk DescriptorFile":
                raise refused("This vmdk file only describes others, which hold the data.")
            raise refused("This is not a sparse vmdk file.", "Declare what it is with --format.")
        fields = self._header(0)
        if fields[8] == _AT_END:  # a stream: its end has been written last
            fields = self._header(file.size - 2 * SECTOR)
        _, _, flags, capacity, grain, where, length, entries, _, tables, _, _, _, packing = fields
        if entries != ENTRIES or not LEAST_GRAIN <= grain <= MOST_GRAIN or grain & (grain - 1):
            raise refused(f"Grains of {grain} sectors in tables of {entries} make no sense.")
        if not capacity:
            raise refused("It is an image of no bytes.")
        if capacity * SECTOR > max_bytes:
            raise refused(
                f"The image inside is {capacity * SECTOR} bytes long, larger than the {max_bytes} allowed.",
                "Make it smaller, or raise the limit.",
            )
        self.packed = bool(flags & _PACKED)
        if self.packed != (packing == 1) or packing > 1 or self.packed != bool(flags & _MARKERS):
            raise refused(f"Compression of type {packing} is not known.")
        self.zeroed = bool(flags & _ZEROED)
        self.grain = grain * SECTOR
        self.size = capacity * SECTOR
        self._check_descriptor(where * SECTOR, length * SECTOR)
        count = -(-capacity // (grain * ENTRIES))
        if count > MOST_TABLES:
            raise refused("It has too many tables.")
        self._tables = file.numbers(tables * SECTOR, count, 4, "little")
        self._check()

    def _header(self, offset: int) -> tuple[int, ...]:
        if offset < 0:
            raise refused("The file is too short.", "Fetch it again; it may be incomplete.")
        fields = _HEADER.unpack(self.file.at(offset, _HEADER.size))
        magic, version, flags, *_, newlines, _ = fields
        if magic != MAGIC or newlines != _NEWLINES:
            raise refused("Its header is damaged.", "Fetch it again, as a binary file.")
        if version not in (1, 2, 3) or flags & ~_KNOWN:
            raise refused(f"Version {version} with features 0x{flags:x} is not known.")
        return fields

    def _check_descriptor(self, offset: int, length: int) -> None:
        """Text that a stranger wrote: looked at for what would make this more than one file."""
        if not 0 < length <= DESCRIPTOR_BYTES:
            raise refused("It is one of several files of an image.")
        text = self.file.at(offset, length).partition(b"\0")[0].decode("utf-8", "replace").lower()
        said = dict(re.findall(r"^\s*(\w+)\s*=\s*\"?([^\"\r\n]*)", text, re.MULTILINE))
        if said.get("parentcid", "ffffffff").strip() != "ffffffff" or "parentfilenamehint" in said:
            raise refused("It stands on another file, which is not taken.")
        if said.get("createtype", "").strip() not in _TYPES:
            raise refused(f"A vmdk file of type {said.get('createtype', '').strip()[:40]!r} is not taken.")
        if len(re.findall(r"^\s*(?:rw|rdonly|noaccess)\s+\d+\s", text, re.MULTILINE)) != 1:
            raise refused("It is one of several files of an image.")

    def _check(self) -> None:
        seen: set[int] = set()
        for table in self._tables:
            if table:
                if table in seen:
                    raise refused(f"A table at sector {table} is used twice.")
                seen.add(table)
        begun: set[int] = set()
        for offset, sector in self._grains():
            if sector in begun:
                raise refused(f"A grain at sector {sector} is used twice.")
            begun.add(sector)
            wanted = _MARKER.size if self.packed else min(self.grain, self.size - offset)
            if sector * SECTOR + wanted > self.file.size:
                raise refused("A grain lies outside the file.", "Fetch it again; it may be incomplete.")

    def _grains(self) -> Iterator[tuple[int, int]]:
        """``(offset in the image, sector in the file)`` of each that holds something."""
        span = self.grain * ENTRIES
        for index, table in enumerate(self._tables):
            if not table:
                continue
            for number, sector in enumerate(self.file.numbers(table * SECTOR, ENTRIES, 4, "little")):
                offset = index * span + number * self.grain
                if not sector or (self.zeroed and sector == _ZERO_GRAIN):
                    continue
                if offset >= self.size:
                    raise refused("A table goes on behind the image.")
                yield offset, sector

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """What is not zeros, in the image's order."""
        if self.packed:
            for offset, sector in self._grains():
                yield offset, self._unpack(offset, sector)
            return
        yield from in_pieces(
            self.file,
            (
                (offset, sector * SECTOR, min(self.grain, self.size - offset))
                for offset, sector in self._grains()
            ),
        )

    def _unpack(self, offset: int, sector: int) -> bytes:
        first, length = _MARKER.unpack(self.file.at(sector * SECTOR, _MARKER.size))
        if first * SECTOR != offset or not 0 < length <= 2 * self.grain:
            raise refused(f"A packed grain at sector {sector} is not the one that is looked for.")
        data = self.file.at(sector * SECTOR + _MARKER.size, length)
        try:
            grain = zlib.decompressobj().decompress(data, self.grain + 1)
        except zlib.error as error:
            raise refused(f"A packed grain is not good: {error}.", "Fetch the file again.") from error
        wanted = min(self.grain, self.size - offset)
        if not wanted <= len(grain) <= self.grain:
            raise refused(f"A packed grain at sector {sector} does not unpack to one grain.")
        return grain[:wanted]


def open_vmdk_untrusted(file: File, max_bytes: int) -> Vmdk:
    """A vmdk file all of whose tables have been looked at; OperatorError says why another is not taken."""
    return Vmdk(file, max_bytes)
