"""The catalogue: which targets there are, and who may log in to them.

Knows the configuration and the image store.  Answers by name; hands out descriptions, never files.

    <prefix>:blank           zeros, ``blank_bytes`` of them
    <prefix>:image.<name>    a copy-on-write disk over an image
    <prefix>:multi           two units over two images
    [[target]]               what the configuration file lists
    <prefix>:<id>            what tenants rent; ``rentals`` knows those"""

import fnmatch
import functools
import hashlib
import sys
from collections.abc import Callable

import attrs

from scsipub.config import ChapUser, Config, LunConfig, TargetConfig
from scsipub.iscsi.chap import Account
from scsipub.storage.images import Image, ImageStore
from scsipub.target.descriptor import AuthDescriptor, LunDescriptor, Rates, TargetDescriptor
from scsipub.tiers import Tier

MULTI_LUNS = 2


@attrs.frozen(kw_only=True)
class Entry:
    """One target.  ``luns`` as configured; images are looked up when a session comes."""

    name: str
    luns: tuple[LunConfig, ...]
    budget: int
    public: bool = True  # discovery tells everybody of it
    shared: bool = False
    alias: str = ""
    users: tuple[ChapUser, ...] = ()
    algorithm_floor: int = 5
    initiators: tuple[str, ...] = ()
    sanitize_seconds: float = 0.0
    nexus: str = "name"
    units: tuple[LunDescriptor, ...] = ()  # described already: units that have an identity of their own
    closed: tuple[int, str] | None = None  # nobody may log in: the status to say so with, and why
    tls_required: bool = False
    certificate_required: bool = False
    certificates: frozenset[str] = frozenset()  # of who may come, then
    most_sessions: int | None = None
    rates: Rates = attrs.field(factory=Rates)

    @property
    def authenticated(self) -> bool:
        """Must an initiator prove who it is?"""
        return bool(self.users)

    @property
    def mutual(self) -> bool:
        return any(u.mutual_secret for u in self.users)

    def admits(self, initiator: str) -> bool:
        """Is this InitiatorName on the list?  No list admits everybody."""
        return not self.initiators or any(fnmatch.fnmatchcase(initiator, p) for p in self.initiators)

    def account(self, user: str) -> Account | None:
        for known in self.users:
            if known.user == user:
                return Account(
                    principal=user,
                    secret=known.secret.encode(),
                    mutual_name=known.mutual_user,
                    mutual_secret=known.mutual_secret.encode() if known.mutual_secret else None,
                )
        return None


class Catalogue:
    """Living: images come and go under it."""

    def __init__(self, config: Config, instance: bytes) -> None:
        self.config = config
        self.instance = instance  # random, made at the first start: makes identities ours alone
        self.store = ImageStore(config.images_dir)
        self.images: dict[str, Image] = {}
        self.rented: Callable[[str], Entry | None] = lambda id: None
        self.targets = {t.name: self._configured(t) for t in config.targets}
        self.reload()

    def reload(self) -> None:
        """Look at the images again."""
        self.images = {image.name: image for image in self.store.images()}

    def _configured(self, target: TargetConfig) -> Entry:
        tier = self.config.tiers[target.tier]
        return Entry(
            name=target.name,
            luns=target.luns,
            budget=tier.allocation_budget,
            shared=target.shared,
            alias=target.alias or "",
            users=target.users,
            algorithm_floor=target.algorithm_floor,
            initiators=target.initiators,
            sanitize_seconds=target.sanitize_seconds,
            nexus=target.nexus,
            rates=rates_of(tier),
        )

    # -- finding -----------------------------------------------------------------------------------------

    def find(self, name: str) -> Entry | None:
        """The target of this name, or None."""
        if name in self.targets:
            return self.targets[name]
        prefix, _, rest = name.rpartition(":")
        if prefix != self.config.iqn_prefix:
            return None
        limits = self.config.limits
        luns: tuple[LunConfig, ...]
        if rest == "blank":
            luns = (LunConfig(lun=0, size=limits.blank_bytes),)
        elif rest == "multi":
            luns = self._multi()
        elif rest.startswith("image.") and rest[6:] in self.images:
            luns = (LunConfig(lun=0, image=rest[6:]),)
        else:
            return self.rented(rest)
        if not luns:
            return None
        tier = self.config.tiers["anonymous"]
        return Entry(name=name, luns=luns, budget=tier.allocation_budget, rates=rates_of(tier))

    def _multi(self) -> tuple[LunConfig, ...]:
        """Two units on two images; fewer images than that, and the rest are blank."""
        names = sorted(self.images)[:MULTI_LUNS]
        return tuple(
            LunConfig(lun=i, image=names[i])
            if i < len(names)
            else LunConfig(lun=i, size=self.config.limits.blank_bytes)
            for i in range(MULTI_LUNS)
        )

    def names(self, initiator: str) -> list[str]:
        """What discovery tells this initiator."""
        prefix = self.config.iqn_prefix
        public = [
            f"{prefix}:blank",
            f"{prefix}:multi",
            *(f"{prefix}:image.{name}" for name in sorted(self.images)),
        ]
        return public + [e.name for e in self.targets.values() if e.public and e.admits(initiator)]

    # -- describing --------------------------------------------------------------------------------------

    def describe(self, entry: Entry, session: str, owner: str) -> TargetDescriptor:
        """Everything a worker needs to serve ``entry``.  ``owner`` names the overlays: a session's id, or a
        shared target's.  Raises KeyError when an image has gone."""
        luns = list(entry.units)
        for lun in entry.luns:
            overlay = f"d-{owner}-{lun.lun}"
            image = self.images[lun.image] if lun.image is not None else None
            luns.append(
                LunDescriptor(
                    lun=lun.lun,
                    uuid=self._identity(overlay),
                    overlay=overlay,
                    size=image.bytes if image is not None else lun.size or self.config.limits.blank_bytes,
                    budget=entry.budget,
                    image=self.store.path(image.name) if image is not None else None,
                    image_sha256=image.sha256 if image is not None else "",
                    read_only=lun.read_only,
                    removable=lun.removable,
                    thin=lun.thin,
                    block_size=lun.block_size,
                    physical_block_size=lun.physical_block_size,
                    unmap_ignores_pattern=lun.unmap_ignores_pattern,
                    sanitize_seconds=entry.sanitize_seconds,
                    adopt=entry.shared,
                )
            )
        return TargetDescriptor(
            name=sys.intern(entry.name),
            session=session,
            luns=tuple(luns),
            shared=entry.shared,
            nexus=entry.nexus,
            alias=entry.alias,
            rates=entry.rates,
            auth=_auth(entry.authenticated, entry.algorithm_floor, entry.mutual),
        )

    def _identity(self, overlay: str) -> str:
        """16 bytes in hex: one for each overlay of each install, the same for ever."""
        return hashlib.sha256(self.instance + b" unit " + overlay.encode()).hexdigest()[:32]

    def shared_owner(self, name: str) -> str:
        """The id under which a shared target keeps its overlays."""
        return hashlib.sha256(self.instance + b" target " + name.encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=64)
def rates_of(tier: Tier) -> Rates:
    """How fast a target of this tier may go."""
    return Rates(
        iops=tier.iops,
        iops_burst=tier.iops_burst,
        bytes_per_second=tier.bytes_per_second,
        bytes_burst=tier.bytes_burst,
    )


@functools.lru_cache(maxsize=64)
def _auth(required: bool, floor: int, mutual: bool) -> AuthDescriptor:
    """Thousands of sessions under a few policies: each of those is in memory once."""
    return AuthDescriptor(required=required, algorithm_floor=floor, mutual=mutual)
