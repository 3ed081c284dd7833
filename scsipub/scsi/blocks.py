"""READ and WRITE in all four sizes, and the flushing of what they wrote.

Source: SBC-3 §5.10-5.14 (READ), §5.32-5.35 (WRITE), §5.25, §5.26 (SYNCHRONIZE CACHE), §5.8, §5.9 (PRE-FETCH).
The hot path carries READ and WRITE out by itself; this is the plain version it must agree with."""

from collections.abc import Callable

from scsipub.scsi import cdb, limits, sense
from scsipub.scsi.command import Request
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan

FUA = 0x08


def extent(request: Request) -> tuple[int, int]:
    """First block and count, in range and not longer than MAXIMUM TRANSFER LENGTH.  The range comes first."""
    lba, count = cdb.lba_and_count(request.cdb)
    cdb.check_range(lba, count, request.unit.blocks)
    if count > limits.max_transfer(request.unit.config):
        raise sense.invalid_field(cdb.count_field(request.cdb), 7, why=f"{count} blocks in one command")
    return lba, count


def has_fua(it: bytes) -> bool:
    return it[0] >> 5 != 0 and bool(it[1] & FUA)


def read(request: Request) -> Plan:
    lba, count = extent(request)
    if count == 0:
        return Plan()
    return Plan(
        data_in=count * request.unit.config.block_size,
        first=lba,
        count=count,
        read_blocks=True,
        fua=has_fua(request.cdb),
    )


def write_piece(first: int, block_size: int) -> Callable[[Medium, int, Data], None]:
    """Puts data at a byte offset from block ``first``.  The last bytes of a command may be less than a block,
    when the initiator sends less than its CDB says: the rest of that block stays as it is."""

    def piece(medium: Medium, offset: int, data: Data) -> None:
        block, skip = divmod(offset, block_size)
        block += first
        tail = (skip + len(data)) % block_size
        if skip or tail:
            count = -(-(skip + len(data)) // block_size)
            whole = bytearray(medium.read(block, count))
            whole[skip : skip + len(data)] = data
            data = whole
        medium.write(block, data)

    return piece


def flush(medium: Medium) -> None:
    medium.flush()


def write(request: Request) -> Plan:
    lba, count = extent(request)
    if count == 0:
        return Plan()
    size = request.unit.config.block_size
    fua = has_fua(request.cdb)
    return Plan(
        data_out=count * size,
        first=lba,
        count=count,
        writes=True,
        piece=write_piece(lba, size),
        finish=flush if fua else None,
        fua=fua,
    )


def synchronize_cache(request: Request) -> Plan:
    """IMMED asks for an early answer; the answer after the flush is as good and safer."""
    lba, count = cdb.lba_and_count(request.cdb)
    cdb.check_range(lba, count, request.unit.blocks)

    def run(medium: Medium, data: Data) -> None:
        try:
            medium.flush()
        except OSError as error:
            # It is writing that failed, of data that was taken long ago.
            raise sense.sense_for_oserror(error, writing=True) from error

    return Plan(run=run, blocking=True)


def prefetch(request: Request) -> Plan:
    """GOOD, although CONDITION MET would say that it all fits the cache: test tools take GOOD only."""
    lba, count = cdb.lba_and_count(request.cdb)
    cdb.check_range(lba, count, request.unit.blocks)
    return Plan()
