"""WRITE SAME: one block of data, many blocks of medium; with UNMAP, fewer of them than before.

Source: SBC-3 §5.43, §5.44 (WRITE SAME), §4.7.3.4 (unmapping by it), SBC-4 for NDOB.  No blocks at all means
to the end of the unit (WSNZ=0)."""

from scsipub.scsi import cdb, limits, sense
from scsipub.scsi.command import Request
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan

_UNMAP = 0x08
_NO_DATA_OUT_BUFFER = 0x01


def write_same(request: Request) -> Plan:
    it, unit = request.cdb, request.unit
    config = unit.config
    size = config.block_size
    lba, count = cdb.lba_and_count(it)
    cdb.check_range(lba, count, unit.blocks)
    unmap = bool(it[1] & _UNMAP)
    if unmap and not config.thin:
        raise sense.invalid_field(1, 3, why="UNMAP on a fully provisioned unit")
    no_data = it[0] == 0x93 and bool(it[1] & _NO_DATA_OUT_BUFFER)
    count = count or unit.blocks - lba
    if count > limits.max_write_same(config):
        raise sense.invalid_field(cdb.count_field(it), 7, why=f"{count} blocks of the same")
    zeros = bytes(size)

    def run(medium: Medium, data: Data) -> None:
        block = zeros if no_data else bytes(data)
        if len(block) != size:
            raise sense.wrong_data_length(size, len(block))
        # A pattern that is not zero cannot come back from an unmapped block (LBPRZ), so it is written.
        if unmap and (block == zeros or config.unmap_ignores_pattern):
            medium.unmap(lba, count)
        elif count:
            medium.write_same(lba, count, block)

    return Plan(
        data_out=0 if no_data else size,
        exact=None if no_data else cdb.count_field(it),
        run=run,
        blocking=True,
        first=lba,
        count=count,
        writes=True,
    )
