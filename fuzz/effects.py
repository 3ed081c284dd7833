"""What a command does to a disk, read from its CDB and its data alone.

Source: SBC-3 §5.  A second opinion: shares no code with ``scsipub.scsi``, so that a mistake there is not
repeated here."""

import struct

import attrs

from fuzz.content import SECTOR, Content
from fuzz.fence import Fence

READS = {0x08, 0x28, 0xA8, 0x88}
WRITES = {0x0A, 0x2A, 0xAA, 0x8A}
WRITES_AND_VERIFIES = {0x2E, 0xAE, 0x8E}
VERIFIES = {0x2F, 0xAF, 0x8F}
SAMES = {0x41, 0x93}
# Commands that write, or look at, the blocks of their extent, and those of UNMAP.
MOVERS = WRITES | WRITES_AND_VERIFIES | VERIFIES | SAMES | {0x42, 0x89, 0x8B, 0x9C}
# Commands that take data, so that a residual says nothing about what was read.
TAKERS = MOVERS | {0x15, 0x48, 0x55, 0x5F, 0x83}
# Their outcome is not modelled: afterwards anything may be there.  SANITIZE, EXTENDED COPY.
WILD = {0x48, 0x83}


@attrs.define(eq=False)
class Disk:
    """A logical unit as the referee knows it.  ``shift``: log2 of sectors per block."""

    content: Content
    shift: int
    fence: Fence = attrs.field(factory=Fence, kw_only=True)

    @property
    def blocks(self) -> int:
        return self.content.sectors >> self.shift

    @property
    def block_size(self) -> int:
        return SECTOR << self.shift


def extent(cdb: bytes) -> tuple[int, int]:
    """First block and count of a block command."""
    group = cdb[0] >> 5
    if group == 0:
        return int.from_bytes(cdb[1:4]) & 0x1FFFFF, cdb[4] or 256
    if cdb[0] == 0x89:
        return int.from_bytes(cdb[2:10]), cdb[13]
    if cdb[0] == 0x9C:
        return int.from_bytes(cdb[2:10]), int.from_bytes(cdb[12:14])
    if group in (1, 2):
        return int.from_bytes(cdb[2:6]), int.from_bytes(cdb[7:9])
    if group == 5:
        return int.from_bytes(cdb[2:6]), int.from_bytes(cdb[6:10])
    return int.from_bytes(cdb[2:10]), int.from_bytes(cdb[10:14])


def in_range(disk: Disk, cdb: bytes) -> bool:
    if cdb[0] == 0x42:
        return True  # its extents are in its data
    first, count = extent(cdb)
    return first + count <= disk.blocks


def changes(disk: Disk, cdb: bytes, data: bytes) -> list[tuple[int, bytes]]:
    """(first sector, what is written from there on) of a command that went well."""
    opcode, content, shift = cdb[0], disk.content, disk.shift
    first, count = extent(cdb)
    at = first << shift
    if opcode in WRITES or opcode in WRITES_AND_VERIFIES or opcode == 0x9C:
        return [(at, data[: count << shift << 9])]
    if opcode == 0x8B:
        data = data[: count << shift << 9]
        old = bytes(content.data[at << 9 : (at << 9) + len(data)])
        both = int.from_bytes(old, "little") | int.from_bytes(data, "little")
        return [(at, both.to_bytes(len(data), "little"))]
    if opcode == 0x89:
        return [(at, data[len(data) // 2 :])]
    if opcode in SAMES:
        count = count or disk.blocks - first
        no_data = opcode == 0x93 and cdb[1] & 0x01
        block = bytes(disk.block_size) if no_data else data[: disk.block_size]
        return [(at, block * count)] if len(block) == disk.block_size else []
    if opcode == 0x42:
        return [(a << shift, bytes(n << shift << 9)) for a, n in unmapped(data) if a + n <= disk.blocks]
    return []


def unmapped(data: bytes) -> list[tuple[int, int]]:
    """The extents of an UNMAP parameter list."""
    if len(data) < 8:
        return []
    size = min(int.from_bytes(data[2:4]), len(data) - 8) // 16 * 16
    return list(struct.iter_unpack(">QI4x", data[8 : 8 + size]))


def compared(disk: Disk, cdb: bytes, data: bytes) -> tuple[int, bytes] | None:
    """(first sector, what must have been there) of a comparison that went well."""
    first, count = extent(cdb)
    at = first << disk.shift
    if cdb[0] == 0x89 and count:
        return at, data[: len(data) // 2]
    if cdb[0] in VERIFIES and count:
        check = cdb[1] >> 1 & 3
        if check == 1:
            return at, data[: count * disk.block_size]
        if check == 3:
            return at, data * count
    return None
