"""Chance: tests that draw their examples draw the same in CI, and others everywhere else.

A change is not held up by what somebody else's code does with an example that nobody has met before; who
develops looks at new ones with each run, and whatever is found becomes a test of its own."""

import os
import random

SAME_EACH_TIME = bool(os.environ.get("CI"))


def seed() -> int:
    """Where to begin.  Printed by pytest when the test fails."""
    chosen = 1 if SAME_EACH_TIME else random.SystemRandom().randrange(1 << 32)
    print(f"seed {chosen}")
    return chosen
