"""What a world stands on: images, units with real disks, and sessions joined as a worker does.

Knows files.  One ``Ground`` per process; units and connections belong to one world."""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs

from fuzz.content import SECTOR, Content
from fuzz.effects import Disk as KnownDisk
from fuzz.entry import TARGET, Entry
from fuzz.hearing import Facts
from fuzz.referee import Referee
from fuzz.steps import fill
from scsipub.iscsi.login_records import LoginFinished
from scsipub.iscsi.outbox import Outbox
from scsipub.iscsi.session import Session
from scsipub.iscsi.text_exchange import TargetRecord
from scsipub.limits import Limits
from scsipub.scsi.attentions import POWER_ON_OR_RESET
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.lane import Peer
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.unit import LogicalUnit
from scsipub.storage.base import Base, Blank
from scsipub.storage.disk import Disk
from scsipub.storage.layout import OverlayId, OverlayPaths
from scsipub.target.backing import Backing
from scsipub.target.nexus import Nexus
from scsipub.target.running import Path

LIMITS = Limits()
STALE = b"\xa5stale\x5a0123456789"  # what lies in shared buffers from before: must never come out
CANARY = b"\xc3neighbour\x3c12345"  # what the neighbour's disk is full of: only the neighbour may see it
BUFFER = 4 << 20
PORT_NAME = "iqn.1993-08.org.debian:01:fuzz"
RECORDS = [TargetRecord(TARGET, ("[::1]:3260,1",))]
# (block size, sectors, read only, has an image below)
UNITS = ((512, 1024, False, True), (4096, 2048, False, False), (512, 64, True, True))


class Ground:
    """What all worlds of one process stand on: a directory, and images that never change."""

    def __init__(self, directory: str) -> None:
        self.overlays = os.path.join(directory, "overlays")
        os.makedirs(os.path.join(self.overlays, "disposable"), exist_ok=True)
        self.images = {
            False: self._image(os.path.join(directory, "image"), fill(1, 700 * SECTOR + 100)),
            True: self._image(os.path.join(directory, "neighbour"), CANARY * (700 * SECTOR // len(CANARY))),
        }
        self.bases = {neighbour: Base.open(path) for neighbour, path in self.images.items()}
        self.buffer = memoryview(bytearray(BUFFER))
        self.out = Outbox()
        self.out.view[:] = (STALE * (self.out.size // len(STALE) + 1))[: self.out.size]
        self.worlds = 0

    @staticmethod
    def _image(path: str, data: bytes) -> str:
        with open(path, "wb") as file:
            file.write(data)
        return path

    def unchanged(self) -> bool:
        """The bytes of an image never change."""
        wanted = (fill(1, 700 * SECTOR + 100), CANARY * (700 * SECTOR // len(CANARY)))
        return all(_read(self.images[n]) == w for n, w in zip((False, True), wanted, strict=True))

    def close(self) -> None:
        for base in self.bases.values():
            base.close()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@attrs.define(eq=False)
class Units:
    """The units of one target, and what we know of their disks."""

    backings: dict[int, Backing]
    known: dict[int, KnownDisk]
    nexuses: list[Nexus] = attrs.field(factory=list)
    referees: list[Any] = attrs.field(factory=list)


@attrs.define(eq=False)
class Connection:
    """One connection, from its first byte on."""

    who: int
    entry: Entry
    units: Units
    inbox: bytearray = attrs.field(factory=bytearray)
    late: bytes = b""
    nexus: Nexus | None = None
    referee: Referee | None = None
    apart: bool = False  # the neighbour, on disks of its own
    stalled: bool = False
    closed: bool = False


def units_of(ground: Ground, budget: int, *, neighbour: bool) -> Units:
    """Fresh overlays over images that never change."""
    backings, known = {}, {}
    for lun, (block_size, sectors, read_only, image) in enumerate(UNITS):
        base = ground.bases[neighbour] if image else Blank(sectors)
        overlay = OverlayId("d", f"w{ground.worlds}{'b' if neighbour else 'a'}", lun)
        paths = OverlayPaths(ground.overlays, overlay, owner=1)
        disk = Disk(base, paths, budget, read_only=read_only, sectors=sectors)
        config = UnitConfig(
            uuid=bytes([lun + 1]) * 16, block_size=block_size, read_only=read_only, target_name=TARGET,
            removable=read_only, max_transfer_bytes=LIMITS.max_transfer_bytes,
        )  # fmt: skip
        backings[lun] = Backing(LogicalUnit(config, sectors * 512 // block_size), disk, block_size)
        below = _read(ground.images[neighbour]) if image else b""
        content = Content(below[: sectors * SECTOR].ljust(sectors * SECTOR, b"\0"))
        known[lun] = KnownDisk(content, (block_size // 512).bit_length() - 1)
    return Units(backings, known)


def open_session(
    connection: Connection,
    finished: LoginFinished,
    out: Outbox,
    seen: Counter[tuple[str, str]],
    wake: Callable[[], None],
) -> None:
    """What ``scsipub.worker`` does when a login has succeeded, and a referee beside it."""
    negotiated, units = finished.parameters, connection.units
    paths: dict[int, Path] = {}

    def peers() -> list[Peer]:
        return [Peer(p.backing.unit, p.lane, p.backing.medium) for p in paths.values()]

    discovery = negotiated.discovery
    # Whatever it has called itself: to reservations it is who it is.
    port = InitiatorPort(PORT_NAME, bytes((0x80, 0, 0, 0, 0, connection.who)))
    for lun, backing in units.backings.items() if not discovery else ():
        lane = backing.unit.attach(
            port.name, port=port, luns=lambda: sorted(units.backings), peers=peers,
            attention=POWER_ON_OR_RESET,
        )  # fmt: skip
        paths[lun] = Path(lane, backing, backing.medium.blocks, units.known[lun].shift)
    nexus = Nexus(LIMITS, paths, wake)
    stat_sn = (finished.response.stat_sn + 1) & 0xFFFFFFFF
    nexus.session = Session(
        negotiated, LIMITS, out, None if discovery else nexus, stat_sn=stat_sn, now=0.0,
        targets=lambda wanted: RECORDS if wanted in (None, TARGET) else [],
    )  # fmt: skip
    facts = Facts(
        negotiated.header_digest, negotiated.data_digest, LIMITS.max_recv_data_segment,
        negotiated.max_xmit_data_segment, negotiated.first_burst, negotiated.max_burst,
        negotiated.initial_r2t, negotiated.immediate_data, negotiated.cid, negotiated.cmd_sn, stat_sn,
        discovery, LIMITS.command_window, LIMITS.immediate_commands, LIMITS.session_write_bytes,
    )  # fmt: skip
    connection.nexus = nexus
    connection.referee = Referee(facts, {} if discovery else units.known, seen)
    connection.referee.port = connection.who
    if not discovery:
        units.nexuses.append(nexus)
        nexus.management.siblings = units.nexuses
        units.referees.append(connection.referee)
        connection.referee.siblings = units.referees
