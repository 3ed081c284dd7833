"""Renting from a running daemon, and logging in to what was rented."""

import contextlib
import time

from tests.support import chap
from tests.support.daemon import Daemon
from tests.support.initiator import Initiator, LoginFailed

MIB = 1 << 20


def rent(d: Daemon, *sizes: int, **wish) -> dict:
    """A target of a tenant; both are made."""
    with contextlib.suppress(RuntimeError):
        d.ask("tier.put", name="home", allocation_budget=64 * MIB, persistent=True)
        d.ask("tenant.create", name="ada", tier="home")
    return d.ask("target.create", tenant="ada", luns=[{"size": size} for size in sizes], **wish)


def logged_in(d: Daemon, rented: dict, patience: float = 10.0, **how) -> Initiator:
    """As initiators do: again and again, while the target is said to be away."""
    until = time.monotonic() + patience
    while True:
        who = Initiator(d.iscsi, **how)
        try:
            chap.begin(who, rented["name"])
            offer = chap.choose(who, "7")
            chap.prove(who, offer, rented["chap"]["user"], rented["chap"]["secret"].encode())
            return who.finish_login().settle()
        except (LoginFailed, ConnectionError) as error:
            who.close()
            refused = isinstance(error, LoginFailed) and error.status >> 8 != 3
            if refused or time.monotonic() > until:
                raise
            time.sleep(0.2)
