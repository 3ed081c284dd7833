"""How much one address may ask of us: both sides of every bound."""

import ipaddress
import random

import attrs
import pytest

from scsipub.control.sources import Sources, prefix_of
from scsipub.limits import DEFAULT

HERE, THERE, SELF = "192.0.2.1", "192.0.2.2", "127.0.0.1"


def sources(dice=0.99, **limits):
    return Sources(attrs.evolve(DEFAULT, **limits), lambda: dice)


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("nonsense", "nonsense"),
    ],
)
def test_addresses_count_by_prefix(address, prefix):
    assert prefix_of(address) == prefix


def test_a_source_may_open_so_many_connections_at_once_and_then_so_many_a_second():
    known = sources(source_connections_burst=5, source_connections_per_second=2)
    for _ in range(5):
        assert known.arrives(HERE, 0.0) is None
        known.leaves(HERE, 0.0, logged_in=False)

    assert known.arrives(HERE, 0.0) == "connections per second of one source"
    assert known.arrives(THERE, 0.0) is None
    assert known.arrives(HERE, 0.5) is None
    assert known.arrives(HERE, 0.5) == "connections per second of one source"


def test_all_sources_together_are_bounded_as_well():
    known = sources(new_connections_burst=3, new_connections_per_second=1)

    said = [known.arrives(f"192.0.2.{n}", 0.0) for n in range(5)]

    assert said == [None] * 3 + ["connections per second"] * 2
    assert known.refusals == {"connections per second": 2}


def test_a_source_may_have_so_many_connections_without_login():
    known = sources(unauthenticated_per_source=4)
    for _ in range(4):
        assert known.arrives(HERE, 0.0) is None

    assert known.arrives(HERE, 0.0) == "unauthenticated connections of one source"
    known.logged_in(HERE, 0.0)
    assert known.arrives(HERE, 0.0) is None


def test_the_crowd_without_login_is_thinned_from_the_start_on_and_stopped_at_the_end():
    """As OpenSSH's MaxStartups start:rate:full."""
    bounds = {
        "unauthenticated_start": 10, "unauthenticated_percent": 30, "unauthenticated_full": 20,
        "unauthenticated_per_source": 1000, "new_connections_burst": 1000,
    }  # fmt: skip
    lucky, unlucky = sources(0.99, **bounds), sources(0.0, **bounds)

    def crowd(known):
        count = 0
        while count < 100 and known.arrives(f"10.0.0.{count}", 0.0) is None:
            count += 1
        return count

    assert crowd(unlucky) == 11  # the first that is one too many
    assert crowd(lucky) == 20
    assert lucky.refusals == {"unauthenticated connections": 1}


def test_the_crowd_bounds_even_the_machine_itself():
    known = sources(0.0, unauthenticated_start=2, unauthenticated_full=4, unauthenticated_per_source=1)
    assert [known.arrives(SELF, 0.0) for _ in range(4)] == [None] * 3 + ["unauthenticated connections"]


def test_sessions_of_one_source_are_bounded_and_free_again_when_they_end():
    known = sources(sessions_per_source=2)
    for _ in range(2):
        known.arrives(HERE, 0.0)
        assert known.may_open(HERE, 0.0)
        known.logged_in(HERE, 0.0)

    assert not known.may_open(HERE, 0.0)
    assert known.may_open(THERE, 0.0)
    known.leaves(HERE, 0.0, logged_in=True)
    assert known.may_open(HERE, 0.0)


def test_the_machine_itself_is_exempt():
    """Behind loopback may stand a TLS wrapper with all its clients."""
    known = sources(sessions_per_source=1, unauthenticated_per_source=1, source_connections_burst=1)
    for _ in range(50):
        assert known.arrives(SELF, 0.0) is None
        known.logged_in(SELF, 0.0)
    known.punish(SELF, 1000.0, 0.0)

    assert known.may_open(SELF, 0.0)
    assert known.arrives(SELF, 0.0) is None


def test_garbage_is_answered_with_a_pause_for_its_whole_prefix():
    known = sources()
    known.punish("2001:db8::1", 10.0, 100.0)

    assert known.arrives("2001:db8::2", 109.9) == "penalty"
    assert known.arrives("2001:db8:0:1::2", 109.9) is None
    assert known.arrives("2001:db8::2", 110.0) is None


def test_a_lesser_penalty_does_not_shorten_a_greater():
    known = sources()
    known.punish(HERE, 90.0, 0.0)
    known.punish(HERE, 10.0, 1.0)

    assert known.arrives(HERE, 89.0) == "penalty"


def test_the_table_is_bounded_however_many_sources_come():
    known = sources(penalty_entries=100, new_connections_burst=10**6)
    for n in range(1000):
        address = f"10.1.{n // 250}.{n % 250}"
        known.arrives(address, 0.0)
        known.leaves(address, 0.0, logged_in=False)

    assert len(known.known) <= 100


def test_two_hundred_thousand_sources_are_too_many_to_remember_and_none_is_refused_for_it():
    """The table is full long before; whoever comes then is taken, and the oldest penalty is forgiven."""
    known = sources(new_connections_burst=10**9)
    for n in range(200_000):
        address = str(ipaddress.IPv4Address(0x0A000000 + n))
        assert known.arrives(address, 0.0) is None
        known.punish(address, 1000.0, 0.0)
        known.leaves(address, 0.0, logged_in=False)

    assert len(known.known) == DEFAULT.penalty_entries
    assert known.arrives("10.0.0.0", 1.0) is None
    assert known.arrives(str(ipaddress.IPv4Address(0x0A000000 + 199_999)), 1.0) == "penalty"


@pytest.mark.parametrize(
    "flood", [lambda n: HERE, lambda n: f"2001:db8:0:1::{n % 1000:x}"], ids=["one", "a network of 1000"]
)
def test_a_flood_from_one_source_leaves_the_others_theirs(flood):
    """Ten thousand connections a second for ten seconds; somebody else comes every quarter of a second."""
    known = Sources(DEFAULT, random.Random(1).random)
    refused, taken = [], 0
    for n in range(100_000):
        now = n / 10_000
        taken += known.arrives(flood(n), now) is None
        if n % 2500 == 0 and (why := known.arrives(THERE, now)) is not None:
            refused.append(why)
        elif n % 2500 == 0:
            known.leaves(THERE, now, logged_in=False)

    assert refused == []
    assert taken <= DEFAULT.unauthenticated_per_source  # none of them ever logs in


def test_a_source_with_connections_is_not_forgotten():
    known = sources(penalty_entries=3, new_connections_burst=10**6, sessions_per_source=1)
    known.arrives(HERE, 0.0)
    known.logged_in(HERE, 0.0)
    for n in range(200):
        known.arrives(f"10.0.0.{n}", 0.0)
        known.leaves(f"10.0.0.{n}", 0.0, logged_in=False)

    assert not known.may_open(HERE, 0.0)
    assert len(known.known) <= 4


def test_what_comes_goes():
    known = sources()
    for logged_in in (False, True):
        known.arrives(HERE, 0.0)
        if logged_in:
            known.logged_in(HERE, 0.0)
        known.leaves(HERE, 0.0, logged_in=logged_in)

    assert known.unauthenticated == 0
    assert known.known[HERE].idle
