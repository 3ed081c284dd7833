"""Discovery: which targets are shown, and under which address."""

import pytest

from scsipub.iscsi.text_exchange import TargetRecord
from scsipub.target.discovery import PortalPolicy, records

NAMES = ["iqn.2025-01.pub.scsipub:a", "iqn.2025-01.pub.scsipub:b"]


@pytest.mark.parametrize(
    ("local", "address"),
    [
        ("192.0.2.1", "192.0.2.1:3260,1"),
        ("2001:db8::1", "[2001:db8::1]:3260,1"),
        ("::ffff:192.0.2.1", "192.0.2.1:3260,1"),
        ("::FFFF:192.0.2.1", "192.0.2.1:3260,1"),
        ("::1", "[::1]:3260,1"),
    ],
)
def test_a_mirror_shows_the_address_that_was_used(local, address):
    """RFC 7143 §13.8: IPv6 addresses wear brackets; one that is IPv4 in disguise does not."""
    assert PortalPolicy().address(local, 3260) == address


@pytest.mark.parametrize(
    ("public", "address"),
    [
        ("scsi.example", "scsi.example:3261,7"),
        ("scsi.example:860", "scsi.example:860,7"),
        ("192.0.2.1", "192.0.2.1:3261,7"),
        ("2001:db8::1", "[2001:db8::1]:3261,7"),
        ("[2001:db8::1]", "[2001:db8::1]:3261,7"),
        ("[2001:db8::1]:860", "[2001:db8::1]:860,7"),
    ],
)
def test_a_fixed_address_is_shown_whatever_was_used(public, address):
    """Behind NAT no address that the daemon sees is the right one."""
    policy = PortalPolicy(target_address="fixed", public_host=public, portal_group=7)

    assert policy.address("10.0.0.1", 3261) == address


def test_an_address_may_be_left_out():
    """Appendix C: then the initiator stays where it is."""
    policy = PortalPolicy(target_address="omit", public_host="scsi.example")

    assert policy.address("10.0.0.1", 3260) is None
    assert records(NAMES, None, policy, "10.0.0.1", 3260) == [TargetRecord(name) for name in NAMES]


def test_a_fixed_address_that_nobody_set_is_a_mirror():
    assert PortalPolicy(target_address="fixed").address("192.0.2.1", 3260) == "192.0.2.1:3260,1"


def test_only_what_was_asked_for_is_shown():
    """One of the names, or nothing."""
    shown = records(NAMES, NAMES[1], PortalPolicy(), "192.0.2.1", 3260)

    assert shown == [TargetRecord(NAMES[1], ("192.0.2.1:3260,1",))]
    assert records(NAMES, "iqn.2025-01.pub.scsipub:c", PortalPolicy(), "192.0.2.1", 3260) == []


def test_a_policy_travels_as_json():
    policy = PortalPolicy(target_address="fixed", public_host="scsi.example", portal_group=3)

    assert PortalPolicy.from_json(policy.to_json()) == policy
