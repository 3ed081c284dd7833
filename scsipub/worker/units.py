"""Units: from a target's description to logical units with disks that a session can use.

Knows storage and scsi through ``target``.  Opens each base once per worker.  A disposable target gets units
and disks of its own for every session; a shared one has them once, for as long as a session uses it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from scsipub.limits import Limits
from scsipub.scsi.attentions import POWER_ON_OR_RESET
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.lane import Peer
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.reservations import Reservations
from scsipub.scsi.unit import LogicalUnit
from scsipub.storage.base import Base, Blank
from scsipub.storage.disk import Disk
from scsipub.storage.layout import OverlayId, OverlayPaths
from scsipub.target.backing import Backing
from scsipub.target.descriptor import LunDescriptor, TargetDescriptor
from scsipub.target.keeping import reservations_from_json, reservations_to_json
from scsipub.target.nexus import Nexus
from scsipub.target.running import Path


@attrs.define(eq=False)
class OpenTarget:
    """The units of one target in this worker, and who uses them."""

    descriptor: TargetDescriptor
    backings: dict[int, Backing]
    nexuses: set[Nexus] = attrs.field(factory=set)


def image_key(lun: LunDescriptor) -> str:
    """An image that was replaced under its name is another image."""
    return f"{lun.image} {lun.image_sha256}"


# Keeps reservations: (target, LUN, state, called with None or with what went wrong).
Keeper = Callable[[str, int, dict[str, Any], Callable[[str | None], None]], None]


def _kept_nowhere(target: str, lun: int, state: dict[str, Any], done: Callable[[str | None], None]) -> None:
    done(None)


class Units:
    """All open targets of one worker.  Opening and closing may block: call them in a thread."""

    def __init__(
        self, overlays_dir: str, limits: Limits, incarnation: int, keeper: Keeper = _kept_nowhere
    ) -> None:
        self.keeper = keeper
        self.overlays_dir = overlays_dir
        self.limits = limits
        self.incarnation = incarnation
        self.bases: dict[str, Base] = {}
        self.users: Counter[str] = Counter()  # disks on each of them
        self.blanks: dict[int, Blank] = {}
        self.shared: dict[str, OpenTarget] = {}
        # Threads open targets.  Two first sessions of a shared one must not both open its disks.
        self.opening = threading.Lock()
        self.finding_base = threading.Lock()

    def open(self, descriptor: TargetDescriptor) -> OpenTarget:
        """Open what the session needs.  Raises OSError when an image or an overlay cannot be opened."""
        if not descriptor.shared:
            return self._open(descriptor)
        with self.opening:
            if descriptor.name not in self.shared:
                self.shared[descriptor.name] = self._open(descriptor)
            return self.shared[descriptor.name]

    def _open(self, descriptor: TargetDescriptor) -> OpenTarget:
        backings: dict[int, Backing] = {}
        try:
            for lun in descriptor.luns:
                backings[lun.lun] = self._open_lun(descriptor, lun)
        except BaseException:
            for backing in backings.values():
                backing.disk.close()
            self._let_go(lun for lun in descriptor.luns if lun.lun in backings)
            raise
        return OpenTarget(descriptor, backings)

    def _open_lun(self, descriptor: TargetDescriptor, lun: LunDescriptor) -> Backing:
        base = self._base(lun)
        try:
            return self._open_disk(descriptor, lun, base)
        except BaseException:
            self._let_go([lun])
            raise

    def _open_disk(self, descriptor: TargetDescriptor, lun: LunDescriptor, base: Base | Blank) -> Backing:
        overlay = OverlayId.parse(lun.overlay)
        if overlay is None:
            raise OSError(f"{lun.overlay!r} names no overlay")
        paths = OverlayPaths(self.overlays_dir, overlay, owner=self.incarnation)
        sectors = -(-lun.size // lun.block_size) * (lun.block_size // 512)
        disk = Disk(base, paths, lun.budget, read_only=lun.read_only, sectors=sectors)
        if lun.adopt:
            disk.adopt()
        config = UnitConfig(
            uuid=bytes.fromhex(lun.uuid),
            block_size=lun.block_size,
            thin=lun.thin,
            read_only=lun.read_only,
            removable=lun.removable,
            target_name=descriptor.name,
            portal_group=descriptor.portal_group,
            physical_exponent=(lun.physical_block_size // lun.block_size).bit_length() - 1,
            unmap_ignores_pattern=lun.unmap_ignores_pattern,
            max_transfer_bytes=self.limits.max_transfer_bytes,
            sanitize_seconds=lun.sanitize_seconds,
        )
        backing = Backing(LogicalUnit(config, blocks=sectors * 512 // lun.block_size), disk, lun.block_size)
        if descriptor.shared:
            self._keep(backing, descriptor.name, lun)
        return backing

    def _keep(self, backing: Backing, target: str, lun: LunDescriptor) -> None:
        """Reservations of a shared unit live as long as control does."""
        if lun.reservations is not None:
            backing.unit.reservations = reservations_from_json(lun.reservations)

        def keep(state: Reservations, done: Callable[[str | None], None]) -> None:
            self.keeper(target, lun.lun, reservations_to_json(state), done)

        backing.keep = keep

    def _base(self, lun: LunDescriptor) -> Base | Blank:
        with self.finding_base:
            return self._find_base(lun)

    def _find_base(self, lun: LunDescriptor) -> Base | Blank:
        if lun.image is None:
            sectors = -(-lun.size // 512)
            if sectors not in self.blanks:
                self.blanks[sectors] = Blank(sectors)
            return self.blanks[sectors]
        key = image_key(lun)
        if key not in self.bases:
            self.bases[key] = Base.open(lun.image, lun.image_sha256)
        self.users[key] += 1
        return self.bases[key]

    def _let_go(self, luns: Iterable[LunDescriptor]) -> None:
        """A base is closed with the last disk on it: an image that was removed gives its room back."""
        with self.finding_base:
            for key in (image_key(lun) for lun in luns if lun.image is not None):
                self.users[key] -= 1
                if not self.users[key]:
                    del self.users[key]
                    self.bases.pop(key).close()

    def connect(self, opened: OpenTarget, port: InitiatorPort) -> Nexus:
        """A nexus into every unit of the target.

        Its first command meets 29h/00h, whatever happened before: the one code that every initiator, the
        simplest included, takes for "try again"."""
        numbers = sorted(opened.backings)
        paths: dict[int, Path] = {}

        def peers() -> list[Peer]:
            return [Peer(p.backing.unit, p.lane, p.backing.medium) for p in paths.values()]

        for number, backing in opened.backings.items():
            lane = backing.unit.attach(
                port.name, port=port, luns=lambda: numbers, peers=peers, attention=POWER_ON_OR_RESET
            )
            size = backing.medium.block_size
            paths[number] = Path(lane, backing, backing.medium.blocks, (size // 512).bit_length() - 1)
        nexus = Nexus(self.limits, paths, _not_yet)
        nexus.management.siblings = opened.nexuses  # joins them once it has a session
        return nexus

    def disconnect(self, opened: OpenTarget, nexus: Nexus | None) -> bool:
        """The session is over and its threads have ended.  True if the target's disks are free to close."""
        if nexus is not None:
            opened.nexuses.discard(nexus)
            for path in nexus.paths.values():
                path.lane.unit.detach(path.lane)  # a peer that left before its session began never closed it
        return not opened.descriptor.shared

    def close(self, opened: OpenTarget) -> bool:
        """Let go of the disks; True if anything was written to them."""
        written = False
        for backing in opened.backings.values():
            written |= backing.disk.statistics().written
            backing.disk.close()
        self._let_go(opened.descriptor.luns)
        self.shared.pop(opened.descriptor.name, None) if opened.descriptor.shared else None
        return written


def _not_yet() -> None: ...
