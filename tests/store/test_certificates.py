"""Client certificates of tenants, in the store."""

import os
from datetime import UTC, datetime

import pytest

from scsipub.store import certificates, tenants
from scsipub.store.errors import Conflict, Invalid, NotFound
from scsipub.tiers import Tier

NOW = datetime(2026, 1, 31, tzinfo=UTC)
HEX = "ab" * 32


@pytest.fixture
def two(do):
    """Two tenants' ids."""

    def make(connection):
        tenants.put_tier(connection, Tier(name="home", allocation_budget=1))
        return [
            tenants.create_tenant(connection, name, "home", NOW, os.urandom).id for name in ("ada", "bob")
        ]

    return do(make)


def add(do, tenant, identity):
    return do(lambda connection: certificates.add(connection, tenant, identity, NOW, os.urandom))


def test_each_tenant_has_its_own(do, two):
    mine, hers = add(do, two[0], f"sha256:{HEX}"), add(do, "bob", "name:rack.example.org")

    assert do(certificates.every) == tuple(sorted((mine, hers), key=lambda c: c.id))
    assert do(lambda c: certificates.every(c, two[1])) == (hers,)


def test_one_certificate_stands_for_one_tenant(do, two):
    add(do, two[0], f"sha256:{HEX}")

    for tenant in two:
        with pytest.raises(Conflict):
            add(do, tenant, f"sha256:{HEX.upper()}")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (f"sha256:{HEX.upper()}", f"sha256:{HEX}"),
        ("sha256:" + ":".join(["AB"] * 32), f"sha256:{HEX}"),
        ("name:x" + "y" * 254, "name:x" + "y" * 254),
    ],
)
def test_an_identity_is_kept_in_one_form(written, kept):
    assert certificates.check_identity(written) == kept


@pytest.mark.parametrize(
    "written", ["", HEX, "sha256:", f"sha256:{HEX}0", "sha256:" + "g" * 64, "name:", "name:" + "x" * 256,
                "name:\x1b[31m", "sha1:" + "a" * 40]
)  # fmt: skip
def test_what_is_none_is_refused(written):
    with pytest.raises(Invalid):
        certificates.check_identity(written)


def test_they_go_with_their_tenant(do, two):
    add(do, two[0], "name:a")
    do(lambda connection: tenants.remove_tenant(connection, two[0]))

    assert do(certificates.every) == ()


def test_what_is_removed_was_there(do, two):
    made = add(do, two[0], "name:a")
    do(lambda connection: certificates.remove(connection, made.id))

    with pytest.raises(NotFound):
        do(lambda connection: certificates.remove(connection, made.id))


def test_a_tenant_has_so_many_and_no_more(do, two, monkeypatch):
    monkeypatch.setattr(certificates, "MOST", 2)
    add(do, two[0], "name:a")
    add(do, two[0], "name:b")

    with pytest.raises(Conflict):
        add(do, two[0], "name:c")


def test_nobody_s_certificate_is_refused(do, two):
    with pytest.raises(NotFound):
        add(do, "carol", "name:a")
