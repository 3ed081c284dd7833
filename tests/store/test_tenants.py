"""Tiers, tenants and tokens."""

from datetime import timedelta

import attrs
import pytest
import sqlalchemy as sa

from scsipub.store import schema, targets, tenants
from scsipub.store.errors import Conflict, NotFound
from scsipub.tiers import Tier
from tests.store.conftest import NOW
from tests.support.rented import rented

READ = frozenset({"targets:read"})
SMALL = Tier(name="small", allocation_budget=1 << 30, persistent=True)


def test_a_tier_comes_back_as_it_was_put(do):
    do(tenants.put_tier, SMALL)

    assert do(tenants.tier, "small") == SMALL
    assert do(tenants.tiers) == (SMALL,)


def test_a_tier_can_be_changed(do):
    do(tenants.put_tier, SMALL)
    larger = attrs.evolve(SMALL, allocation_budget=1 << 40)

    do(tenants.put_tier, larger)

    assert do(tenants.tier, "small") == larger


def test_a_tier_of_the_file_is_changed_there_only(do):
    do(tenants.settle_tiers, [SMALL])

    with pytest.raises(Conflict, match="configuration file"):
        do(tenants.put_tier, attrs.evolve(SMALL, allocation_budget=1))
    with pytest.raises(Conflict, match="configuration file"):
        do(tenants.remove_tier, "small")


def test_a_tier_that_the_file_names_no_more_may_be_changed(do):
    do(tenants.settle_tiers, [SMALL])
    do(tenants.settle_tiers, [])

    do(tenants.remove_tier, "small")

    assert do(tenants.tiers) == ()


def test_a_tier_in_use_stays(do, tenant):
    with pytest.raises(Conflict, match="in use"):
        do(tenants.remove_tier, "small")


def test_terms_that_this_version_does_not_know_are_dropped(do):
    do(tenants.put_tier, SMALL)
    do(
        lambda connection: connection.execute(
            schema.tiers.update().values(terms={"name": "small", "allocation_budget": 5, "colour": "red"})
        )
    )

    assert do(tenants.tier, "small") == Tier(name="small", allocation_budget=5)


def test_a_tenant_is_found_by_id_and_by_name(do, tenant):
    assert do(tenants.tenant, tenant.id) == do(tenants.tenant, "ada") == tenant


def test_a_tenant_whose_name_is_anothers_id_does_not_hide_that_one(do, tenant, seeded):
    do(tenants.create_tenant, tenant.id, "small", NOW, seeded)

    assert do(tenants.tenant, tenant.id) == tenant


def test_a_name_is_taken_once(do, tenant, seeded):
    with pytest.raises(Conflict, match="already"):
        do(tenants.create_tenant, "ada", "small", NOW, seeded)


def test_a_tenant_needs_a_tier_that_exists(do, seeded):
    with pytest.raises(NotFound, match="tier gold"):
        do(tenants.create_tenant, "bob", "gold", NOW, seeded)


def test_a_tenant_with_targets_stays(do, tenant, seeded):
    target = rented(tenant.id, NOW, seeded)
    do(targets.create, target)

    with pytest.raises(Conflict, match="targets"):
        do(tenants.remove_tenant, tenant.id)


def test_a_tenant_takes_its_tokens_along(do, tenant, seeded):
    _, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded)

    do(tenants.remove_tenant, tenant.id)

    assert do(tenants.check_token_untrusted, shown, NOW) is None
    assert do(tenants.list_tokens, None).items == ()


# -- tokens --------------------------------------------------------------------------------------------------


def test_a_token_says_whose_it_is_and_what_it_may(do, tenant, seeded):
    made, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded)

    found = do(tenants.check_token_untrusted, shown, NOW)

    assert found == attrs.evolve(made, last_used=NOW)
    assert found.scopes == READ


def test_the_database_does_not_have_the_token(do, tenant, seeded):
    _, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded)

    row = do(lambda connection: connection.execute(sa.select(schema.tokens)).mappings().one())

    assert shown.partition(".")[2] not in str(dict(row))


def one_character_changed(shown):
    return shown[:-1] + ("A" if shown[-1] != "A" else "B")


@pytest.mark.parametrize(
    "spoil",
    [
        one_character_changed,
        lambda shown: shown[:-1],
        lambda shown: shown + "=",
        lambda shown: "",
        lambda shown: shown.upper(),
        lambda shown: shown.replace("scsipub_", "scsipub_0"),
        lambda shown: f"scsipub_{'0' * 16}.{'A' * 43}",
        lambda shown: shown + "\n",
    ],
)
def test_what_is_not_the_token_is_nobodys(do, tenant, seeded, spoil):
    _, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded)

    assert do(tenants.check_token_untrusted, spoil(shown), NOW) is None


def test_a_token_works_until_it_expires(do, tenant, seeded):
    end = NOW + timedelta(days=1)
    _, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded, expires=end)

    assert do(tenants.check_token_untrusted, shown, end - timedelta(microseconds=1))
    assert do(tenants.check_token_untrusted, shown, end) is None


def test_a_revoked_token_is_revoked_for_ever(do, tenant, seeded):
    made, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded)

    do(tenants.revoke_token, made.id, NOW)
    do(tenants.revoke_token, made.id, NOW + timedelta(days=1))

    assert do(tenants.check_token_untrusted, shown, NOW) is None
    assert do(tenants.list_tokens, tenant.id).items[0].revoked == NOW


def test_a_tenant_does_not_revoke_anothers_token(do, tenant, seeded):
    bob = do(tenants.create_tenant, "bob", "small", NOW, seeded)
    made, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded)

    with pytest.raises(NotFound):
        do(tenants.revoke_token, made.id, NOW, bob.id)

    assert do(tenants.check_token_untrusted, shown, NOW)


def test_a_suspended_tenants_tokens_rest(do, tenant, seeded):
    _, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded)

    do(tenants.change_tenant, tenant.id, suspended=True)
    assert do(tenants.check_token_untrusted, shown, NOW) is None

    do(tenants.change_tenant, tenant.id, suspended=False)
    assert do(tenants.check_token_untrusted, shown, NOW)


def test_the_operators_token_belongs_to_no_tenant(do, seeded):
    _, shown = do(tenants.create_token, None, "root", frozenset({"admin"}), NOW, seeded)

    assert do(tenants.check_token_untrusted, shown, NOW).tenant_id is None


@pytest.mark.parametrize("scopes", [frozenset(), frozenset({"everything"}), READ | {"x"}])
def test_scopes_are_those_that_exist(do, tenant, seeded, scopes):
    with pytest.raises(Conflict, match="scopes are"):
        do(tenants.create_token, tenant.id, "ci", scopes, NOW, seeded)


def test_a_tenant_cannot_be_the_operator(do, tenant, seeded):
    with pytest.raises(Conflict, match="admin"):
        do(tenants.create_token, tenant.id, "ci", frozenset({"admin"}), NOW, seeded)


def test_when_a_token_was_last_used_is_known_to_the_minute(do, tenant, seeded):
    _, shown = do(tenants.create_token, tenant.id, "ci", READ, NOW, seeded)

    for seconds in (0, 59, 60):
        do(tenants.check_token_untrusted, shown, NOW + timedelta(seconds=seconds))
        last = do(tenants.list_tokens, tenant.id).items[0].last_used
        assert last == NOW + timedelta(seconds=0 if seconds < 60 else 60)
