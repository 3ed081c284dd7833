"""What a kind of customer may use.  Knows nobody."""

import attrs

from scsipub.limits import DEFAULT


@attrs.frozen(kw_only=True)
class Tier:
    """Bounds of one class of targets.  Sizes are bytes."""

    name: str
    allocation_budget: int
    persistent: bool = False


ANONYMOUS = Tier(name="anonymous", allocation_budget=DEFAULT.overlay_budget_bytes)
