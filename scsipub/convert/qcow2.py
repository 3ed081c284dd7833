"""qcow2: where each cluster of the image is in the file, and what is in it.

Source: docs/interop/qcow2.txt of QEMU (cluster mapping).  Two passes.  The first walks every table and
refuses what no writer of such files makes: a table or a cluster outside the file, or used twice.  The second
reads, in the image's order; each cluster of the image is made once, so that nothing can come out that is
longer than the image.

Reference counts are for writers.  Their tables must not lie where something else is; what they count does
not change what is read."""

import zlib
from collections.abc import Iterator

import zstandard

from scsipub.convert.qcow2_header import Header, read_header_untrusted
from scsipub.convert.source import File, in_pieces, refused

_OFFSET = 0x00FFFFFFFFFFFE00
_COPIED = 1 << 63
_COMPRESSED = 1 << 62
_ZERO = 1
_LOW32 = (1 << 32) - 1
_SUBCLUSTERS = 32

# Clusters of the file that can be kept account of, a byte each: 32 GiB in clusters of 512 bytes, as QEMU's
# default of 64 KiB 4 TiB.
MOST_CLUSTERS = 1 << 26
# Compressed clusters whose beginnings are remembered; what comes after must still fit into the file's length.
MOST_BEGUN = 1 << 20
_FREE, _TABLE, _DATA, _PACKED = range(4)
# Deflate makes at most 1032 bytes of one; Zstandard a block of 128 KiB of four.
_DEFLATE_RATIO, _ZSTD_RATIO = 1032, 1 << 15


class Qcow2:
    """See the module.  Made by ``open_qcow2_untrusted``."""

    def __init__(self, file: File, header: Header) -> None:
        self.file = file
        self.header = header
        self.size = header.size
        self._shift = 62 - (header.cluster_bits - 8)  # compressed clusters: offset below, length above
        if file.size >> header.cluster_bits > MOST_CLUSTERS:
            raise refused("The file is too long for clusters so small.")
        self._used = bytearray(-(-file.size // header.cluster))
        self._l1 = file.numbers(header.l1_offset, header.l1_entries)
        self._packed_bytes = 0
        self._begun: set[int] = set()

    # -- the first pass ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Walk all tables; OperatorError for what is not as it must be."""
        header = self.header
        self._take(0, header.cluster, "header")
        self._take(header.l1_offset, header.l1_entries * 8, "first table")
        self._check_refcounts()
        if any(self._l1[header.l1_needed :]):
            raise refused("Its first table goes on behind the image: it holds the state of a machine.")
        for entry in self._l1:
            if entry:
                self._check_l1(entry)
        for _, entry, bitmap, wanted in self._entries():
            self._check_l2(entry, bitmap, wanted)
        self._used = bytearray()
        self._begun.clear()

    def _check_refcounts(self) -> None:
        header = self.header
        size = header.refcounts_clusters * header.cluster
        self._take(header.refcounts_offset, size, "table of reference counts")
        for start in range(0, size, header.cluster):
            for entry in self.file.numbers(header.refcounts_offset + start, header.cluster // 8):
                if entry:
                    self._take(entry, header.cluster, "block of reference counts")

    def _check_l1(self, entry: int) -> None:
        if entry & ~(_OFFSET | _COPIED):
            raise refused(f"An entry of its first table makes no sense (0x{entry:x}).")
        self._take(entry & _OFFSET, self.header.cluster, "second table")

    def _take(self, offset: int, size: int, what: str) -> None:
        """These clusters are a table, and nothing else may be there."""
        bits = self.header.cluster_bits
        if offset & (self.header.cluster - 1):
            raise refused(f"A {what} begins within a cluster, at {offset}.")
        if offset + size > self.file.size:
            raise refused(f"A {what} lies outside the file.", "Fetch it again; it may be incomplete.")
        for cluster in range(offset >> bits, (offset + size - 1 >> bits) + 1):
            if self._used[cluster]:
                raise refused(f"A {what} lies where something else is, at {cluster << bits}.")
            self._used[cluster] = _TABLE

    def _check_l2(self, entry: int, bitmap: int, wanted: int) -> None:
        header = self.header
        if entry & _COMPRESSED:
            self._check_packed(entry, bitmap)
            return
        zero = 0 if header.subclusters else _ZERO
        if entry & ~(_OFFSET | _COPIED | zero):
            raise refused(f"An entry of its second table makes no sense (0x{entry:x}).")
        offset = entry & _OFFSET
        if bitmap & _LOW32 & (bitmap >> 32) or (not offset and bitmap & _LOW32):
            raise refused(f"A map of subclusters contradicts itself (0x{bitmap:x}).")
        if not offset:
            return
        if offset & (header.cluster - 1):
            raise refused(f"A cluster of data begins within a cluster, at {offset}.")
        if header.subclusters:  # the last one that holds something is where the cluster may end
            wanted = min(wanted, (bitmap & _LOW32).bit_length() * (header.cluster // _SUBCLUSTERS))
        elif entry & zero:
            wanted = 0
        if offset >= self.file.size or offset + wanted > self.file.size:
            raise refused("A cluster of data lies outside the file.", "Fetch it again; it may be incomplete.")
        if self._used[offset >> header.cluster_bits]:
            raise refused(f"A cluster of data lies where something else is, at {offset}.")
        self._used[offset >> header.cluster_bits] = _DATA

    def _check_packed(self, entry: int, bitmap: int) -> None:
        offset, size = self._packed(entry)
        if bitmap:
            raise refused("A compressed cluster has subclusters.")
        # Its last sector may be cut off with the file: a length is known in whole sectors only.
        if offset >= self.file.size or offset + size > -(-self.file.size // 512) * 512:
            raise refused(
                "A compressed cluster lies outside the file.", "Fetch it again; it may be incomplete."
            )
        for cluster in range(
            offset >> self.header.cluster_bits,
            (min(offset + size, self.file.size) - 1 >> self.header.cluster_bits) + 1,
        ):
            if self._used[cluster] in (_TABLE, _DATA):
                raise refused(f"A compressed cluster lies where something else is, at {offset}.")
            self._used[cluster] = _PACKED
        # They are all different bytes of one file: none begins where another does; each is at least so long.
        if offset in self._begun:
            raise refused(f"A compressed cluster at {offset} is used twice.")
        if len(self._begun) < MOST_BEGUN:
            self._begun.add(offset)
        ratio = _ZSTD_RATIO if self.header.zstd else _DEFLATE_RATIO
        self._packed_bytes += max(size - 511, self.header.cluster // ratio)
        if self._packed_bytes > self.file.size:
            raise refused("Its compressed clusters together are longer than the file: some are used twice.")

    # -- the second pass ---------------------------------------------------------------------------------

    def _entries(self) -> Iterator[tuple[int, int, int, int]]:
        """``(offset in the image, entry, bitmap of subclusters, bytes that belong to the image)``."""
        header = self.header
        step = 2 if header.subclusters else 1
        span = header.l2_entries << header.cluster_bits
        for index in range(header.l1_needed):
            if not self._l1[index]:
                continue
            table = self.file.numbers(self._l1[index] & _OFFSET, header.cluster // 8)
            start = index * span
            count = min(header.l2_entries, -(-(header.size - start) // header.cluster))
            for number in range(count):
                entry = table[number * step]
                bitmap = table[number * step + 1] if header.subclusters else 0
                if entry or bitmap:
                    offset = start + (number << header.cluster_bits)
                    yield offset, entry, bitmap, min(header.cluster, header.size - offset)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """What is not zeros, in the image's order."""
        runs: list[tuple[int, int, int]] = []
        for offset, entry, bitmap, wanted in self._entries():
            if entry & _COMPRESSED:
                yield from in_pieces(self.file, iter(runs))
                runs.clear()
                yield offset, self._unpack(entry)[:wanted]
                continue
            runs.extend(self._runs(offset, entry, bitmap, wanted))
            if len(runs) >= 4096:
                yield from in_pieces(self.file, iter(runs))
                runs.clear()
        yield from in_pieces(self.file, iter(runs))

    def _runs(self, offset: int, entry: int, bitmap: int, wanted: int) -> Iterator[tuple[int, int, int]]:
        host = entry & _OFFSET
        if not self.header.subclusters:
            if host and not entry & _ZERO:
                yield offset, host, wanted
            return
        size = self.header.cluster // _SUBCLUSTERS
        for number in range(-(-wanted // size)):
            if bitmap >> number & 1:
                start = number * size
                yield offset + start, host + start, min(size, wanted - start)

    def _packed(self, entry: int) -> tuple[int, int]:
        offset = entry & ((1 << self._shift) - 1)
        sectors = (entry >> self._shift) & ((1 << (62 - self._shift)) - 1)
        return offset, (sectors + 1) * 512 - (offset & 511)

    def _unpack(self, entry: int) -> bytes:
        """One cluster, exactly: a stream that makes less of it is refused, and never asked for more."""
        offset, size = self._packed(entry)
        packed = self.file.at(offset, min(size, self.file.size - offset))
        try:
            if self.header.zstd:
                data = _unzstd(packed, self.header.cluster)
            else:
                data = zlib.decompressobj(wbits=-12).decompress(packed, self.header.cluster)
        except (zlib.error, zstandard.ZstdError, MemoryError) as error:
            raise refused(f"A compressed cluster is not good: {error}.", "Fetch the file again.") from error
        if len(data) != self.header.cluster:
            raise refused(f"A compressed cluster at {offset} does not unpack to one cluster.")
        return data


def _unzstd(packed: bytes, wanted: int) -> bytes:
    # A window as large as a cluster is enough for any writer; the format could ask for gigabytes.
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 22)
    pieces = []
    with unpacker.stream_reader(packed, read_across_frames=True) as reader:
        while wanted and (piece := reader.read(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
    return b"".join(pieces)


def open_qcow2_untrusted(file: File, max_bytes: int) -> Qcow2:
    """A qcow2 file all of whose tables have been looked at; OperatorError says why another is not taken."""
    header = read_header_untrusted(file, max_bytes)
    disk = Qcow2(file, header)
    disk.check()
    return disk
