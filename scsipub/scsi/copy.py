"""EXTENDED COPY (LID1) and RECEIVE COPY RESULTS: blocks moved between units without crossing the network.

Source: SPC-4 §6.4, §6.5 (commands), §6.4.5 (segment descriptors 02h, 0Ah), §6.4.4 (CSCD descriptor E4h),
§6.21, §6.23 (results).

A unit is named by a designator, and designators are looked up in the session's own units and nowhere else:
that a stranger's disk exists cannot even be asked."""

import struct

import attrs

from scsipub.errors import CheckCondition, CommandEnded
from scsipub.scsi import cdb, limits, sense
from scsipub.scsi.command import Request
from scsipub.scsi.inquiry import designators
from scsipub.scsi.lane import Peer
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan, clip
from scsipub.scsi.sense import Key

HEADER = 16
TARGET_BYTES = 32
BLOCK_TO_BLOCK = 0x02
BLOCK_TO_BLOCK_WITH_OFFSET = 0x0A
IDENTIFICATION_TARGET = 0xE4
SEGMENT_BYTES = {BLOCK_TO_BLOCK: 28, BLOCK_TO_BLOCK_WITH_OFFSET: 32}

_BYTES_AT_ONCE = 1 << 20

_TOO_MANY_TARGETS, _UNSUPPORTED_TARGET = (0x26, 0x06), (0x26, 0x07)
_TOO_MANY_SEGMENTS, _UNSUPPORTED_SEGMENT = (0x26, 0x08), (0x26, 0x09)
_NOT_REACHABLE = (0x0D, 0x02)
_THIRD_PARTY_FAILURE = (0x0D, 0x01)
_NO_DETAIL = (0x00, 0x00)


@attrs.frozen
class Target:
    """A CSCD descriptor: a designator, not yet looked up."""

    code_set: int
    kind: int
    designator: bytes
    block_length: int
    null: bool  # NUL: descriptor of a unit that is not there


@attrs.frozen
class Segment:
    """What to copy from where to where; offsets in bytes, from the start of the unit once blocks are
    known."""

    source: int
    destination: int
    source_lba: int
    destination_lba: int
    blocks: int | None  # counted in blocks of the destination if ``by_destination`` else of the source ...
    by_destination: bool
    length: int  # ... or in bytes
    source_offset: int
    destination_offset: int


@attrs.frozen
class CopyList:
    list_id: int
    hold: bool
    targets: tuple[Target, ...]
    segments: tuple[Segment, ...]


@attrs.frozen
class Move:
    """A segment that may be carried out: both ends known and in range."""

    source: Peer
    destination: Peer
    source_at: int
    destination_at: int
    length: int


def extended_copy(request: Request) -> Plan:
    length = cdb.number(request.cdb, 10, 4)
    if length == 0:
        return Plan()
    if length > HEADER + limits.COPY_LIST_BYTES:
        raise sense.parameter_list_length(f"{length} bytes of copy descriptors")

    def run(medium: Medium, data: Data) -> None:
        asked = parse_copy_untrusted(bytes(data[:length]))
        units = (Peer(request.unit, request.lane, medium), *request.lane.peers())
        done = moved = 0
        try:
            moves = [_check(segment, asked.targets, units) for segment in asked.segments]
            for move in moves:
                _carry_out(move)
                done += 1
                moved += move.length
        except (CheckCondition, OSError):
            _hold(request, asked, 0x02, done, moved)
            raise
        _hold(request, asked, 0x01, done, moved)

    return Plan(data_out=length, run=run, blocking=True, count=request.unit.blocks, writes=True)


def parse_copy_untrusted(data: bytes) -> CopyList:
    """Lengths first, then how many, then which kinds: in that order the refusals say most."""
    if len(data) < HEADER:
        raise sense.parameter_list_length("EXTENDED COPY header")
    target_bytes, segment_bytes = cdb.number(data, 2, 2), cdb.number(data, 8, 4)
    inline = cdb.number(data, 12, 4)
    if target_bytes + segment_bytes > limits.COPY_LIST_BYTES:
        raise sense.parameter_list_length("longer than MAXIMUM DESCRIPTOR LIST LENGTH")
    if inline:
        raise CheckCondition(Key.ILLEGAL_REQUEST, 0x26, 0x0B, field=(12, 7), in_cdb=False, why="inline data")
    if HEADER + target_bytes + segment_bytes > len(data):
        raise sense.parameter_list_length("cut inside the descriptors")
    if target_bytes > limits.COPY_TARGETS * TARGET_BYTES:
        raise _refused(_TOO_MANY_TARGETS, 2)
    if target_bytes % TARGET_BYTES:
        raise sense.parameter_list_length("cut inside a target descriptor")
    targets = tuple(_target(data, at) for at in range(HEADER, HEADER + target_bytes, TARGET_BYTES))
    segments: list[Segment] = []
    at, end = HEADER + target_bytes, HEADER + target_bytes + segment_bytes
    while at < end:
        if len(segments) == limits.COPY_SEGMENTS:
            raise _refused(_TOO_MANY_SEGMENTS, 8)
        size = SEGMENT_BYTES.get(data[at])
        if size is None:
            raise _refused(_UNSUPPORTED_SEGMENT, at)
        if at + size > end:
            raise sense.parameter_list_length("cut inside a segment descriptor")
        segments.append(_segment(data, at))
        at += size
    return CopyList(data[0], data[1] >> 3 & 0x03 == 0, targets, tuple(segments))


def _refused(code: tuple[int, int], at: int) -> CheckCondition:
    return CheckCondition(Key.ILLEGAL_REQUEST, *code, field=(at, 7), in_cdb=False, why="EXTENDED COPY")


def _aborted(code: tuple[int, int], why: str) -> CheckCondition:
    return CheckCondition(Key.COPY_ABORTED, *code, why=why)


def _target(data: bytes, at: int) -> Target:
    """LU ID TYPE is obsolete since SPC-4 and ignored."""
    it = data[at : at + TARGET_BYTES]
    if it[0] != IDENTIFICATION_TARGET:
        raise _refused(_UNSUPPORTED_TARGET, at)
    length = it[7]
    if length > 20:
        raise sense.invalid_parameter(at + 7, 7, "designator longer than its field")
    if it[5] >> 4 & 0x03:
        raise sense.invalid_parameter(at + 5, 5, "designator of something else than a logical unit")
    return Target(it[4] & 0x0F, it[5] & 0x0F, it[8 : 8 + length], cdb.number(it, 29, 3), bool(it[1] & 0x20))


def _segment(data: bytes, at: int) -> Segment:
    kind = data[at]
    size = SEGMENT_BYTES[kind]
    if cdb.number(data, at + 2, 2) != size - 4:
        raise sense.invalid_parameter(at + 2, 7, "descriptor length")
    source, destination = struct.unpack_from(">HH", data, at + 4)
    source_lba, destination_lba = struct.unpack_from(">QQ", data, at + 12)
    if kind == BLOCK_TO_BLOCK:
        blocks = cdb.number(data, at + 10, 2)
        by_destination = bool(data[at + 1] & 0x02)
        return Segment(source, destination, source_lba, destination_lba, blocks, by_destination, 0, 0, 0)
    length = cdb.number(data, at + 8, 4)
    offsets = struct.unpack_from(">HH", data, at + 28)
    return Segment(source, destination, source_lba, destination_lba, None, False, length, *offsets)


def _find(index: int, targets: tuple[Target, ...], units: tuple[Peer, ...]) -> Peer:
    if index >= len(targets):
        raise _aborted(_NOT_REACHABLE, f"no target descriptor {index}")
    target = targets[index]
    if not target.null:
        for peer in units:
            if (target.code_set, target.kind, target.designator) in designators(peer.unit.config):
                if target.block_length not in (0, peer.unit.config.block_size):
                    raise sense.invalid_parameter(HEADER + index * TARGET_BYTES + 29, 7, "block length")
                return peer
    raise _aborted(_NOT_REACHABLE, f"designator {target.designator.hex()} names no unit of this session")


def _check(segment: Segment, targets: tuple[Target, ...], units: tuple[Peer, ...]) -> Move:
    source = _find(segment.source, targets, units)
    destination = _find(segment.destination, targets, units)
    _may(source, writing=False)
    _may(destination, writing=True)
    from_size, to_size = source.unit.config.block_size, destination.unit.config.block_size
    length = segment.length
    if segment.blocks is not None:
        length = segment.blocks * (to_size if segment.by_destination else from_size)
    if length > limits.COPY_SEGMENT_BYTES:
        raise sense.invalid_parameter(HEADER + len(targets) * TARGET_BYTES, 7, "segment too long")
    source_at = segment.source_lba * from_size + segment.source_offset
    destination_at = segment.destination_lba * to_size + segment.destination_offset
    if source_at + length > source.unit.blocks * from_size:
        raise _aborted(_NO_DETAIL, "source beyond the end")
    if destination_at + length > destination.unit.blocks * to_size:
        raise _aborted(_NO_DETAIL, "destination beyond the end")
    return Move(source, destination, source_at, destination_at, length)


def _may(peer: Peer, *, writing: bool) -> None:
    """The conditions that a READ or WRITE of this session would meet at that unit."""
    row = peer.unit.table[(0x8A if writing else 0x88, None)]
    try:
        peer.unit.check_reserved(peer.lane, row, bytes(16))
        peer.unit.check_conditions(row)
    except (CheckCondition, CommandEnded) as refused:
        raise _aborted(_THIRD_PARTY_FAILURE, str(refused)) from refused


def _carry_out(move: Move) -> None:
    """As memmove does it: where the ranges overlap, from the end that is read before it is written.

    Asks again before each piece: who was fenced at the destination meanwhile must not write there."""
    offsets = range(0, move.length, _BYTES_AT_ONCE)
    backwards = move.source.unit is move.destination.unit and move.source_at < move.destination_at
    for offset in reversed(offsets) if backwards else offsets:
        size = min(_BYTES_AT_ONCE, move.length - offset)
        data = _read(move.source, move.source_at + offset, size)
        _may(move.destination, writing=True)
        _write(move.destination, move.destination_at + offset, data)


def _read(peer: Peer, at: int, size: int) -> bytes:
    block, skip = divmod(at, peer.unit.config.block_size)
    count = -(-(skip + size) // peer.unit.config.block_size)
    return bytes(peer.medium.read(block, count))[skip : skip + size]


def _write(peer: Peer, at: int, data: bytes) -> None:
    block, skip = divmod(at, peer.unit.config.block_size)
    count = -(-(skip + len(data)) // peer.unit.config.block_size)
    if skip or len(data) % peer.unit.config.block_size:
        whole = bytearray(peer.medium.read(block, count))
        whole[skip : skip + len(data)] = data
        data = bytes(whole)
    peer.medium.write(block, data)


def _hold(request: Request, asked: CopyList, status: int, segments: int, moved: int) -> None:
    """Copy status, SPC-4 §6.21: kept for the nexus that asked, until it asks for too many others."""
    if not asked.hold:
        return
    copies = request.lane.copies
    copies.pop(asked.list_id, None)
    if len(copies) == limits.COPIES_HELD:
        del copies[next(iter(copies))]
    copies[asked.list_id] = struct.pack(">IBHBI", 8, status, segments, 0, min(moved, 0xFFFFFFFF))


def copy_status(request: Request) -> Plan:
    held = request.lane.copies.get(request.cdb[2])
    if held is None:
        raise sense.invalid_field(2, 7, why=f"no copy with list identifier {request.cdb[2]}")
    return clip(held, cdb.number(request.cdb, 10, 4))


def operating_parameters(request: Request) -> Plan:
    unit = request.unit
    size = unit.config.block_size
    # Half the unit, so that a segment of the greatest length fits beside its source.
    longest = max(1 << 20, min(limits.COPY_SEGMENT_BYTES, unit.blocks * size // 2))
    kinds = bytes(sorted((BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_WITH_OFFSET, IDENTIFICATION_TARGET)))
    body = struct.pack(
        ">B3xHHIIIII2xHBBBB3xB",
        0,
        limits.COPY_TARGETS,
        limits.COPY_SEGMENTS,
        limits.COPY_LIST_BYTES,
        longest,
        0,
        0,
        0,
        1,
        1,
        size.bit_length() - 1,
        0,
        0,
        len(kinds),
    )
    data = body + kinds
    return clip(struct.pack(">I", len(data)) + data, cdb.number(request.cdb, 10, 4))
