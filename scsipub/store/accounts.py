"""CHAP accounts of rented targets, sealed.

Each function takes a connection in a transaction, and the vault."""

from typing import Any

import attrs
import sqlalchemy as sa

from scsipub.store import schema
from scsipub.store.ids import new_id
from scsipub.store.records import Account
from scsipub.store.rows import changed
from scsipub.store.vault import Place, Sealed, Vault

_C = schema.chap_secrets.c


def _inward(row: str, user: str) -> Place:
    return Place("chap_secrets", row, user)


def _outward(row: str, user: str) -> Place:
    # Another name, so that the two secrets of one row cannot be exchanged either.
    return Place("chap_secrets.mutual", row, user)


def put(connection: sa.Connection, vault: Vault, target_id: str, account: Account) -> None:
    """Remember an account; one of the same user is replaced."""
    connection.execute(schema.chap_secrets.delete().where(_C.target_id == target_id, _C.user == account.user))
    id = new_id(vault.random)
    connection.execute(
        schema.chap_secrets.insert().values(
            id=id, target_id=target_id, user=account.user, **_sealed(vault, id, account)
        )
    )


def _sealed(vault: Vault, id: str, account: Account) -> dict[str, Any]:
    inward = vault.seal(account.secret.encode(), _inward(id, account.user))
    values: dict[str, Any] = {"key_id": inward.key_id, "nonce": inward.nonce, "sealed": inward.data}
    values |= {"mutual_user": account.mutual_user, "mutual_nonce": None, "mutual_sealed": None}
    if account.mutual_user is not None and account.mutual_secret is not None:
        outward = vault.seal(account.mutual_secret.encode(), _outward(id, account.mutual_user))
        values |= {"mutual_nonce": outward.nonce, "mutual_sealed": outward.data}
    return values


@attrs.frozen(kw_only=True)
class SealedAccount:
    """An account as it lies in the database: it may be kept in memory, and opened when it is needed."""

    id: str
    target_id: str
    user: str
    secret: Sealed
    mutual_user: str | None = None
    mutual: Sealed | None = None

    def open(self, vault: Vault) -> Account:
        """Raises SecretUnreadable."""
        mutual = None
        if self.mutual is not None and self.mutual_user is not None:
            mutual = vault.unseal(self.mutual, _outward(self.id, self.mutual_user)).decode()
        return Account(
            user=self.user,
            secret=vault.unseal(self.secret, _inward(self.id, self.user)).decode(),
            mutual_user=self.mutual_user,
            mutual_secret=mutual,
        )


def sealed(connection: sa.Connection, target_id: str | None = None) -> tuple[SealedAccount, ...]:
    """The accounts of a target, or all there are."""
    query = sa.select(schema.chap_secrets).order_by(_C.user)
    if target_id is not None:
        query = query.where(_C.target_id == target_id)
    return tuple(_record(row) for row in connection.execute(query).mappings())


def _record(row: Any) -> SealedAccount:
    mutual = None
    if row["mutual_sealed"] is not None:
        mutual = Sealed(row["key_id"], bytes(row["mutual_nonce"]), bytes(row["mutual_sealed"]))
    return SealedAccount(
        id=row["id"],
        target_id=row["target_id"],
        user=row["user"],
        secret=Sealed(row["key_id"], bytes(row["nonce"]), bytes(row["sealed"])),
        mutual_user=row["mutual_user"],
        mutual=mutual,
    )


def of_target(connection: sa.Connection, vault: Vault, target_id: str) -> tuple[Account, ...]:
    """The accounts in the clear.  Raises SecretUnreadable."""
    return tuple(each.open(vault) for each in sealed(connection, target_id))


def users(connection: sa.Connection, target_id: str) -> tuple[str, ...]:
    """Their names; needs no key."""
    query = sa.select(_C.user).where(_C.target_id == target_id).order_by(_C.user)
    return tuple(connection.execute(query).scalars())


def remove(connection: sa.Connection, target_id: str, user: str) -> None:
    row = (_C.target_id == target_id) & (_C.user == user)
    changed(connection.execute(schema.chap_secrets.delete().where(row)), "CHAP account", user)


def reseal(connection: sa.Connection, vault: Vault) -> int:
    """Seal with the current key what lies under another; how many.  After this the others may go."""
    done = 0
    other = sa.select(schema.chap_secrets).where(_C.key_id != vault.current.id)
    for row in connection.execute(other).mappings().all():
        account = _record(row).open(vault)
        connection.execute(
            schema.chap_secrets.update()
            .where(_C.id == row["id"])
            .values(**_sealed(vault, row["id"], account))
        )
        done += 1
    # Answers that were kept for repeated requests are not worth a key: they go.
    connection.execute(schema.idempotency.delete().where(schema.idempotency.c.key_id != vault.current.id))
    return done


def key_ids(connection: sa.Connection) -> frozenset[str]:
    """The keys without which something cannot be read."""
    return frozenset(connection.execute(sa.select(_C.key_id).distinct()).scalars())
