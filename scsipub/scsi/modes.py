"""MODE SENSE and MODE SELECT, 6 and 10 bytes: the three mode pages of a disk and what may be changed in them.

Source: SPC-4 §6.11-6.14 (commands), §7.5 (headers, block descriptors, pages), SBC-3 §6.4 (caching page,
device specific parameter).  Pages are shared by all nexuses (VPD 87h says so) and never saved.

``PAGES`` holds for each page its current bytes and its changeable mask; SENSE and SELECT both read it."""

import struct
from collections.abc import Callable

import attrs

from scsipub.scsi import attentions, cdb, sense
from scsipub.scsi.command import Request
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.medium import Data, Medium
from scsipub.scsi.plan import Plan, clip

WRITE_PROTECT = 0x80
DPO_FUA = 0x10
ALL_PAGES = 0x3F
ALL_SUBPAGES = 0xFF

CACHING = 0x08
CONTROL = 0x0A
INFORMATIONAL_EXCEPTIONS = 0x1C


@attrs.frozen
class ModeState:
    """What MODE SELECT can change.  The defaults are what a reset brings back."""

    swp: bool = False  # software write protect
    d_sense: bool = False  # descriptor-format sense data


AS_AFTER_RESET = ModeState()


@attrs.frozen
class Page:
    """A mode page without its two header bytes."""

    now: Callable[[UnitConfig, ModeState], bytes]
    changeable: bytes


def _caching(config: UnitConfig, modes: ModeState) -> bytes:
    return bytes([0x04 if config.write_cache else 0x00]) + bytes(17)


def _control(config: UnitConfig, modes: ModeState) -> bytes:
    # QUEUE ALGORITHM MODIFIER 1: reordering is unrestricted.  TST 0: one task set.  TAS 0: aborted commands
    # of others just vanish and a unit attention says so.
    return bytes([0x04 if modes.d_sense else 0x00, 0x10, 0x08 if modes.swp else 0x00]) + bytes(7)


def _informational_exceptions(config: UnitConfig, modes: ModeState) -> bytes:
    return bytes([0x08]) + bytes(9)  # DEXCPT: there is nothing to predict about a file


PAGES: dict[int, Page] = {
    CACHING: Page(_caching, bytes(18)),  # WCE is a fact about the host, not a wish
    CONTROL: Page(_control, bytes([0x04, 0x00, 0x08]) + bytes(7)),
    INFORMATIONAL_EXCEPTIONS: Page(_informational_exceptions, bytes(10)),
}


def _pages(code: int, subpage: int, control: int, config: UnitConfig, modes: ModeState) -> bytes:
    if subpage not in (0x00, ALL_SUBPAGES):
        raise sense.invalid_field(3, 7, why=f"no subpage {subpage:#04x}")
    if code != ALL_PAGES and code not in PAGES:
        raise sense.invalid_field(2, 5, why=f"no mode page {code:#04x}")
    out = b""
    for number, page in PAGES.items():
        if code in (number, ALL_PAGES):
            body = {
                0: lambda page=page: page.now(config, modes),
                1: lambda page=page: page.changeable,
                2: lambda page=page: page.now(config, ModeState()),
            }[control]()
            out += bytes([number, len(body)]) + body
    return out


def _block_descriptor(blocks: int, block_size: int, long: bool) -> bytes:
    if long:
        return struct.pack(">Q4xI", blocks, block_size)
    return struct.pack(">II", min(blocks, 0xFFFFFFFF), block_size)


def mode_sense(request: Request) -> Plan:
    """MODE SENSE(6) and (10)."""
    it, unit = request.cdb, request.unit
    short = it[0] == 0x1A
    if it[2] >> 6 == 3:
        raise sense.saving_not_supported()
    pages = _pages(it[2] & 0x3F, it[3], it[2] >> 6, unit.config, unit.modes)
    long = not short and bool(it[1] & 0x10)  # LLBAA
    descriptor = b"" if it[1] & 0x08 else _block_descriptor(unit.blocks, unit.config.block_size, long)
    device = (WRITE_PROTECT if unit.write_protected else 0) | DPO_FUA
    if short:
        header = struct.pack(">BBBB", 3 + len(descriptor) + len(pages), 0, device, len(descriptor))
        return clip(header + descriptor + pages, it[4])
    header = struct.pack(">HBBBxH", 6 + len(descriptor) + len(pages), 0, device, int(long), len(descriptor))
    return clip(header + descriptor + pages, cdb.number(it, 7, 2))


def mode_select(request: Request) -> Plan:
    """MODE SELECT(6) and (10)."""
    it = request.cdb
    short = it[0] == 0x15
    if not it[1] & 0x10:
        raise sense.invalid_field(1, 4, why="PF=0: vendor-specific pages")
    if it[1] & 0x01:
        raise sense.invalid_field(1, 0, why="SP=1: pages are not saved")
    length = it[4] if short else cdb.number(it, 7, 2)
    if length == 0:
        return Plan()

    def run(medium: Medium, data: Data) -> None:
        unit = request.unit
        modes = parse_select_untrusted(bytes(data[:length]), short, unit.blocks, unit.config, unit.modes)
        if modes != unit.modes:
            unit.modes = modes
            unit.raise_attention(attentions.MODE_PARAMETERS_CHANGED, but=request.lane)
            unit.refresh()

    return Plan(data_out=length, run=run)


def parse_select_untrusted(
    data: bytes, short: bool, blocks: int, config: UnitConfig, modes: ModeState
) -> ModeState:
    """The state that this parameter list asks for; all of it is checked before any of it counts."""
    header = 4 if short else 8
    if len(data) < header:
        raise sense.parameter_list_length("mode parameter header")
    if data[1 if short else 2]:
        raise sense.invalid_parameter(1 if short else 2, 7, "medium type")
    descriptor_length = data[3] if short else cdb.number(data, 6, 2)
    long = not short and bool(data[4] & 0x01)
    if descriptor_length not in (0, 16 if long else 8):
        raise sense.invalid_parameter(3 if short else 6, 7, "block descriptor length")
    at = header + descriptor_length
    if len(data) < at:
        raise sense.parameter_list_length("block descriptor")
    if descriptor_length:
        _check_block_descriptor(data[header:at], header, long, blocks, config.block_size)
    while at < len(data):
        modes, at = _select_page(data, at, config, modes)
    return modes


def _check_block_descriptor(it: bytes, offset: int, long: bool, blocks: int, block_size: int) -> None:
    """The size of the unit cannot be set; naming it as it is, or not at all (0, all ones), is no change."""
    count, size = struct.unpack(">Q4xI" if long else ">II", it)
    mask = 0xFFFFFF if not long else 0xFFFFFFFF  # byte 4 of the short form was DENSITY CODE once
    everything = (1 << 64) - 1 if long else 0xFFFFFFFF
    if count not in (0, everything, blocks if long else min(blocks, 0xFFFFFFFF)):
        raise sense.invalid_parameter(offset, 7, "number of blocks")
    if size & mask not in (block_size, 0):
        raise sense.invalid_parameter(offset + (12 if long else 5), 7, "block length")


def _select_page(data: bytes, at: int, config: UnitConfig, modes: ModeState) -> tuple[ModeState, int]:
    if len(data) < at + 2:
        raise sense.parameter_list_length("mode page header")
    if data[at] & 0x40:
        raise sense.invalid_parameter(at, 6, "subpage format")
    code = data[at] & 0x3F  # PS, bit 7, is reserved here, but SENSE hands it out and clients hand it back
    page = PAGES.get(code)
    if page is None:
        raise sense.invalid_parameter(at, 5, f"no mode page {code:#04x}")
    size = len(page.changeable)
    if data[at + 1] != size:
        raise sense.invalid_parameter(at + 1, 7, "page length")
    asked = data[at + 2 : at + 2 + size]
    if len(asked) < size:
        raise sense.parameter_list_length("mode page")
    current = page.now(config, modes)
    for index, (new, old, may) in enumerate(zip(asked, current, page.changeable, strict=True)):
        wrong = (new ^ old) & ~may & 0xFF
        if wrong:
            raise sense.invalid_parameter(at + 2 + index, wrong.bit_length() - 1, "not changeable")
    if code == CONTROL:
        modes = ModeState(swp=bool(asked[2] & 0x08), d_sense=bool(asked[0] & 0x04))
    return modes, at + 2 + size
