"""A qcow2 writer with dials: small files that are right, until a test turns something.

    file = Qcow2({0: b"a" * 4096, 7: b"b" * 4096}).bytes()
    Qcow2(..., header={"crypt": 1})

Knows the format from docs/interop/qcow2.txt alone, nothing of the reader it is written for."""

import struct
import zlib
from typing import Any

import attrs

FIELDS = {  # name -> (offset, struct format)
    "magic": (0, "4s"),
    "version": (4, "I"),
    "backing_offset": (8, "Q"),
    "backing_size": (16, "I"),
    "cluster_bits": (20, "I"),
    "size": (24, "Q"),
    "crypt": (32, "I"),
    "l1_size": (36, "I"),
    "l1_offset": (40, "Q"),
    "refcount_offset": (48, "Q"),
    "refcount_clusters": (56, "I"),
    "snapshots": (60, "I"),
    "snapshots_offset": (64, "Q"),
    "incompatible": (72, "Q"),
    "compatible": (80, "Q"),
    "autoclear": (88, "Q"),
    "refcount_order": (96, "I"),
    "header_length": (100, "I"),
    "compression": (104, "B"),
}
HEADER, REFCOUNTS, BLOCK, L1, L2, DATA = range(6)  # what lies in which cluster
COPIED, COMPRESSED = 1 << 63, 1 << 62


@attrs.define
class Qcow2:
    """Clusters of the image by number; what is not there is zeros.  One second table is enough."""

    clusters: dict[int, bytes]
    size: int = 64 * 4096
    bits: int = 12
    header: dict[str, Any] = attrs.Factory(dict)
    extensions: bytes = b""
    packed: bool = False
    l1: dict[int, int] = attrs.Factory(dict)  # entries put in by hand
    l2: dict[int, int] = attrs.Factory(dict)
    more: bytes = b""  # at the end of the file

    def bytes(self) -> bytearray:
        cluster = 1 << self.bits
        file = bytearray(DATA * cluster)
        l2 = {}
        for number, data in sorted(self.clusters.items()):
            if self.packed:
                packer = zlib.compressobj(9, zlib.DEFLATED, -12)
                stream = packer.compress(data.ljust(cluster, b"\0")) + packer.flush()
                sectors = (len(file) % 512 + len(stream) - 1) // 512
                l2[number] = COMPRESSED | sectors << 62 - (self.bits - 8) | len(file)
                file += stream
            else:
                l2[number] = COPIED | len(file)
                file += data.ljust(cluster, b"\0")
        if self.packed:
            file += bytes(-len(file) % 512)
        file += self.more
        for number, entry in (l2 | self.l2).items():
            struct.pack_into(">Q", file, L2 * cluster + number * 8, entry)
        for number, entry in ({0: COPIED | L2 * cluster} | self.l1).items():
            struct.pack_into(">Q", file, L1 * cluster + number * 8, entry)
        struct.pack_into(">Q", file, REFCOUNTS * cluster, BLOCK * cluster)
        for number in range(min(-(-len(file) // cluster), cluster // 2)):
            struct.pack_into(">H", file, BLOCK * cluster + 2 * number, 1)
        plain = {
            "magic": b"QFI\xfb",
            "version": 3,
            "cluster_bits": self.bits,
            "size": self.size,
            "l1_size": 1,
            "l1_offset": L1 * cluster,
            "refcount_offset": REFCOUNTS * cluster,
            "refcount_clusters": 1,
            "refcount_order": 4,
            "header_length": 112,
        }
        for name, value in (plain | self.header).items():
            offset, form = FIELDS[name]
            struct.pack_into(">" + form, file, offset, value)
        if self.extensions:
            file[112 : 112 + len(self.extensions)] = self.extensions
        return file


def extension(kind: int, data: bytes, size: int | None = None) -> bytes:
    """One header extension, filled up to 8 bytes; ``size`` to lie about it."""
    length = len(data) if size is None else size
    return struct.pack(">II", kind, length) + data + bytes(-len(data) % 8)
