"""INQUIRY: what the unit says about itself.

Source: SPC-4 §6.6 (standard data), §7.8 (VPD pages 00 80 83 86 87 8F), SBC-3 §6.6 (B0 B1 B2).  Everything
comes from ``UnitConfig`` and the limits in ``scsi.limits``: a limit that a command enforces is
read from the same place where the page tells it.

Version 6 (SPC-4), not 7: several clients of the day stop reading at a version they do not know."""

import struct
from collections.abc import Callable

from scsipub.scsi import cdb, limits, sense
from scsipub.scsi.command import Request
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.plan import Plan, clip

VERSION = 6
_VERSION_DESCRIPTORS = (
    0x00A0,  # SAM-5
    0x0460,  # SPC-4
    0x04C0,  # SBC-3
    0x0960,  # iSCSI
)


_BINARY, _ASCII, _UTF8 = 1, 2, 3
_UNIT, _PORT, _DEVICE = 0, 1, 2


def standard(config: UnitConfig, qualifier_and_type: int = 0x00) -> bytes:
    """96 bytes of standard INQUIRY data."""
    return struct.pack(
        ">BBBBBBBB8s16s4s20x2x8H22x",
        qualifier_and_type,
        0x80 if config.removable else 0x00,
        VERSION,
        0x12,  # HISUP, response data format 2
        91,
        0x18,  # TPGS: implicit; 3PC: EXTENDED COPY
        0x00,
        0x02,  # CMDQUE
        config.vendor.ljust(8).encode("ascii"),
        config.product.ljust(16).encode("ascii"),
        config.revision.ljust(4).encode("ascii"),
        *_VERSION_DESCRIPTORS,
        *(0,) * (8 - len(_VERSION_DESCRIPTORS)),
    )


def _designator(code_set: int, association: int, kind: int, value: bytes) -> bytes:
    """Identifier of iSCSI (protocol 5), PIV=1 where the association is a port or device.  SPC-4 §7.8.6.1."""
    protocol, piv = (5, 0x80) if association else (0, 0)
    return bytes([protocol << 4 | code_set, piv | association << 4 | kind, 0, len(value)]) + value


def _name_string(text: str) -> bytes:
    """UTF-8, at least one NUL, a multiple of four bytes.  SPC-4 §7.8.6.11."""
    raw = text.encode()
    return raw + bytes(4 - len(raw) % 4)


def designators(config: UnitConfig) -> tuple[tuple[int, int, bytes], ...]:
    """Code set, type and value of the unit's own names that fit the 20 bytes of a copy target descriptor."""
    return (_BINARY, 3, config.naa6), (_BINARY, 2, config.eui64)


def device_identification(config: UnitConfig, target_port: int = 1) -> bytes:
    """RFC 7143 §4.2.7.1: a SCSI target port is a portal group, which is what its name ends in."""
    port_name = f"{config.target_name},t,0x{target_port:04x}"
    return b"".join(
        (
            *(_designator(code_set, _UNIT, kind, value) for code_set, kind, value in designators(config)),
            _designator(_ASCII, _UNIT, 1, config.t10),
            _designator(_UTF8, _UNIT, 8, _name_string(config.scsi_name)),
            _designator(_BINARY, _PORT, 4, struct.pack(">2xH", target_port)),
            _designator(_BINARY, _PORT, 5, struct.pack(">2xH", target_port)),
            _designator(_UTF8, _PORT, 8, _name_string(port_name)),
            _designator(_UTF8, _DEVICE, 8, _name_string(config.target_name)),
        )
    )


def _serial(config: UnitConfig) -> bytes:
    return config.serial.encode("ascii")


def _extended(config: UnitConfig) -> bytes:
    # HEADSUP, ORDSUP, SIMPSUP; V_SUP: there is a volatile cache; LUICLR: attentions are cleared per nexus.
    return bytes([0x00, 0x07, 0x01 if config.write_cache else 0x00, 0x01]) + bytes(56)


def _mode_page_policy(config: UnitConfig) -> bytes:
    return bytes([0x3F, 0xFF, 0x00, 0x00])  # every page and subpage: shared by all nexuses


def _copy_descriptor(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", kind, len(body)) + body


def third_party_copy(config: UnitConfig) -> bytes:
    """VPD 8Fh, SPC-4 §7.8.17: which copy commands, descriptors and sizes ``scsi.copy`` takes."""
    commands = bytes([0x83, 1, 0x00, 0x84, 2, 0x00, 0x03])
    kinds = bytes([0x02, 0x0A, 0xE4])
    parameters = struct.pack(
        ">4xHHII12x", limits.COPY_TARGETS, limits.COPY_SEGMENTS, limits.COPY_LIST_BYTES, 0
    )
    general = struct.pack(">IIIBB18x", 1, 1, limits.COPY_SEGMENT_BYTES, config.block_size.bit_length() - 1, 0)
    return b"".join(
        (
            _copy_descriptor(0x0001, bytes([len(commands)]) + commands),
            _copy_descriptor(0x0004, parameters),
            _copy_descriptor(0x0008, bytes([len(kinds)]) + kinds),
            _copy_descriptor(0x8001, general),
        )
    )


def block_limits(config: UnitConfig) -> bytes:
    size = config.block_size
    physical = 1 << config.physical_exponent
    return struct.pack(
        ">BBHIIIIIIIQIIIII",
        0x00,  # WSNZ=0: WRITE SAME of zero blocks means to the end
        limits.COMPARE_AND_WRITE_BLOCKS,
        physical,
        limits.max_transfer(config),
        0,
        0,
        limits.max_unmap(config),
        limits.UNMAP_DESCRIPTORS if config.thin else 0,
        max(1, limits.UNMAP_GRANULARITY_BYTES // size),
        0x8000_0000,  # UGAVALID, alignment 0
        limits.max_write_same(config),
        limits.max_atomic(config),
        0,
        0,
        0,
        0,
    )


def _characteristics(config: UnitConfig) -> bytes:
    # WABEREQ and WACEREQ 01b: after a block or cryptographic erase, reads succeed.
    return struct.pack(">HBBB55x", config.rotation_rate, 0, 0x50, 0)


def _provisioning(config: UnitConfig) -> bytes:
    if not config.thin:
        return bytes(4)
    return bytes([0, 0x80 | 0x40 | 0x20 | 0x04, 0x02, 0])  # LBPU LBPWS LBPWS10 LBPRZ=001b, thin


def _supported(config: UnitConfig) -> bytes:
    return bytes(sorted(PAGES))


PAGES: dict[int, Callable[[UnitConfig], bytes]] = {
    0x00: _supported,
    0x80: _serial,
    0x83: device_identification,
    0x86: _extended,
    0x87: _mode_page_policy,
    0x8F: third_party_copy,
    0xB0: block_limits,
    0xB1: _characteristics,
    0xB2: _provisioning,
}


def inquiry(request: Request) -> Plan:
    it, config = request.cdb, request.unit.config
    allocation = cdb.number(it, 3, 2)
    if not it[1] & 0x01:
        if it[2]:
            raise sense.invalid_field(2, 7, why="page code without EVPD")
        return clip(standard(config), allocation)
    page = PAGES.get(it[2])
    if page is None:
        raise sense.invalid_field(2, 7, why=f"no VPD page {it[2]:#04x}")
    if page is device_identification:
        body = device_identification(config, request.lane.target_port)
    else:
        body = page(config)
    return clip(struct.pack(">BBH", 0x00, it[2], len(body)) + body, allocation)
