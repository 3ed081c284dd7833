"""Persistent reservations at rest."""

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scsipub.store import reservations, targets
from scsipub.store.errors import Conflict
from scsipub.store.records import StoredReservations
from tests.store.conftest import NOW
from tests.support.rented import rented

HOLDER = {"name": "iqn.1993-08.org.debian:a", "isid": None, "principal": "ada"}


@pytest.fixture
def unit(do, tenant, seeded):
    made = rented(tenant.id, NOW, seeded)
    do(targets.create, made)
    return made.units[0].id


@pytest.fixture
def first(unit):
    return StoredReservations(
        unit_id=unit,
        version=1,
        generation=0xFFFFFFFF,
        kind=5,
        holder=HOLDER,
        registrations=({"port": HOLDER, "key": "0xffffffffffffffff", "all_target_ports": False},),
        boot="b1",
    )


def test_a_unit_that_was_never_reserved_has_version_0(do, unit):
    assert do(reservations.get, unit) == StoredReservations(unit_id=unit, version=0)


def test_what_was_stored_comes_back(do, unit, first):
    do(reservations.replace, first)

    assert do(reservations.get, unit) == first


@pytest.mark.parametrize("version", [1, 3, 4])
def test_only_who_has_read_the_last_version_replaces_it(do, unit, first, version):
    do(reservations.replace, first)
    stale = attrs.evolve(first, version=version, generation=7)

    with pytest.raises(Conflict):
        do(reservations.replace, stale)
    assert do(reservations.get, unit) == first


def test_the_next_version_replaces(do, unit, first):
    do(reservations.replace, first)
    after = attrs.evolve(first, version=2, kind=None, holder=None, registrations=())

    do(reservations.replace, after)

    assert do(reservations.get, unit) == after


def test_a_version_out_of_nowhere_is_refused(do, unit, first):
    with pytest.raises(Conflict):
        do(reservations.replace, attrs.evolve(first, version=2))


def test_a_unit_that_is_gone_has_no_reservations(do, first):
    with pytest.raises(Conflict):
        do(reservations.replace, attrs.evolve(first, unit_id="0" * 32))


@pytest.mark.parametrize(("aptpl", "boot", "kept"), [(False, "b1", 1), (False, "b2", 0), (True, "b2", 1)])
def test_only_a_power_loss_ends_what_did_not_ask_to_survive_it(do, unit, first, aptpl, boot, kept):
    """SPC-4 §5.13.5: without APTPL a power loss ends registrations; a restart of the daemon is none."""
    do(reservations.replace, attrs.evolve(first, aptpl=aptpl))

    dropped = do(reservations.drop_of_other_boots, boot)

    found = do(reservations.get, unit)
    assert dropped == (frozenset() if kept else {unit})
    assert len(found.registrations) == kept
    assert (found.kind, found.holder) == ((5, HOLDER) if kept else (None, None))
    assert found.version == (1 if kept else 2)


def test_what_was_dropped_is_dropped_once(do, unit, first):
    do(reservations.replace, first)

    assert do(reservations.drop_of_other_boots, "b2") == {unit}
    assert do(reservations.drop_of_other_boots, "b2") == frozenset()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(0, 3), max_size=8))
def test_versions_only_ever_grow_by_one(do, unit, first, steps):
    """Whoever tries with whatever version: a model of one number says what must happen."""
    at = do(reservations.get, unit).version
    for step in steps:
        wanted = at + step - 1
        if wanted < 1:
            continue
        try:
            do(reservations.replace, attrs.evolve(first, version=wanted))
            assert wanted == at + 1
            at = wanted
        except Conflict:
            assert wanted != at + 1
        assert do(reservations.get, unit).version == at
