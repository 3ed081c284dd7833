"""Rented targets: from CREATING to gone, and lists of them."""

from datetime import timedelta
from time import perf_counter

import attrs
import pytest
import sqlalchemy as sa

from scsipub.store import accounts, reservations, schema, targets, tenants
from scsipub.store.errors import Conflict, Exhausted, NotFound
from scsipub.store.records import (
    MOVES,
    Account,
    StoredImage,
    StoredReservations,
    TargetState,
    Unit,
    UnitState,
)
from tests.store.conftest import NOW
from tests.support.rented import MiB, rented

HOUR = timedelta(hours=1)


@pytest.fixture
def target(do, tenant, seeded):
    made = rented(tenant.id, NOW, seeded)
    do(targets.create, made)
    return made


def test_a_target_comes_back_as_it_was_made(do, target):
    assert do(targets.get, target.id) == target
    assert do(targets.everything) == (target,)


def test_a_target_becomes_active_with_its_units(do, target):
    found = do(targets.activate, target.id)

    assert found.state is TargetState.ACTIVE
    assert {unit.state for unit in found.units} == {UnitState.ACTIVE}
    assert found.version == 2


def test_another_tenants_target_is_not_there(do, target, seeded):
    bob = do(tenants.create_tenant, "bob", "small", NOW, seeded)

    with pytest.raises(NotFound):
        do(targets.get, target.id, bob.id)
    assert do(targets.listed, bob.id).items == ()


def test_a_tenant_has_as_many_targets_as_its_tier_allows(do, tenant, seeded):
    for _ in range(2):
        do(targets.create, rented(tenant.id, NOW, seeded), most=2)

    with pytest.raises(Exhausted, match="2 targets"):
        do(targets.create, rented(tenant.id, NOW, seeded), most=2)


def test_targets_that_are_going_do_not_count(do, target, tenant, seeded):
    do(targets.move, target.id, TargetState.DELETING)

    do(targets.create, rented(tenant.id, NOW, seeded), most=1)


@pytest.mark.parametrize("before", TargetState)
@pytest.mark.parametrize("after", TargetState)
def test_every_pair_of_states_moves_or_is_refused(do, target, before, after):
    do(lambda connection: connection.execute(schema.targets.update().values(state=before)))

    if after in MOVES[before] or after == before:
        assert do(targets.move, target.id, after).state is after
    else:
        with pytest.raises(Conflict, match="cannot become"):
            do(targets.move, target.id, after)
        assert do(targets.get, target.id).state is before


def test_who_read_an_older_version_changes_nothing(do, target):
    old = do(targets.get, target.id)
    do(targets.change, target.id, alias="mine")

    with pytest.raises(Conflict, match="somebody else"):
        do(lambda connection: targets._update(connection, old, alias="theirs"))
    assert do(targets.get, target.id).alias == "mine"


def test_a_unit_grows_but_never_shrinks(do, target):
    unit = target.units[0]

    assert do(targets.change_unit, unit.id, size=32 * MiB).size == 32 * MiB
    with pytest.raises(Conflict, match="smaller"):
        do(targets.change_unit, unit.id, size=32 * MiB - 512)


def test_a_number_is_taken_once(do, target, seeded):
    again = attrs.evolve(target.units[0], id="0" * 32)

    with pytest.raises(Conflict):
        do(targets.add_unit, again)


def test_a_number_that_was_freed_names_other_files(do, target):
    old = target.units[1]
    do(targets.change_unit, old.id, state=UnitState.DELETING)
    do(targets.remove_unit, old.id)
    new = attrs.evolve(old, id="0" * 32)
    do(targets.add_unit, new)

    assert new.overlay != old.overlay
    assert do(targets.overlays) == {target.units[0].overlay, new.overlay}


def test_a_row_goes_last_and_only_when_it_was_going(do, target):
    with pytest.raises(NotFound, match="DELETING"):
        do(targets.remove, target.id)

    do(targets.move, target.id, TargetState.DELETING)
    do(targets.remove, target.id)

    with pytest.raises(NotFound):
        do(targets.get, target.id)


def test_a_target_takes_along_all_that_belongs_to_it(do, target, vault):
    do(accounts.put, vault, target.id, Account(user="ada", secret="s" * 16))
    do(reservations.replace, StoredReservations(unit_id=target.units[0].id, version=1))
    do(targets.move, target.id, TargetState.DELETING)

    do(targets.remove, target.id)

    for table in (schema.units, schema.chap_secrets, schema.reservations):
        assert (
            do(lambda c, table=table: c.execute(sa.select(sa.func.count()).select_from(table)).scalar()) == 0
        )


def test_a_failure_in_the_middle_leaves_nothing(do, tenant, seeded):
    made = rented(tenant.id, NOW, seeded)
    twice = attrs.evolve(made, units=(made.units[0], made.units[0]))

    with pytest.raises(Conflict):
        do(targets.create, twice)

    assert do(targets.everything) == ()


def test_what_is_due_is_what_has_run_out_and_was_not_told(do, tenant, seeded):
    ends = [NOW - HOUR, NOW, NOW + HOUR, None]
    made = [rented(tenant.id, NOW, seeded, expires=end) for end in ends]
    for each in made:
        do(targets.create, each)
        do(targets.activate, each.id)

    assert [t.id for t in do(targets.due, NOW)] == [made[0].id, made[1].id]

    do(targets.move, made[0].id, TargetState.EXPIRED)
    assert [t.id for t in do(targets.due, NOW)] == [made[1].id]
    assert [t.id for t in do(targets.expired, NOW)] == [made[0].id]


# -- lists ---------------------------------------------------------------------------------------------------


def all_pages(do, **how):
    items, after = [], None
    while True:
        page = do(targets.listed, after=after, **how)
        items += page.items
        if page.next is None:
            return items
        after = page.next


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_pages_show_each_target_once_and_in_order(do, tenant, seeded, limit):
    """Three of them were made at the same instant."""
    made = [rented(tenant.id, NOW + HOUR * (n // 3), seeded, luns=1) for n in range(7)]
    for each in made:
        do(targets.create, each)

    listed = all_pages(do, limit=limit)

    assert sorted(listed, key=lambda t: (t.created, t.id)) == listed
    assert {t.id for t in listed} == {t.id for t in made}
    assert len(listed) == 7


def test_a_target_that_goes_between_two_pages_hides_no_other(do, tenant, seeded):
    made = [rented(tenant.id, NOW + HOUR * n, seeded) for n in range(4)]
    for each in made:
        do(targets.create, each)
    first = do(targets.listed, limit=2)
    do(targets.move, made[0].id, TargetState.DELETING)
    do(targets.remove, made[0].id)

    second = do(targets.listed, limit=2, after=first.next)

    assert [t.id for t in second.items] == [made[2].id, made[3].id]


@pytest.mark.parametrize(
    "after",
    [
        *("", "x", "====", "é", "bnVsbA", "WzFd", "WzEsMl0", "WyJhIiwiYiJd", "W1tdLFtdXQ", "A" * 5000),
        "WyIyMDI2LTAxLTAxIiwieCJd",  # a time without a zone
        "WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwiXHUwMDAwIl0",  # a NUL
    ],
)
def test_a_position_that_we_did_not_make_is_refused(do, tenant, after):
    with pytest.raises(NotFound, match="position"):
        do(targets.listed, after=after)


# -- images --------------------------------------------------------------------------------------------------

IMAGE = StoredImage(name="alpine", sha256="a" * 64, bytes=1 << 20, format="raw", imported=NOW)


def test_an_image_comes_back_as_it_was_put(do):
    do(targets.put_image, IMAGE)

    assert do(targets.images) == (IMAGE,)


def test_a_tenant_sees_everybodys_images_and_its_own(do, tenant, seeded):
    bob = do(tenants.create_tenant, "bob", "small", NOW, seeded)
    do(targets.put_image, IMAGE)
    do(targets.put_image, attrs.evolve(IMAGE, name="hers", tenant_id=tenant.id))

    assert [i.name for i in do(targets.images, tenant.id)] == ["alpine", "hers"]
    assert [i.name for i in do(targets.images, bob.id)] == ["alpine"]


def test_an_image_that_a_unit_stands_on_stays_what_it_is(do, tenant, seeded):
    do(targets.put_image, IMAGE)
    made = rented(tenant.id, NOW, seeded, luns=0)
    unit = Unit(
        id="1" * 32, target_id=made.id, lun=0, size=MiB, created=NOW, budget=MiB, image="alpine",
        image_sha256=IMAGE.sha256,
    )  # fmt: skip
    do(targets.create, attrs.evolve(made, units=(unit,)))

    assert do(targets.image_in_use, "alpine")
    with pytest.raises(Conflict, match="stands on"):
        do(targets.remove_image, "alpine")
    with pytest.raises(Conflict, match="stands on"):
        do(targets.put_image, attrs.evolve(IMAGE, sha256="b" * 64))
    do(targets.put_image, attrs.evolve(IMAGE, origin="elsewhere"))


# -- many ----------------------------------------------------------------------------------------------------


def test_two_thousand_targets_are_no_burden(do, tenant, seeded, vault):
    """Creating one takes less than 50 ms, a page less than 100 ms."""
    many = [rented(tenant.id, NOW + timedelta(seconds=n), seeded) for n in range(2000)]

    def most_of_them(connection):
        for each in many[:1950]:
            targets.create(connection, each)

    do(most_of_them)
    creating, paging, after = [], [], None
    for each in many[1950:]:
        began = perf_counter()
        do(targets.create, each, most=10_000)
        do(accounts.put, vault, each.id, Account(user="ada", secret="s" * 16))
        do(targets.activate, each.id)
        creating.append(perf_counter() - began)
    for _ in range(20):
        began = perf_counter()
        page = do(targets.listed, tenant.id, after=after, limit=100)
        paging.append(perf_counter() - began)
        after = page.next

    # The machine is shared: the one in the middle tells more than the worst.
    assert sorted(creating)[25] < 0.05
    assert sorted(paging)[10] < 0.1
    assert page.next is None
    assert len(do(targets.everything)) == 2000
