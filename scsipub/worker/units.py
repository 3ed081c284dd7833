"""Units: from a target's description to logical units with disks that a session can use.

Knows storage and scsi through ``target``.  Opens each base once per worker.  A disposable target gets units
and disks of its own for every session; a shared one has them once, for as long as a session uses it."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from scsipub.limits import Limits
from scsipub.scsi.attentions import POWER_ON_OR_RESET, Attention
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.reservations import Change
from scsipub.scsi.unit import LogicalUnit
from scsipub.storage.base import Base, Blank
from scsipub.storage.disk import Disk
from scsipub.storage.folder import DIRECT, Folder
from scsipub.storage.layout import OverlayId, OverlayPaths
from scsipub.target.backing import Backing
from scsipub.target.descriptor import LunDescriptor, Rates, TargetDescriptor
from scsipub.target.keeping import change_to_json, reservations_from_json
from scsipub.target.nexus import Nexus
from scsipub.target.running import Path
from scsipub.target.throttle import Throttle

# A worker whose control process was killed ends within five seconds.
OWNER_SECONDS = 6.0


@attrs.define(eq=False)
class OpenTarget:
    """The units of one target in this worker, and who uses them."""

    name: str
    shared: bool
    backings: dict[int, Backing]  # by LUN
    nexuses: list[Nexus] = attrs.field(factory=list)  # of the sessions
    attached: list[Nexus] = attrs.field(factory=list)  # these, and those whose login is not over yet
    throttle: Throttle | None = None

    def window(self, most: int) -> int:
        """How many commands each of its sessions may have under way."""
        return most if self.throttle is None else self.throttle.window(most, len(self.attached))

    def set_windows(self, most: int) -> None:
        """Somebody has come or gone, or the rates have changed."""
        window = self.window(most)
        for nexus in self.nexuses:
            if nexus.session.window_size != window:
                nexus.session.set_window(window)


# Keeps reservations: (target, LUN, state, called with None or with what went wrong).
Keeper = Callable[[str, int, dict[str, Any], Callable[[str | None], None]], None]


def _kept_nowhere(target: str, lun: int, state: dict[str, Any], done: Callable[[str | None], None]) -> None:
    done(None)


def _no_alarm(throttle: Throttle) -> None: ...


def _the_folder_itself(target: str) -> Folder:
    return DIRECT


class Units:
    """All open targets of one worker.  Opening and closing may block: call them in a thread."""

    def __init__(
        self,
        overlays_dir: str,
        limits: Limits,
        incarnation: int,
        keeper: Keeper = _kept_nowhere,
        target_ports: int = 1,
        alarm: Callable[[Throttle], None] = _no_alarm,
        folder: Callable[[str], Folder] = _the_folder_itself,
    ) -> None:
        self.alarm = alarm
        self.folder = folder  # where a target's lasting disks are
        self.rates: dict[str, Rates] = {}  # what control said last, of shared targets
        self.target_ports = target_ports
        self.keeper = keeper
        self.overlays_dir = overlays_dir
        self.limits = limits
        self.incarnation = incarnation
        self.bases: dict[str, Base] = {}
        self.users: Counter[Base] = Counter()  # disks on each of them
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
        backings: list[Backing] = []
        try:
            for lun in descriptor.luns:
                backings.append(self._open_lun(descriptor, lun))
        except BaseException:
            for backing in backings:
                backing.real.close()
            self._let_go(backing.real.base for backing in backings)
            raise
        by_lun = {lun.lun: backing for lun, backing in zip(descriptor.luns, backings, strict=True)}
        opened = OpenTarget(sys.intern(descriptor.name), descriptor.shared, by_lun)
        self._set_rates(opened, self.rates.get(descriptor.name, descriptor.rates), 0.0)
        return opened

    def set_rates(self, target: str, rates: Rates, now: float) -> None:
        """A shared target may go so fast from now on; its sessions notice nothing but that."""
        self.rates[target] = rates
        opened = self.shared.get(target)
        if opened is not None:
            self._set_rates(opened, rates, now)

    def _set_rates(self, opened: OpenTarget, rates: Rates, now: float) -> None:
        throttle = opened.throttle
        if not rates:
            if throttle is not None:
                throttle.release_all(now)
            opened.throttle = None
        elif throttle is None:
            opened.throttle = Throttle(rates, self.alarm, self.limits.max_transfer_bytes)
        else:
            throttle.change(rates, now)
        for nexus in opened.attached:
            nexus.throttle = opened.throttle
        opened.set_windows(self.limits.command_window)

    def _open_lun(self, descriptor: TargetDescriptor, lun: LunDescriptor) -> Backing:
        base = self._base(lun)
        try:
            return self._open_disk(descriptor, lun, base)
        except BaseException:
            self._let_go([base])
            raise

    def _open_disk(self, descriptor: TargetDescriptor, lun: LunDescriptor, base: Base | Blank) -> Backing:
        overlay = OverlayId.parse(lun.overlay)
        if overlay is None:
            raise OSError(f"{lun.overlay!r} names no overlay")
        folder = self.folder(descriptor.name) if lun.persistent else DIRECT
        paths = OverlayPaths(self.overlays_dir, overlay, owner=self.incarnation, folder=folder)
        sectors = -(-lun.size // lun.block_size) * (lun.block_size // 512)
        if lun.persistent:
            disk = _open_lasting(base, paths, lun.budget, sectors)
            disk.read_only = lun.read_only
        else:
            disk = Disk(base, paths, lun.budget, read_only=lun.read_only, sectors=sectors)
            if lun.adopt:
                disk.adopt()
        config = UnitConfig(
            uuid=bytes.fromhex(lun.uuid),
            block_size=lun.block_size,
            thin=lun.thin,
            read_only=lun.read_only,
            removable=lun.removable,
            target_name=sys.intern(descriptor.name),
            target_ports=self.target_ports,
            physical_exponent=(lun.physical_block_size // lun.block_size).bit_length() - 1,
            unmap_ignores_pattern=lun.unmap_ignores_pattern,
            max_transfer_bytes=self.limits.max_transfer_bytes,
            sanitize_seconds=lun.sanitize_seconds,
        )
        unit = LogicalUnit(config, blocks=sectors * 512 // lun.block_size)
        backing = Backing(unit, disk, lun.block_size, self.limits.unit_threads)
        if descriptor.shared:
            self._keep(backing, descriptor.name, lun)
        return backing

    def _keep(self, backing: Backing, target: str, lun: LunDescriptor) -> None:
        """Reservations of a shared unit live as long as control does."""
        if lun.reservations is not None:
            backing.unit.reservations = reservations_from_json(lun.reservations)
        backing.unit.keeps_reservations = lun.persistent

        def keep(change: Change, done: Callable[[str | None], None]) -> None:
            self.keeper(target, lun.lun, change_to_json(change), done)

        backing.keep = keep

    # -- what ``changing`` does to a target in use -------------------------------------------------------

    def find(self, target: str) -> OpenTarget | None:
        """The shared target, if it is open; waits for whoever opens it just now.  May block."""
        with self.opening:
            return self.shared.get(target)

    def open_another(self, opened: OpenTarget, lun: LunDescriptor) -> Backing:
        """One more unit of a shared target.  May block; raises OSError."""
        return self._open_lun(TargetDescriptor(name=opened.name, session="", shared=True), lun)

    def grow(self, backing: Backing, lun: LunDescriptor) -> tuple[int, Base | Blank]:
        """Make the disk of a unit as long as it is described; (sectors, base) for ``grown``.  May block."""
        sectors = -(-lun.size // lun.block_size) * (lun.block_size // 512)
        base = self._base(lun) if isinstance(backing.real.base, Blank) else backing.real.base
        backing.real.grow(sectors, base)
        return sectors, base

    def close_one(self, backing: Backing) -> None:
        """Let go of a unit that nobody sees any more.  May block."""
        backing.real.close()
        self._let_go([backing.real.base])

    def _base(self, lun: LunDescriptor) -> Base | Blank:
        with self.finding_base:
            return self._find_base(lun)

    def _find_base(self, lun: LunDescriptor) -> Base | Blank:
        if lun.image is None:
            sectors = -(-lun.size // 512)
            if sectors not in self.blanks:
                self.blanks[sectors] = Blank(sectors)
            return self.blanks[sectors]
        # An image that was replaced under its name is another image.
        key = f"{lun.image} {lun.image_sha256}"
        if key not in self.bases:
            self.bases[key] = Base.open(lun.image, lun.image_sha256)
        base = self.bases[key]
        self.users[base] += 1
        return base

    def _let_go(self, bases: Iterable[Base | Blank]) -> None:
        """A base is closed with the last disk on it: an image that was removed gives its room back."""
        with self.finding_base:
            for base in bases:
                if isinstance(base, Blank):
                    continue
                self.users[base] -= 1
                if not self.users[base]:
                    del self.users[base]
                    self.bases = {key: other for key, other in self.bases.items() if other is not base}
                    base.close()

    def connect(
        self,
        opened: OpenTarget,
        port: InitiatorPort,
        target_port: int = 1,
        attention: Attention = POWER_ON_OR_RESET,
    ) -> Nexus:
        """A nexus into every unit of the target.

        Its first command meets 29h/00h, whatever happened before: the one code that every initiator, the
        simplest included, takes for "try again".  Who has replaced its own session is told 29h/07h."""
        nexus = Nexus(self.limits, {}, _not_yet)
        for number, backing in opened.backings.items():
            attach(nexus, number, backing, port, target_port, attention)
        nexus.management.siblings = opened.nexuses  # joins them once it has a session
        nexus.throttle = opened.throttle
        opened.attached.append(nexus)
        return nexus

    def disconnect(self, opened: OpenTarget, nexus: Nexus | None) -> bool:
        """The session is over and its threads have ended.  True if the target's disks are free to close."""
        if nexus is not None:
            opened.attached.remove(nexus)
            if nexus in opened.nexuses:
                opened.nexuses.remove(nexus)
                opened.set_windows(self.limits.command_window)
            for path in nexus.paths.values():
                path.backing.left(path.lane)  # a peer that left before its session began never closed it
        return not opened.shared

    def close(self, opened: OpenTarget) -> bool:
        """Let go of the disks; True if anything was written to them."""
        written = False
        for backing in opened.backings.values():
            written |= backing.real.statistics().written
            backing.real.close()
        self._let_go([backing.real.base for backing in opened.backings.values()])
        if opened.shared:
            self.shared.pop(opened.name, None)
            self.rates.pop(opened.name, None)
        return written

    def release(self, target: str) -> list[str]:
        """Let go of a shared target that no session uses: what was written is on the medium, or it is said
        what is wrong.  May block."""
        wrong = []
        with self.opening:
            opened = self.shared.get(target)
            if opened is None:
                return []
            for number, backing in opened.backings.items():
                try:
                    backing.real.flush()
                except OSError as error:
                    wrong.append(f"LUN {number}: {error}")
            self.close(opened)
        return wrong

    def release_all(self) -> list[str]:
        """At the end.  Sessions have ended before."""
        return [f"{target}, {error}" for target in list(self.shared) for error in self.release(target)]


def attach(
    nexus: Nexus,
    number: int,
    backing: Backing,
    port: InitiatorPort,
    target_port: int,
    attention: Attention = POWER_ON_OR_RESET,
) -> None:
    """One more unit for a nexus."""
    paths = nexus.paths
    lane = backing.unit.attach(
        port.name,
        port=port,
        luns=paths.luns,
        peers=paths.peers,
        attention=attention,
        target_port=target_port,
    )
    size = backing.medium.block_size
    paths.add(number, Path(lane, backing, backing.medium.blocks, (size // 512).bit_length() - 1))


def _open_lasting(base: Base | Blank, paths: OverlayPaths, budget: int, sectors: int) -> Disk:
    """A disk that lasts.  Its last owner may be dying just now: the kernel says when it is gone."""
    until = time.monotonic() + OWNER_SECONDS
    while True:
        try:
            return Disk.open_durable(base, paths, budget, sectors=sectors)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)


def _not_yet() -> None: ...
