"""What a kind of customer may use.  Knows nobody but the limits."""

import attrs

from scsipub.limits import DEFAULT, Limits


@attrs.frozen(kw_only=True)
class Tier:
    """Bounds of one class of targets.  Sizes are bytes."""

    name: str
    allocation_budget: int
    persistent: bool = False


def anonymous(limits: Limits) -> Tier:
    """What anybody gets without asking."""
    return Tier(name="anonymous", allocation_budget=limits.overlay_budget_bytes)


ANONYMOUS = anonymous(DEFAULT)
