"""What the store remembers, as frozen records.

Pure: no database, no clock, no randomness; times are aware datetimes in UTC.  Nothing here holds a secret in
the clear but ``Account``, which does not show it."""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs


class TargetState(enum.StrEnum):
    """Where a rented target is in its life."""

    CREATING = "CREATING"  # the row is there, its disks are being made; nobody was told of it yet
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"  # by its tenant or the operator; keeps everything
    EXPIRED = "EXPIRED"  # its time is over; kept for the grace
    OFFLINE = "OFFLINE"  # a disk is not what it should be; ``reason`` says why
    DELETING = "DELETING"  # its disks are being removed; nothing brings it back


class UnitState(enum.StrEnum):
    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    OFFLINE = "OFFLINE"
    DELETING = "DELETING"


# state -> states it may go to.  A pair that is not here is a Conflict.  DELETING ends with the row.
MOVES: Mapping[TargetState, frozenset[TargetState]] = {
    TargetState.CREATING: frozenset({TargetState.ACTIVE, TargetState.DELETING}),
    TargetState.ACTIVE: frozenset(
        {TargetState.SUSPENDED, TargetState.EXPIRED, TargetState.OFFLINE, TargetState.DELETING}
    ),
    TargetState.SUSPENDED: frozenset(
        {TargetState.ACTIVE, TargetState.EXPIRED, TargetState.OFFLINE, TargetState.DELETING}
    ),
    TargetState.EXPIRED: frozenset({TargetState.ACTIVE, TargetState.OFFLINE, TargetState.DELETING}),
    TargetState.OFFLINE: frozenset({TargetState.ACTIVE, TargetState.EXPIRED, TargetState.DELETING}),
    TargetState.DELETING: frozenset(),
}

SCOPES = frozenset(
    {
        "targets:read",
        "targets:write",
        "images:read",
        "images:write",
        "sessions:read",
        "sessions:write",
        "events:read",
        "tokens:write",
        "admin",  # tenants, tiers, and everybody's targets
    }
)


@attrs.frozen(kw_only=True)
class Tenant:
    """Somebody who rents."""

    id: str
    name: str
    tier: str  # of what they rent, unless they say another
    created: datetime
    suspended: bool = False


@attrs.frozen(kw_only=True)
class TenantCertificate:
    """How a tenant's machines prove whose they are: ``sha256:FINGERPRINT`` or ``name:NAME``."""

    id: str
    tenant_id: str
    identity: str
    created: datetime


@attrs.frozen(kw_only=True)
class Token:
    """The right to use the API.  The secret half is kept by whoever was given it."""

    id: str
    tenant_id: str | None  # None: the operator
    name: str
    scopes: frozenset[str]
    created: datetime
    expires: datetime | None = None
    last_used: datetime | None = None
    revoked: datetime | None = None


@attrs.frozen(kw_only=True)
class StoredImage:
    """An image that units may stand on.  ``tenant_id`` None: everybody's."""

    name: str
    sha256: str
    bytes: int
    format: str
    imported: datetime
    tenant_id: str | None = None
    origin: str = ""


@attrs.frozen(kw_only=True)
class Unit:
    """One logical unit of a rented target.  ``id`` is its SCSI identity, for ever."""

    id: str  # 32 hexadecimal digits
    target_id: str
    lun: int
    size: int  # bytes
    created: datetime
    budget: int  # bytes that may be allocated for it
    block_size: int = 512
    image: str | None = None  # None: zeros
    image_sha256: str = ""
    base_bytes: int = 0  # of the image, as it was; a unit may be larger
    read_only: bool = False
    state: UnitState = UnitState.CREATING
    reason: str = ""

    @property
    def overlay(self) -> str:
        """What its files are called.  By its identity: a number that was freed may be another's soon."""
        return f"t-{self.id}-{self.lun}"


@attrs.frozen(kw_only=True)
class Target:
    """A rented target.  ``version`` counts its changes."""

    id: str
    tenant_id: str
    tier: str
    created: datetime
    alias: str = ""
    state: TargetState = TargetState.CREATING
    reason: str = ""
    nexus: str = "name"  # who is one initiator to reservations: its name, or its "initiator-port"
    initiators: tuple[str, ...] = ()
    tls_required: bool = False
    certificate_required: bool = False  # one of its tenant's
    algorithm_floor: int = 5
    expires: datetime | None = None
    warned: datetime | None = None  # of which end its tenant has been warned
    version: int = 1
    units: tuple[Unit, ...] = ()

    @property
    def served(self) -> tuple[Unit, ...]:
        """Its units, without those that are being made or removed."""
        passing = (UnitState.CREATING, UnitState.DELETING)
        return tuple(unit for unit in self.units if unit.state not in passing)

    @property
    def expiring(self) -> bool:
        """Its time is over soon, and its tenant was warned."""
        return self.warned is not None and self.warned == self.expires


@attrs.frozen(kw_only=True)
class Account:
    """A CHAP account in the clear.  Lives as short as possible."""

    user: str
    secret: str = attrs.field(repr=False)
    mutual_user: str | None = None
    mutual_secret: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class StoredReservations:
    """Persistent reservations of one unit.  ``registrations`` and ``holder`` are as SCSI writes them down:
    readable records, not a pickle."""

    unit_id: str
    version: int  # 0: nothing was ever stored
    generation: int = 0
    kind: int | None = None
    holder: Mapping[str, Any] | None = None
    registrations: tuple[Mapping[str, Any], ...] = ()
    aptpl: bool = False
    boot: str = ""  # which boot of the machine wrote it


@attrs.frozen(kw_only=True)
class Event:
    """Something that a tenant or the operator may want to know."""

    id: int
    at: datetime
    kind: str
    text: str
    tenant_id: str | None = None
    target_id: str | None = None
    data: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Remembered:
    """The answer to a request that was made before with the same idempotency key."""

    request: str  # what was asked, as a hash
    status: int  # 0: it is still being answered
    answer: Any = None


@attrs.frozen(kw_only=True)
class Page:
    """A piece of a list.  ``next`` continues it; None: there is no more."""

    items: tuple[Any, ...]
    next: str | None = None
