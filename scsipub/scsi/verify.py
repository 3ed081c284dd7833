"""VERIFY and WRITE AND VERIFY: comparing what is on the medium with what should be there.

Source: SBC-3 §5.29-5.31 (VERIFY), §5.36-5.38 (WRITE AND VERIFY).  BYTCHK 00b reads the blocks and compares
nothing, 01b compares them with as much data, 11b (VERIFY only) compares each with the same single block."""

from scsipub.scsi import sense
from scsipub.scsi.blocks import extent, flush, write_piece
from scsipub.scsi.command import Request
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan

_BYTES_AT_ONCE = 1 << 20


def _byte_check(it: bytes) -> int:
    return it[1] >> 1 & 0x03


def verify(request: Request) -> Plan:
    lba, count = extent(request)
    size = request.unit.config.block_size
    step = max(1, _BYTES_AT_ONCE // size)
    check = _byte_check(request.cdb)
    if check == 2:
        raise sense.invalid_field(1, 2, why="BYTCHK 10b is reserved")
    if count == 0:
        return Plan()

    def read_all(medium: Medium, data: Data) -> None:
        for first in range(lba, lba + count, step):
            medium.read(first, min(step, lba + count - first))

    def same_block(medium: Medium, data: Data) -> None:
        for first in range(lba, lba + count, step):
            blocks = min(step, lba + count - first)
            if bytes(medium.read(first, blocks)) != bytes(data) * blocks:
                raise sense.miscompare()

    def piece(medium: Medium, offset: int, data: Data) -> None:
        compare(medium, lba, size, offset, data)

    match check:
        case 0:
            return Plan(run=read_all, blocking=True, first=lba, count=count)
        case 1:
            return Plan(data_out=count * size, piece=piece, first=lba, count=count)
        case _:
            return Plan(data_out=size, exact=1, run=same_block, blocking=True, first=lba, count=count)


def compare(medium: Medium, lba: int, size: int, offset: int, data: Data) -> None:
    """MISCOMPARE unless ``data`` is what lies ``offset`` bytes after block ``lba``; both may be inside a
    block."""
    block, skip = divmod(offset, size)
    count = -(-(skip + len(data)) // size)
    if bytes(medium.read(lba + block, count))[skip : skip + len(data)] != bytes(data):
        raise sense.miscompare()


def write_and_verify(request: Request) -> Plan:
    """The blocks are on the medium before the status: verifying what only a cache holds would prove
    nothing."""
    lba, count = extent(request)
    size = request.unit.config.block_size
    check = _byte_check(request.cdb)
    if check > 1:
        raise sense.invalid_field(1, 2, why="BYTCHK of WRITE AND VERIFY is 00b or 01b")
    if count == 0:
        return Plan()
    put = write_piece(lba, size)

    def piece(medium: Medium, offset: int, data: Data) -> None:
        put(medium, offset, data)
        if check:
            compare(medium, lba, size, offset, data)

    return Plan(
        data_out=count * size, first=lba, count=count, writes=True, piece=piece, finish=flush, fua=True
    )
