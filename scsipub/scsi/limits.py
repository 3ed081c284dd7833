"""The bounds that a unit announces in its VPD pages and enforces in its commands, in blocks.

Source: SBC-3 §6.6.4 (Block Limits), SPC-4 §6.21 (operating parameters of EXTENDED COPY).  Pages and commands
both read this file, so a unit never refuses what it said it takes."""

from scsipub.scsi.identity import UnitConfig

COMPARE_AND_WRITE_BLOCKS = 1  # what VMFS asks for; a longer one would hold its range lock longer
UNMAP_DESCRIPTORS = 256
UNMAP_GRANULARITY_BYTES = 4096  # the host's file system frees whole pages
UNMAP_BLOCKS = 1 << 20  # the most that test tools think sane
ATOMIC_BYTES = 1 << 20
ATOMIC_BLOCKS = 256

COPY_TARGETS = 8
COPY_SEGMENTS = 16
COPY_LIST_BYTES = 720  # as many targets and segments as there may be, and little more
COPY_SEGMENT_BYTES = 16 << 20
COPIES_HELD = 16  # statuses of finished copies, per nexus


def max_transfer(config: UnitConfig) -> int:
    return config.max_transfer_bytes // config.block_size


def max_unmap(config: UnitConfig) -> int:
    return min(config.max_unmap_bytes // config.block_size, UNMAP_BLOCKS) if config.thin else 0


def max_write_same(config: UnitConfig) -> int:
    return config.max_write_same_bytes // config.block_size


def max_atomic(config: UnitConfig) -> int:
    """Atomic writes are held in memory whole and written by one call under the range lock."""
    return min(max(ATOMIC_BYTES // config.block_size, ATOMIC_BLOCKS), max_transfer(config))
