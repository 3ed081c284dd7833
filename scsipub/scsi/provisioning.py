"""How large the unit is and which of its blocks exist: READ CAPACITY, GET LBA STATUS, UNMAP.

Source: SBC-3 §5.15, §5.16 (READ CAPACITY), §5.5 (GET LBA STATUS), §5.28 (UNMAP), §4.7 (provisioning)."""

import struct

from scsipub.scsi import cdb, limits, sense
from scsipub.scsi.command import Request
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan, clip

_STATUS_DESCRIPTORS = 4096  # of one GET LBA STATUS, however large the allocation length


def read_capacity_10(request: Request) -> Plan:
    it, unit = request.cdb, request.unit
    if not it[8] & 0x01 and cdb.number(it, 2, 4):
        raise sense.invalid_field(2, 7, why="address without PMI")
    return clip(struct.pack(">II", min(unit.blocks - 1, 0xFFFFFFFF), unit.config.block_size), 8)


def read_capacity_16(request: Request) -> Plan:
    it, unit = request.cdb, request.unit
    config = unit.config
    if not it[14] & 0x01 and cdb.number(it, 2, 8):
        raise sense.invalid_field(2, 7, why="address without PMI")
    thin = 0xC000 if config.thin else 0  # LBPME, LBPRZ
    data = struct.pack(">QIBBH16x", unit.blocks - 1, config.block_size, 0, config.physical_exponent, thin)
    return clip(data, cdb.number(it, 10, 4))


def get_lba_status(request: Request) -> Plan:
    """Extents exact to one block, whatever granularity the backing file has."""
    it, unit = request.cdb, request.unit
    first = cdb.number(it, 2, 8)
    if first >= unit.blocks:
        raise sense.lba_out_of_range(first, 1, unit.blocks)
    allocation = cdb.number(it, 10, 4)
    # At least one descriptor, so that truncation cuts a full answer rather than an empty one.
    room = min(max(1, (allocation - 8) // 16), _STATUS_DESCRIPTORS)

    def run(medium: Medium, data: Data) -> bytes:
        extents: list[tuple[bool, int, int]] = []
        for mapped, start, count in medium.mapped_runs(first, unit.blocks - first):
            if extents and extents[-1][0] == mapped:
                extents[-1] = (mapped, extents[-1][1], extents[-1][2] + count)
            elif len(extents) == room:
                break
            else:
                extents.append((mapped, start, count))
        body = b"".join(_status(*extent) for extent in extents)
        return (struct.pack(">I4x", 4 + len(body)) + body)[:allocation]

    return Plan(
        data_in=min(allocation, 8 + 16 * room),
        run=run,
        blocking=True,
        first=first,
        count=unit.blocks - first,
    )


def _status(mapped: bool, first: int, count: int) -> bytes:
    return struct.pack(">QIB3x", first, min(count, 0xFFFFFFFF), 0 if mapped else 1)


def unmap(request: Request) -> Plan:
    it = request.cdb
    if it[1] & 0x01:
        raise sense.invalid_field(1, 0, why="ANCHOR: anchored blocks are not supported")
    length = cdb.number(it, 7, 2)
    if length == 0:
        return Plan()
    unit = request.unit

    def run(medium: Medium, data: Data) -> None:
        extents = parse_unmap_untrusted(bytes(data[:length]), unit.blocks, limits.max_unmap(unit.config))
        for first, count in extents:
            medium.unmap(first, count)

    # The blocks are known only when the data is here, so the whole unit is locked.
    return Plan(data_out=length, run=run, blocking=True, count=unit.blocks, writes=True)


def parse_unmap_untrusted(data: bytes, blocks: int, most: int) -> list[tuple[int, int]]:
    """The extents of an UNMAP parameter list; nothing is unmapped unless all of them are in range."""
    if len(data) < 8:
        raise sense.parameter_list_length("UNMAP header")
    size = cdb.number(data, 2, 2)
    if size % 16:
        raise sense.invalid_parameter(2, 7, "not a whole number of block descriptors")
    if 8 + size > len(data):
        raise sense.parameter_list_length("UNMAP block descriptors")
    if size // 16 > limits.UNMAP_DESCRIPTORS:
        raise sense.invalid_parameter(2, 7, "too many block descriptors")
    extents = []
    total = 0
    for at in range(8, 8 + size, 16):
        first, count = struct.unpack_from(">QI", data, at)
        cdb.check_range(first, count, blocks)
        total += count
        if total > most:
            raise sense.invalid_parameter(at + 8, 7, "too many blocks")
        if count:
            extents.append((first, count))
    return extents
