"""CDBs built from the command table: every row, valid by its usage map, with data that fits.

Source: ``scsipub.scsi.commands``.  Knows what each byte may hold only through that table; the few parameter
lists that random bytes would never hit are written out here."""

import random
import struct

import attrs

from scsipub.scsi.command import Command
from scsipub.scsi.commands import COMMANDS

BLOCK_COMMANDS = {0x08, 0x0A, 0x28, 0x2A, 0x2E, 0x2F, 0x34, 0x35, 0x41, 0x88, 0x89, 0x8A, 0x8B, 0x8E, 0x8F,
                  0x90, 0x91, 0x93, 0x9C, 0xA8, 0xAA, 0xAE, 0xAF}  # fmt: skip
TAKES_DATA = {0x0A, 0x2A, 0x2E, 0x41, 0x8A, 0x8B, 0x89, 0x8E, 0x93, 0x9C, 0xAA, 0xAE}
PARAMETER_LISTS = {0x15, 0x55, 0x42, 0x48, 0x5F, 0x83}
# Commands after which nothing is known of the disk, or which stop all others for a while.
RARE = {0x48, 0x83, 0x1B, 0x16}

ROWS: tuple[Command, ...] = tuple(COMMANDS.values())
PERSISTENT: tuple[Command, ...] = tuple(row for row in ROWS if row.opcode == 0x5F)
COMMON: tuple[Command, ...] = tuple(row for row in ROWS if row.opcode not in RARE)


@attrs.frozen
class Order:
    """A command and how its data travels.  ``seed`` and ``length``, or ``data``."""

    cdb: bytes
    expected: int = 0
    reads: bool = False
    writes: bool = False
    data: bytes = b""


def block_cdb(opcode: int, first: int, count: int, flags: int = 0) -> bytes:
    """READ(6) to WRITE(16) and their kin."""
    group = opcode >> 5
    if group == 0:
        return struct.pack(">IBB10x", opcode << 24 | first & 0x1FFFFF, count & 0xFF, 0)
    if opcode == 0x89:
        return struct.pack(">BBQ3xBxx", opcode, flags, first, count & 0xFF)
    if opcode == 0x9C:
        return struct.pack(">BBQxxHxx", opcode, flags, first, count & 0xFFFF)
    if group in (1, 2):
        return struct.pack(">BBIxHx6x", opcode, flags, first & 0xFFFFFFFF, count & 0xFFFF)
    if group == 5:
        return struct.pack(">BBIIxx4x", opcode, flags, first & 0xFFFFFFFF, count)
    return struct.pack(">BBQIxx", opcode, flags, first, count)


def block_order(dice: random.Random, opcode: int, blocks: int, block_size: int) -> Order:
    """A block command inside the unit, mostly, and mostly short."""
    short = dice.random()
    if short < 0.80:
        count = dice.randrange(1, 9)
    elif short < 0.97:
        count = dice.randrange(0, 65)
    else:
        count = dice.choice((0, blocks, blocks + 1, 129, 255, 256, 0xFFFF))
    first = dice.randrange(max(1, blocks - count + 1)) if dice.random() < 0.97 else blocks - count + 1
    first = max(0, first)
    row_flags = 0
    if dice.random() < 0.10:
        row_flags = dice.choice((0x08, 0x10, 0x18, 0x02, 0x04, 0x06, 0x01, 0x20))
    cdb = block_cdb(opcode, first, count, row_flags)
    if opcode == 0x89:
        count = min(count, 64) * 2
        cdb = block_cdb(opcode, first, count // 2, row_flags)
    elif opcode == 0x08 or opcode == 0x0A:
        count = count & 0xFF or 256
    elif opcode in (0x41, 0x93):
        count = 0 if opcode == 0x93 and row_flags & 1 else 1
    elif opcode in (0x2F, 0x8F, 0xAF):
        count = (0, count, 0, 1)[row_flags >> 1 & 3]
        return Order(cdb, count * block_size, writes=bool(count))
    elif opcode in (0x34, 0x35, 0x90, 0x91):
        return Order(cdb)
    if count > 2048:
        count = 2048
    return Order(cdb, count * block_size, reads=opcode not in TAKES_DATA, writes=opcode in TAKES_DATA)


def any_order(dice: random.Random, blocks: int, block_size: int) -> Order:
    """A command of any row."""
    row = dice.choice(COMMON if dice.random() < 0.99 else ROWS)
    if dice.random() < 0.15:
        row = dice.choice(PERSISTENT)
    if row.opcode in BLOCK_COMMANDS and dice.random() < 0.9:
        return block_order(dice, row.opcode, blocks, block_size)
    cdb = bytearray(byte & dice.randrange(256) if dice.random() < 0.4 else 0 for byte in row.usage)
    cdb[0] = row.opcode
    if row.action is not None:
        cdb[1] = cdb[1] & 0xE0 | row.action
    allocation = dice.choice((0, 4, 8, 18, 36, 96, 255))
    if row.opcode in PARAMETER_LISTS:
        return with_list(dice, row, cdb, block_size)
    _set_length(row, cdb, allocation)
    return Order(bytes(cdb).ljust(16, b"\0"), allocation, reads=bool(allocation))


def _set_length(row: Command, cdb: bytearray, length: int) -> None:
    """Put the length where rows of this size have it."""
    at, size = {6: (4, 1), 10: (7, 2), 12: (6, 4), 16: (10, 4)}[row.size]
    if row.opcode == 0x5F:
        at, size = 5, 4
    if any(row.usage[at : at + size]):
        cdb[at : at + size] = (length & (1 << 8 * size) - 1).to_bytes(size)


def with_list(dice: random.Random, row: Command, cdb: bytearray, block_size: int) -> Order:
    """A command of a row that takes a parameter list, with one: mostly valid, its length mostly true."""
    opcode = row.opcode
    if opcode == 0x42:
        data = unmap_list(dice)
    elif opcode == 0x5F:
        keys = struct.pack(">QQ", dice.choice((0, 1, 2)), dice.choice((0, 1, 2)))
        data = keys + bytes(4) + bytes((dice.choice((0, 0, 0, 1, 4, 8)), 0, 0, 0))
        cdb[2] = dice.choice((0, 1, 3, 5, 6, 7, 8, 0x11))
    elif opcode == 0x48:
        data = b"\x01\0" + struct.pack(">H", 4) + b"abcd" if row.action == 1 else b""
    elif opcode == 0x83:
        data = dice.randbytes(dice.choice((0, 8, 16, 64)))
    else:
        head = bytes(4) if opcode == 0x15 else bytes(8)
        page = dice.choice((b"\x08\x12" + bytes(18), b"\x0a\x0a\x06" + bytes(9), b"\x0a\x0a\x02" + bytes(9),
                            b"\x1c\x0a" + bytes(10), dice.randbytes(12)))  # fmt: skip
        data = head + page
        cdb[1] = 0x10
    if dice.random() < 0.1:
        data = dice.randbytes(len(data))
    length = len(data) if dice.random() < 0.9 else max(0, len(data) + dice.choice((-1, 1, 4, -8)))
    _set_length(row, cdb, length)
    return Order(bytes(cdb).ljust(16, b"\0"), len(data), writes=bool(data), data=data)


def unmap_list(dice: random.Random) -> bytes:
    extents = [(dice.randrange(1100), dice.choice((0, 1, 7, 8, 64))) for _ in range(dice.randrange(4))]
    body = b"".join(struct.pack(">QI4x", *extent) for extent in extents)
    return struct.pack(">HH4x", len(body) + 6, len(body)) + body
