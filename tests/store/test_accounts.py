"""CHAP accounts in the database."""

import pytest
import sqlalchemy as sa

from scsipub.store import accounts, schema, targets
from scsipub.store.errors import NotFound, SecretUnreadable
from scsipub.store.records import Account
from tests.store.conftest import NOW
from tests.support.rented import rented

ADA = Account(user="ada", secret="canaryCanary_16-", mutual_user="us", mutual_secret="otherCanary_16-!")


@pytest.fixture
def target(do, tenant, seeded):
    made = rented(tenant.id, NOW, seeded)
    do(targets.create, made)
    return made.id


def dump(do) -> str:
    """Everything the database knows, as text and as hex."""

    def read(connection):
        rows = [row for t in schema.metadata.sorted_tables for row in connection.execute(sa.select(t))]
        return "\n".join(
            bytes(v).hex() if isinstance(v, (bytes, memoryview)) else str(v) for r in rows for v in r
        )

    return do(read)


def test_an_account_comes_back_as_it_was_put(do, vault, target):
    do(accounts.put, vault, target, ADA)

    assert do(accounts.of_target, vault, target) == (ADA,)


def test_an_account_without_the_other_direction(do, vault, target):
    do(accounts.put, vault, target, Account(user="ada", secret="s" * 16))

    assert do(accounts.of_target, vault, target)[0].mutual_secret is None


def test_a_dump_without_the_key_reveals_no_secret(do, vault, target):
    do(accounts.put, vault, target, ADA)

    said = dump(do)

    for secret in (ADA.secret, ADA.mutual_secret):
        assert secret not in said
        assert secret.encode().hex() not in said


def test_nothing_shows_a_secret_by_accident():
    assert "canary" not in repr(ADA).lower()


def test_a_new_secret_replaces_the_old_one(do, vault, target):
    do(accounts.put, vault, target, ADA)
    do(accounts.put, vault, target, Account(user="ada", secret="n" * 16))

    assert [a.secret for a in do(accounts.of_target, vault, target)] == ["n" * 16]


def test_a_row_that_somebody_moved_to_another_user_does_not_open(do, vault, target):
    do(accounts.put, vault, target, ADA)
    do(lambda c: c.execute(schema.chap_secrets.update().values(user="eve")))

    with pytest.raises(SecretUnreadable):
        do(accounts.of_target, vault, target)


def test_the_two_secrets_of_a_row_cannot_be_exchanged(do, vault, target):
    do(
        accounts.put,
        vault,
        target,
        Account(user="x", secret="s" * 16, mutual_user="x", mutual_secret="t" * 16),
    )
    c = schema.chap_secrets.c
    swap = {
        "nonce": c.mutual_nonce,
        "sealed": c.mutual_sealed,
        "mutual_nonce": c.nonce,
        "mutual_sealed": c.sealed,
    }
    do(lambda connection: connection.execute(schema.chap_secrets.update().values(swap)))

    with pytest.raises(SecretUnreadable):
        do(accounts.of_target, vault, target)


def test_an_account_that_is_removed_is_gone(do, vault, target):
    do(accounts.put, vault, target, ADA)
    do(accounts.remove, target, "ada")

    assert do(accounts.users, target) == ()
    with pytest.raises(NotFound):
        do(accounts.remove, target, "ada")


def test_after_a_rotation_every_secret_lies_under_the_new_key(do, vault, target):
    do(accounts.put, vault, target, ADA)
    old = vault.current.id
    vault.rotate()

    assert do(accounts.key_ids) == {old}
    assert do(accounts.reseal, vault) == 1
    assert do(accounts.key_ids) == {vault.current.id}
    vault.forget_others()
    assert do(accounts.of_target, vault, target) == (ADA,)
    assert do(accounts.reseal, vault) == 0
