"""The header of a qcow2 file, read before anything else of it is believed.

Source: docs/interop/qcow2.txt of QEMU (header, header extensions).  Only plain images pass: one file, no
backing file, no encryption, no snapshots, nothing unfinished.  Whatever is refused is refused in words."""

import struct

import attrs

from scsipub.convert.source import File, refused

MAGIC = b"QFI\xfb"
_FIRST = struct.Struct(">4sIQIIQIIQQIIQ")  # versions 2 and 3, 72 bytes
_THIRD = struct.Struct(">QQQII")  # version 3 only, up to byte 104
_EXTENSION = struct.Struct(">II")
_V2_LENGTH, _V3_LENGTH = 72, 104

DIRTY, CORRUPT, DATA_FILE, COMPRESSION_TYPE, EXTENDED_L2 = (1 << bit for bit in range(5))
_RAW_DATA_FILE = 1 << 1  # of the features that may be cleared

# Header extensions that change what the image is.  Others only describe it.
_BACKING_FORMAT, _DATA_FILE_NAME, _ENCRYPTION = 0xE2792ACA, 0x44415441, 0x0537BE77
_END = 0

LEAST_CLUSTER_BITS, MOST_CLUSTER_BITS = 9, 21
L1_BYTES = 32 << 20  # as QEMU
MOST_REFCOUNT_ORDER = 6
_SHOWN = 64  # characters of a name that a stranger chose


@attrs.frozen(kw_only=True)
class Header:
    """What the rest of the file is read by.  All offsets and sizes are bytes."""

    cluster_bits: int
    size: int
    l1_offset: int
    l1_entries: int
    refcounts_offset: int
    refcounts_clusters: int
    zstd: bool
    subclusters: bool  # extended L2 entries

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l2_entries(self) -> int:
        return self.cluster // (16 if self.subclusters else 8)

    @property
    def l1_needed(self) -> int:
        return -(-self.size // (self.cluster * self.l2_entries))


def read_header_untrusted(file: File, max_bytes: int) -> Header:
    """The header of a file that is taken; OperatorError says why another is not."""
    if file.size < _V2_LENGTH or file.at(0, 4) != MAGIC:
        raise refused("This is not a qcow2 file.", "Declare what it is with --format.")
    fields = _FIRST.unpack(file.at(0, _V2_LENGTH))
    _, version, backing, backing_size, cluster_bits, size, crypt, l1_entries, l1_offset = fields[:9]
    refcounts_offset, refcounts_clusters, snapshots, _ = fields[9:]
    if version not in (2, 3):
        raise refused(f"Version {version} of qcow2 is not taken, only 2 and 3.")
    if not LEAST_CLUSTER_BITS <= cluster_bits <= MOST_CLUSTER_BITS:
        raise refused(f"Clusters of 2^{cluster_bits} bytes are not taken, only 2^9 to 2^21.")
    incompatible = autoclear = 0
    order, length = 4, _V2_LENGTH
    if version == 3:
        incompatible, _, autoclear, order, length = _THIRD.unpack(file.at(_V2_LENGTH, _THIRD.size))
        if length < _V3_LENGTH or length % 8 or length > 1 << cluster_bits:
            raise refused(f"A header of {length} bytes makes no sense.")
    _check_features(incompatible, autoclear)
    if backing or backing_size:
        raise refused(f"It stands on another file{_named(file, backing, backing_size)}, which is not taken.")
    if crypt:
        raise refused("It is encrypted.")
    if snapshots:
        raise refused(
            f"It has {snapshots} snapshots inside.", "Leave them out: qemu-img convert -O qcow2 IN OUT."
        )
    if order > MOST_REFCOUNT_ORDER:
        raise refused(f"Reference counts of 2^{order} bits make no sense.")
    _check_extensions(file, length, 1 << cluster_bits)
    kind = file.at(_V3_LENGTH, 1)[0] if length > _V3_LENGTH else 0
    if kind > 1 or bool(kind) != bool(incompatible & COMPRESSION_TYPE):
        raise refused(f"Compression of type {kind} is not known.")
    header = Header(
        cluster_bits=cluster_bits,
        size=size,
        l1_offset=l1_offset,
        l1_entries=l1_entries,
        refcounts_offset=refcounts_offset,
        refcounts_clusters=refcounts_clusters,
        zstd=bool(kind),
        subclusters=bool(incompatible & EXTENDED_L2),
    )
    _check_sizes(file, header, max_bytes)
    return header


def _check_features(incompatible: int, autoclear: int) -> None:
    if incompatible & DATA_FILE or autoclear & _RAW_DATA_FILE:
        raise refused("Its data is in another file.")
    if incompatible & CORRUPT:
        raise refused("It is marked as corrupt.", "Repair it: qemu-img check -r all FILE.")
    if incompatible & DIRTY:
        raise refused("It was not closed properly.", "Repair it: qemu-img check -r all FILE.")
    unknown = incompatible & ~(COMPRESSION_TYPE | EXTENDED_L2)
    if unknown:
        raise refused(f"It needs features that are not known here (0x{unknown:x}).")


def _named(file: File, offset: int, size: int) -> str:
    """The name of a backing file, for the message only: nothing ever opens it."""
    if not 0 < size < 1024 or offset + size > file.size:
        return ""
    name = file.at(offset, size).decode("utf-8", "replace")
    return f" ({name[:_SHOWN]!a})"


def _check_extensions(file: File, offset: int, end: int) -> None:
    while offset + _EXTENSION.size <= end:
        kind, size = _EXTENSION.unpack(file.at(offset, _EXTENSION.size))
        if kind == _END:
            return
        offset += _EXTENSION.size
        if size > end - offset:
            raise refused("A header extension is longer than the header's cluster.")
        if kind == _BACKING_FORMAT:
            raise refused("It stands on another file, which is not taken.")
        if kind == _DATA_FILE_NAME:
            raise refused("Its data is in another file.")
        if kind == _ENCRYPTION:
            raise refused("It is encrypted.")
        offset += -(-size // 8) * 8


def _check_sizes(file: File, header: Header, max_bytes: int) -> None:
    if header.size > max_bytes:
        raise refused(
            f"The image inside is {header.size} bytes long, larger than the {max_bytes} allowed.",
            "Make it smaller, or raise the limit.",
        )
    if not header.size or header.size % 512:
        raise refused(f"An image of {header.size} bytes makes no sense: it has sectors of 512.")
    if header.subclusters and header.cluster_bits < 14:
        raise refused("Its subclusters are smaller than a sector.")
    if header.l1_entries * 8 > L1_BYTES or header.l1_entries < header.l1_needed:
        raise refused(f"A first table of {header.l1_entries} entries does not fit the image's size.")
    for offset, size, what in (
        (header.l1_offset, header.l1_entries * 8, "first table"),
        (header.refcounts_offset, header.refcounts_clusters * header.cluster, "table of reference counts"),
    ):
        if offset % header.cluster or offset < header.cluster:
            raise refused(f"Its {what} cannot be at {offset}.")
        if not size or offset + size > file.size:
            raise refused(f"Its {what} lies outside the file.", "Fetch it again; it may be incomplete.")
