"""Answers: what the API says of each kind of thing.  The OpenAPI document is made from these.

Values only.  `next` of a page: ask again with `after` set to it; null: that was all."""

from typing import Any, Literal

import attrs

State = Literal["CREATING", "ACTIVE", "SUSPENDED", "EXPIRED", "OFFLINE", "DELETING"]
UnitState = Literal["CREATING", "ACTIVE", "OFFLINE", "DELETING"]


@attrs.frozen(kw_only=True)
class Lun:
    """One logical unit.  `uuid` is its identity for ever: serial number and designators come from it."""

    lun: int
    size: int
    block_size: int
    image: str | None
    uuid: str
    state: UnitState
    reason: str


@attrs.frozen(kw_only=True)
class LunPage:
    items: list[Lun]
    next: str | None = None


@attrs.frozen(kw_only=True)
class Target:
    """What initiators log in to: `name` is its iSCSI name.  `reason` says why it is offline or suspended."""

    id: str
    name: str
    tenant: str
    tier: str
    alias: str
    state: State
    reason: str
    nexus: str
    initiators: list[str]
    tls_required: bool
    certificate_required: bool
    created: str
    expires: str | None
    luns: list[Lun]
    portal: str = ""


@attrs.frozen(kw_only=True)
class TargetPage:
    items: list[Target]
    next: str | None = None


@attrs.frozen(kw_only=True)
class LunUsage:
    """Bytes: what a unit takes on our disks, what it may, and what it seems to have."""

    lun: int
    used: int
    budget: int
    size: int


@attrs.frozen(kw_only=True)
class Usage:
    """How full the disks of a target are."""

    items: list[LunUsage]


@attrs.frozen(kw_only=True)
class Registration:
    """Somebody registered for persistent reservations.  `isid` and `portal` null: through any of its ports;
    `sessions`: how many of its are there now."""

    initiator: str
    isid: str | None
    portal: int | None
    user: str
    key: str
    holds: bool
    sessions: int


@attrs.frozen(kw_only=True)
class LunReservations:
    """`type` null: nobody holds a reservation.  `generation`: PRgeneration."""

    lun: int
    generation: int
    type: str | None
    survives_power_loss: bool
    registrations: list[Registration]


@attrs.frozen(kw_only=True)
class Reservations:
    """Who is registered at each unit of a target, and who holds it."""

    id: str
    name: str
    nexus: str
    luns: list[LunReservations]


@attrs.frozen(kw_only=True)
class Chap:
    """The account for a login.  Shown once."""

    user: str
    secret: str
    mutual_user: str | None = None
    mutual_secret: str | None = None


@attrs.frozen(kw_only=True)
class NewTarget(Target):
    """A target and its secret, which is not shown again; `commands`: ready to paste, for each initiator."""

    chap: Chap
    commands: dict[str, str]


@attrs.frozen(kw_only=True)
class Tenant:
    """Somebody who rents."""

    id: str
    name: str
    tier: str
    created: str
    suspended: bool


@attrs.frozen(kw_only=True)
class TenantPage:
    items: list[Tenant]
    next: str | None = None


@attrs.frozen(kw_only=True)
class Certificate:
    """By what a tenant's machines are known: `sha256:` and a fingerprint, or `name:` and a name that an
    authority vouches for."""

    id: str
    tenant_id: str
    identity: str
    created: str


@attrs.frozen(kw_only=True)
class CertificatePage:
    items: list[Certificate]
    next: str | None = None


@attrs.frozen(kw_only=True)
class Token:
    """The right to use the API, without its secret.  `tenant_id` null: the operator's."""

    id: str
    tenant_id: str | None
    name: str
    scopes: list[str]
    created: str
    expires: str | None
    last_used: str | None
    revoked: str | None


@attrs.frozen(kw_only=True)
class NewToken(Token):
    """`token` is what goes behind `Authorization: Bearer`.  It is not shown again."""

    token: str


@attrs.frozen(kw_only=True)
class TokenPage:
    items: list[Token]
    next: str | None = None


@attrs.frozen(kw_only=True)
class Me:
    """Whose token this is.  `tenant` null: the operator's."""

    tenant: str | None
    tenant_id: str | None
    scopes: list[str]


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened.  A larger `id` is later."""

    id: int
    at: str
    kind: str
    text: str
    tenant_id: str | None
    target_id: str | None
    data: dict[str, Any]


@attrs.frozen(kw_only=True)
class EventPage:
    items: list[Event]
    next: str | None = None


@attrs.frozen(kw_only=True)
class Attempt:
    """How a login ended, `count` times in a row the same. `status`: what the initiator was told, as RFC 7143
    numbers it. `words`: the cause; `mend`: what to type against it, empty if nothing."""

    target: str
    initiator: str
    source: str
    user: str
    status: str
    cause: str
    first: str
    last: str
    count: int
    words: str
    mend: str


@attrs.frozen(kw_only=True)
class AttemptPage:
    items: list[Attempt]
    next: str | None = None


@attrs.frozen(kw_only=True)
class Upload:
    """An image of which `offset` of `size` bytes are there.  `format` null: its first bytes will say it."""

    id: str
    name: str
    format: str | None
    compression: str
    size: int
    offset: int
    sha256: str | None
    created: str


@attrs.frozen(kw_only=True)
class UploadList:
    items: list[Upload]


ImportState = Literal["waiting", "fetching", "converting", "done", "failed", "uploading"]


@attrs.frozen(kw_only=True)
class Import:
    """An image that is being made.  `doing`: in one word; `bytes_in` of `bytes_total`: how much of that is
    done; `error`: why it failed, and what to do."""

    id: str
    name: str
    source: str
    format: str | None
    compression: str
    created: str
    state: ImportState
    doing: str
    bytes_in: int
    bytes_total: int | None
    bytes_out: int
    error: str | None


@attrs.frozen(kw_only=True)
class ImportList:
    items: list[Import]
