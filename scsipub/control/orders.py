"""Orders: what a tenant asks for, checked against its tier, becomes a target that can be made.

Pure: images, time and randomness are arguments.  Says everything that is wrong before anything is changed."""

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

import attrs

from scsipub.storage.images import Image
from scsipub.store.errors import Invalid, NotFound
from scsipub.store.ids import Random, new_id, new_uuid
from scsipub.store.records import Account, Target, Tenant, Unit
from scsipub.tiers import LEAST_BYTES_PER_SECOND, Tier

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_INITIATOR = re.compile(r"[!-~]{1,223}", re.ASCII)
MOST_INITIATORS = 64
CENTURY = 100 * 365.25 * 86400


@attrs.frozen(kw_only=True)
class LunWish:
    """One logical unit: over an image, or so many bytes of zeros, or an image with room behind it."""

    size: int | None = None
    image: str | None = None
    block_size: int = 512


@attrs.frozen(kw_only=True)
class Wish:
    """What a tenant wants to rent."""

    tenant: str  # id or name
    luns: tuple[LunWish, ...]
    tier: str | None = None  # the tenant's, unless it says another
    alias: str = ""
    initiators: tuple[str, ...] = ()
    nexus: str = "name"
    lifetime_seconds: float | None = None
    mutual: bool = False
    certificate_required: bool = False  # also where the tier does not ask for one


@attrs.frozen(kw_only=True)
class Rented:
    """What the tenant is told, once: the secrets are never shown again."""

    target: Target
    account: Account


def plan(
    wish: Wish,
    tenant: Tenant,
    tier: Tier,
    images: Mapping[str, Image],
    now: datetime,
    random: Random,
    id: str | None = None,
) -> Target:
    """The target that would be made, of this id or a new one.  Raises Invalid and NotFound."""
    if tenant.suspended:
        raise Invalid(f"tenant {tenant.name} is suspended", "tenant")
    if not tier.persistent:
        raise Invalid(f"tier {tier.name} is not for rent: its disks do not last", "tier")
    if not 1 <= len(wish.luns) <= tier.luns:
        raise Invalid(f"a target of tier {tier.name} has 1 to {tier.luns} units", "luns")
    if wish.nexus not in ("name", "initiator-port"):
        raise Invalid('nexus is "name" or "initiator-port"', "nexus")
    if len(wish.alias) > 255 or not wish.alias.isprintable():
        raise Invalid("an alias has up to 255 characters that can be printed", "alias")
    if len(wish.initiators) > MOST_INITIATORS or not all(map(_INITIATOR.fullmatch, wish.initiators)):
        raise Invalid(f"up to {MOST_INITIATORS} iSCSI names; * stands for anything", "initiators")
    id, lifetime = id or new_id(random), lifetime_of(wish.lifetime_seconds, tier)
    return Target(
        id=id,
        tenant_id=tenant.id,
        tier=tier.name,
        created=now,
        alias=wish.alias,
        nexus=wish.nexus,
        initiators=wish.initiators,
        tls_required=tier.tls_required or tier.certificate_required or wish.certificate_required,
        certificate_required=tier.certificate_required or wish.certificate_required,
        algorithm_floor=tier.algorithm_floor,
        expires=now + timedelta(seconds=lifetime) if lifetime is not None else None,
        units=tuple(plan_unit(id, n, lun, tier, images, now, random) for n, lun in enumerate(wish.luns)),
    )


def lifetime_of(wished: float | None, tier: Tier) -> float | None:
    """Seconds; None: for ever.  The tier's bound is not an error, it is what one gets."""
    if wished is not None and not (math.isfinite(wished) and 0 < wished <= CENTURY):
        raise Invalid("a lifetime is a number of seconds above zero, up to a century", "lifetime_seconds")
    if tier.lifetime_seconds is None:
        return wished
    return tier.lifetime_seconds if wished is None else min(wished, tier.lifetime_seconds)


def check_tier(tier: Tier) -> None:
    """Raises Invalid for terms that make no sense."""
    for field, least in (
        ("iops", 1),
        ("iops_burst", 1),
        ("bytes_per_second", LEAST_BYTES_PER_SECOND),
        ("bytes_burst", 1),
    ):
        said = getattr(tier, field)
        if said is not None and not (math.isfinite(said) and least <= said <= 1 << 62):
            raise Invalid(f"{field} is {least} or more; without it there is no bound", field)
    for field in ("lifetime_seconds", "expiry_grace_seconds", "warn_seconds"):
        said = getattr(tier, field)
        if said is not None and not (math.isfinite(said) and 0 <= said <= CENTURY):
            raise Invalid(f"{field} is a number of seconds, up to a century", field)


def plan_unit(
    target: str,
    number: int,
    wish: LunWish,
    tier: Tier,
    images: Mapping[str, Image],
    now: datetime,
    random: Random,
) -> Unit:
    """One unit of it."""
    field = f"luns[{number}]"
    if wish.block_size not in (512, 4096):
        raise Invalid("a block has 512 or 4096 bytes", f"{field}.block_size")
    image = None
    if wish.image is not None:
        image = images.get(wish.image)
        if image is None:
            raise NotFound("image", wish.image[:64])
    size = max(wish.size or 0, image.bytes if image is not None else 0)
    size = -(-size // wish.block_size) * wish.block_size
    if not wish.block_size <= size <= tier.disk_bytes:
        raise Invalid(f"a unit of tier {tier.name} has 1 to {tier.disk_bytes} bytes", f"{field}.size")
    return Unit(
        id=new_uuid(random),
        target_id=target,
        lun=number,
        size=size,
        created=now,
        budget=tier.allocation_budget,
        block_size=wish.block_size,
        image=wish.image,
        image_sha256=image.sha256 if image is not None else "",
        base_bytes=image.bytes if image is not None else 0,
    )
