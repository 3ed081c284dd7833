"""What a kind of customer may use.  Knows nobody but the limits."""

import attrs

from scsipub.limits import DEFAULT, GiB, Limits

DAY = 86400.0
# With less, not even one command of a MiB would be answered while its initiator waits.
LEAST_BYTES_PER_SECOND = 64 * 1024


@attrs.frozen(kw_only=True)
class Tier:
    """Bounds of one class of targets.  Sizes are bytes."""

    name: str
    allocation_budget: int  # of each logical unit
    persistent: bool = False  # what is written outlives session and daemon: such targets can be rented
    disk_bytes: int = 1024 * GiB  # the largest unit; an open one takes up to 0.1 % of that in memory
    luns: int = 8
    targets: int = 16  # of one tenant
    sessions: int = 32  # of one target at a time
    lifetime_seconds: float | None = None  # None: until it is destroyed
    expiry_grace_seconds: float = 3 * DAY  # how long what has expired is kept
    tls_required: bool = False
    certificate_required: bool = False  # a client certificate of the tenant's; implies TLS
    algorithm_floor: int = 5  # weakest CHAP_A
    warn_seconds: float = DAY  # so long before its time is over a target's tenant is warned
    # All sessions of a target together; None: as fast as it goes.  A burst not told is what a second brings.
    iops: float | None = None
    iops_burst: float | None = None
    bytes_per_second: int | None = None
    bytes_burst: int | None = None


def anonymous(limits: Limits) -> Tier:
    """What anybody gets without asking."""
    return Tier(name="anonymous", allocation_budget=limits.overlay_budget_bytes)


ANONYMOUS = anonymous(DEFAULT)
