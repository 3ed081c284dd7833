"""Writes that depend on what is there, or that must happen whole: ORWRITE, COMPARE AND WRITE, WRITE ATOMIC.

Source: SBC-3 §5.7 (ORWRITE), §5.2 (COMPARE AND WRITE), SBC-4 §5.48 (WRITE ATOMIC).  Atomic against other
commands because the plan asks for its blocks exclusively; the caller holds that lock from reading to
writing."""

from scsipub.scsi import cdb, limits, sense
from scsipub.scsi.blocks import extent, flush, has_fua
from scsipub.scsi.command import Request
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan


def orwrite(request: Request) -> Plan:
    lba, count = extent(request)
    size = request.unit.config.block_size
    if count == 0:
        return Plan()

    def piece(medium: Medium, offset: int, data: Data) -> None:
        block, skip = divmod(offset, size)
        blocks = -(-(skip + len(data)) // size)
        old = bytes(medium.read(lba + block, blocks))
        new = bytes(skip) + bytes(data) + bytes(blocks * size - skip - len(data))
        both = int.from_bytes(old, "little") | int.from_bytes(new, "little")
        medium.write(lba + block, both.to_bytes(len(old), "little"))

    fua = has_fua(request.cdb)
    return Plan(
        data_out=count * size,
        first=lba,
        count=count,
        writes=True,
        piece=piece,
        finish=flush if fua else None,
        fua=fua,
    )


def compare_and_write(request: Request) -> Plan:
    """The sense of a miscompare carries the offset of the first byte that differs: ESXi looks at it."""
    it, unit = request.cdb, request.unit
    size = unit.config.block_size
    lba, count = cdb.number(it, 2, 8), it[13]
    cdb.check_range(lba, count, unit.blocks)
    if count > limits.COMPARE_AND_WRITE_BLOCKS:
        raise sense.invalid_field(13, 7, why=f"{count} blocks to compare")
    if count == 0:
        return Plan(
            exact=13
        )  # 256 blocks do not fit the field and become none: that their data came shows it
    half = count * size
    fua = has_fua(it)

    def run(medium: Medium, data: Data) -> None:
        if len(data) != 2 * half:
            raise sense.wrong_data_length(2 * half, len(data))
        expected = bytes(data[:half])
        there = bytes(medium.read(lba, count))
        if there != expected:
            raise sense.miscompare(first_difference(there, expected))
        medium.write(lba, bytes(data[half:]), fua=fua)

    return Plan(
        data_out=2 * half, exact=13, run=run, blocking=True, first=lba, count=count, writes=True, fua=fua
    )


def first_difference(one: bytes, other: bytes) -> int:
    return next(index for index, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)


def write_atomic(request: Request) -> Plan:
    """Held in memory until all of it is here, then written by one call."""
    it, unit = request.cdb, request.unit
    lba, count = cdb.number(it, 2, 8), cdb.number(it, 12, 2)
    cdb.check_range(lba, count, unit.blocks)
    if count > limits.max_atomic(unit.config):
        raise sense.invalid_field(12, 7, why=f"{count} blocks in one atomic write")
    if count == 0:
        return Plan()
    length = count * unit.config.block_size
    fua = has_fua(it)

    def run(medium: Medium, data: Data) -> None:
        if len(data) != length:
            raise sense.wrong_data_length(length, len(data))
        medium.write(lba, data, fua=fua)

    return Plan(
        data_out=length, exact=12, run=run, blocking=True, first=lba, count=count, writes=True, fua=fua
    )
