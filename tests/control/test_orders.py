"""What a tenant asks for, held against its tier."""

import math
import random
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from scsipub.control.orders import MOST_INITIATORS, LunWish, Wish, lifetime_of, plan
from scsipub.storage.images import Image
from scsipub.store.errors import Invalid, NotFound
from scsipub.store.records import Tenant
from scsipub.tiers import Tier

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MIB = 1 << 20
ADA = Tenant(id="a" * 26, name="ada", tier="home", created=NOW)
HOME = Tier(name="home", allocation_budget=MIB, persistent=True, disk_bytes=8 * MIB, luns=2)
IMAGE = Image(name="one", bytes=MIB + 512, sha256="ab" * 32, format="raw", imported="2026", source="test")
WISH = Wish(tenant="ada", luns=(LunWish(size=MIB),))


def planned(wish=WISH, tenant=ADA, tier=HOME, **changes):
    return plan(attrs.evolve(wish, **changes), tenant, tier, {"one": IMAGE}, NOW, random.Random(1).randbytes)


def test_a_target_has_what_was_wished_and_what_the_tier_gives():
    tier = attrs.evolve(HOME, tls_required=True, algorithm_floor=7)
    target = planned(tier=tier, luns=(LunWish(size=MIB), LunWish(image="one", block_size=4096)), alias="mine")

    assert (target.tls_required, target.algorithm_floor, target.alias) == (True, 7, "mine")
    blank, copy = target.units
    assert (blank.lun, blank.size, blank.image, blank.budget) == (0, MIB, None, MIB)
    assert (copy.lun, copy.image, copy.image_sha256, copy.base_bytes) == (1, "one", "ab" * 32, MIB + 512)
    assert copy.size == MIB + 4096  # whole blocks


def test_ids_cannot_be_guessed_and_fit_in_a_name():
    one, two = planned(), plan(WISH, ADA, HOME, {}, NOW, random.Random(2).randbytes)

    assert one.id != two.id
    assert len(one.id) == 26
    assert set(one.id) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_an_image_may_have_room_behind_it():
    assert planned(luns=(LunWish(image="one", size=4 * MIB),)).units[0].size == 4 * MIB
    assert planned(luns=(LunWish(image="one", size=512),)).units[0].size == MIB + 512


@pytest.mark.parametrize("size", [1, 512, 8 * MIB])
def test_sizes_up_to_the_tiers(size):
    assert planned(luns=(LunWish(size=size),)).units[0].size == max(512, size)


@pytest.mark.parametrize("size", [None, 0, -1, 8 * MIB + 1, 1 << 70])
def test_sizes_beyond_the_tiers_are_refused(size):
    with pytest.raises(Invalid) as refused:
        planned(luns=(LunWish(size=size),))

    assert refused.value.field == "luns[0].size"


@pytest.mark.parametrize(("count", "fits"), [(0, False), (1, True), (2, True), (3, False)])
def test_as_many_units_as_the_tier_allows(count, fits):
    luns = (LunWish(size=MIB),) * count
    if fits:
        assert len(planned(luns=luns).units) == count
    else:
        with pytest.raises(Invalid):
            planned(luns=luns)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"nexus": "host"}, "nexus"),
        ({"alias": "x" * 256}, "alias"),
        ({"alias": "a\nb"}, "alias"),
        ({"initiators": ("",)}, "initiators"),
        ({"initiators": ("iqn.x y",)}, "initiators"),
        ({"initiators": ("iqn.x",) * (MOST_INITIATORS + 1)}, "initiators"),
        ({"luns": (LunWish(size=MIB, block_size=1024),)}, "luns[0].block_size"),
        ({"lifetime_seconds": 0.0}, "lifetime_seconds"),
        ({"lifetime_seconds": math.nan}, "lifetime_seconds"),
        ({"lifetime_seconds": math.inf}, "lifetime_seconds"),
        ({"lifetime_seconds": 1e11}, "lifetime_seconds"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(change, field):
    with pytest.raises(Invalid) as refused:
        planned(**change)

    assert refused.value.field == field


def test_an_image_that_is_not_there():
    with pytest.raises(NotFound, match="image two"):
        planned(luns=(LunWish(image="two"),))


def test_a_tier_whose_disks_do_not_last_is_not_for_rent():
    with pytest.raises(Invalid, match="not for rent"):
        planned(tier=attrs.evolve(HOME, persistent=False))


def test_a_suspended_tenant_rents_nothing():
    with pytest.raises(Invalid, match="suspended"):
        planned(tenant=attrs.evolve(ADA, suspended=True))


@pytest.mark.parametrize(
    ("wished", "allowed", "given"),
    [(None, None, None), (60.0, None, 60.0), (None, 90.0, 90.0), (60.0, 90.0, 60.0), (100.0, 90.0, 90.0)],
)
def test_a_lifetime_is_bounded_by_the_tiers(wished, allowed, given):
    tier = attrs.evolve(HOME, lifetime_seconds=allowed)

    assert lifetime_of(wished, tier) == given
    expires = planned(tier=tier, lifetime_seconds=wished).expires
    assert expires == (None if given is None else NOW + timedelta(seconds=given))
