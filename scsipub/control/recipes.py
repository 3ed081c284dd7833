"""Recipes for a rented target: what to type to use it, with its secrets, which are shown once.

Pure.  The words are those of ``scsipub.recipes``; here stands where the target is."""

from collections.abc import Sequence

from scsipub.certificates import host_of
from scsipub.recipes import Account as Shown
from scsipub.recipes import Place, commands
from scsipub.store.records import Account, Target


def recipes(name: str, target: Target, portal: str, tls: str | None, account: Account) -> dict[str, str]:
    """For open-iscsi, QEMU, iPXE and Windows.  ``portal`` and ``tls``: where we listen, ``host:port``."""
    return commands(
        Place(
            host=host_of(portal),
            port=int(portal.rpartition(":")[2]),
            tls_port=int(tls.rpartition(":")[2]) if tls is not None else None,
            target=name,
            luns=len(target.units),
            account=Shown(account.user, account.secret, account.mutual_user, account.mutual_secret),
            initiator=_one(target.initiators),
            tls_only=target.tls_required,
        )
    )


def _one(initiators: Sequence[str]) -> str:
    """Of a list of patterns, the first that is a name."""
    return next((each for each in initiators if not set(each) & set("*?[")), "")
