"""A small FAT16 file system with a few files in its root, always the same bytes for the same files.

Source: Microsoft's FAT specification of 2005 (ECMA-107 for the older half).  No partition table: the volume
begins in the first sector, as on a floppy, so that every system can mount the disk as it comes.

Pure: gives the runs of bytes that are not zeros, and no file."""

import struct
from collections.abc import Iterator, Mapping

SECTOR = 512
CLUSTER = 4  # sectors
FATS = 2
ROOT_ENTRIES = 512
RESERVED = 6  # sectors before the first FAT; with 16 MiB, these let the data begin on a 4 KiB border
END = 0xFFFF
FIXED_DISK = 0xF8

# 2025-01-01 00:00, as FAT writes dates: a made-up clock would make two installs differ.
_DATE = (2025 - 1980) << 9 | 1 << 5 | 1
_ARCHIVE, _VOLUME = 0x20, 0x08


def short_name(name: str) -> bytes:
    """``README.TXT`` as a directory has it: eight and three, padded with blanks."""
    stem, _, extension = name.partition(".")
    if not 1 <= len(stem) <= 8 or len(extension) > 3 or not name.isascii() or name != name.upper():
        raise ValueError(f"{name!r} is no 8.3 name")
    return stem.ljust(8).encode() + extension.ljust(3).encode()


def fat16(sectors: int, label: str, files: Mapping[str, bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield ``(offset, bytes)`` of a volume; everything between is zeros."""
    fat_sectors = -(-(sectors // CLUSTER + 2) * 2 // SECTOR)
    root_at = RESERVED + FATS * fat_sectors
    data_at = root_at + ROOT_ENTRIES * 32 // SECTOR
    clusters = (sectors - data_at) // CLUSTER
    if not 4085 <= clusters < 65525 or sectors >= 65536:
        raise ValueError(
            f"{clusters} clusters in {sectors} sectors are no FAT16"
        )  # the count decides the type
    eleven = label.encode().ljust(11)
    boot = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s", b"\xeb\x3c\x90", b"SCSIPUB ", SECTOR, CLUSTER, RESERVED, FATS,
        ROOT_ENTRIES, sectors, FIXED_DISK, fat_sectors, 63, 255, 0, 0, 0x80, 0, 0x29, 0x20250101, eleven,
        b"FAT16   ",
    )  # fmt: skip
    # Whoever starts from it: int 18h, "no bootable disk", then wait for ever.
    yield 0, (boot + b"\xcd\x18\xf4\xeb\xfd").ljust(SECTOR - 2, b"\0") + b"\x55\xaa"

    table = [0xFF00 | FIXED_DISK, END]
    root = [eleven + bytes([_VOLUME]) + bytes(10) + struct.pack("<HHHI", 0, _DATE, 0, 0)]
    contents = []
    for name, data in files.items():
        first = len(table) if data else 0
        count = -(-len(data) // (CLUSTER * SECTOR))
        table += [first + n + 1 for n in range(count - 1)] + [END] * (count > 0)
        if len(table) > clusters + 2:
            raise ValueError("the files do not fit")
        stamps = struct.pack("<BBHHHHHHHI", 0, 0, 0, _DATE, _DATE, 0, 0, _DATE, first, len(data))
        root.append(short_name(name) + bytes([_ARCHIVE]) + stamps)
        contents.append(((data_at + (first - 2) * CLUSTER) * SECTOR, data))
    if len(root) > ROOT_ENTRIES:
        raise ValueError("too many files for the root")
    packed = struct.pack(f"<{len(table)}H", *table)
    for copy in range(FATS):
        yield (RESERVED + copy * fat_sectors) * SECTOR, packed
    yield root_at * SECTOR, b"".join(root)
    yield from ((offset, data) for offset, data in contents if data)
