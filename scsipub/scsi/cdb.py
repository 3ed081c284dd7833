"""Command descriptor blocks: how long they are and where the usual fields lie.

Source: SPC-4 §4.2.5 (CDB formats), SBC-3 §5.  Knows positions, not meanings: what a field means and whether
it is allowed is the business of the command."""

from scsipub.scsi import sense

_LENGTHS = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}  # operation code >> 5


def length(opcode: int) -> int | None:
    """CDB length by group code; None for vendor-specific and variable-length groups."""
    return _LENGTHS.get(opcode >> 5)


def number(cdb: bytes, first: int, size: int) -> int:
    return int.from_bytes(cdb[first : first + size], "big")


def lba_and_count(cdb: bytes) -> tuple[int, int]:
    """LOGICAL BLOCK ADDRESS and the transfer, verification, prefetch or block count of any block command."""
    match cdb[0] >> 5:
        case 0:  # 21 bits of LBA; a count of 0 means 256 blocks (READ(6), WRITE(6))
            return number(cdb, 1, 3) & 0x1FFFFF, cdb[4] or 256
        case 1 | 2:
            return number(cdb, 2, 4), number(cdb, 7, 2)
        case 5:
            return number(cdb, 2, 4), number(cdb, 6, 4)
        case _:
            return number(cdb, 2, 8), number(cdb, 10, 4)


def count_field(cdb: bytes) -> int:
    """The byte where the count of ``lba_and_count`` starts, for the field pointer."""
    return {0: 4, 1: 7, 2: 7, 5: 6}.get(cdb[0] >> 5, 10)


def check_range(lba: int, count: int, blocks: int) -> None:
    """LBA OUT OF RANGE for anything that leaves the unit.  Python's integers do not wrap, so nor does this.

    With no blocks at all the address may equal the capacity but not exceed it: that is the first block that
    does not exist and a natural place for a loop to end."""
    if lba + count > blocks or (count and lba >= blocks):
        raise sense.lba_out_of_range(lba, count, blocks)
