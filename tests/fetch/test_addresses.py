"""Addresses: which are the world's, and that the one that was looked at is the one that is used."""

import socket

import pytest

from scsipub.errors import OperatorError
from scsipub.fetch import addresses
from scsipub.fetch.addresses import CheckedNetwork, Private, is_public

INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1",
    "198.51.100.7", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1",
    "2001:db8::1", "100::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_what_means_something_here_only_is_not_the_world(address):
    """RFC 6890, and the ways to write an IPv4 address into an IPv6 one."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"],
)
def test_the_rest_is(address):
    assert is_public(address)


@pytest.fixture
def names(monkeypatch):
    """What names mean, each time they are asked for; and where connections went."""
    meanings, went = {}, []

    def getaddrinfo(host, port, **words):
        said = meanings[host].pop(0) if len(meanings[host]) > 1 else meanings[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in said]

    class Network:
        def connect_tcp(self, host, port, *words):
            went.append(host)
            return object()

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(addresses.httpcore, "SyncBackend", Network)
    return meanings, went


@pytest.mark.parametrize("said", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::1"], ["169.254.169.254"]])
def test_a_name_that_means_anything_inside_is_not_connected_to(names, said):
    meanings, went = names
    meanings["evil.example"] = [said]

    with pytest.raises(OperatorError, match="not fetched from"):
        CheckedNetwork(Private.REFUSED).connect_tcp("evil.example", 80)
    assert went == []


def test_a_name_that_means_something_else_a_moment_later_changes_nothing(names):
    """DNS rebinding: it is asked for once, and the number goes to the socket."""
    meanings, went = names
    meanings["evil.example"] = [["1.1.1.1"], ["127.0.0.1"]]

    CheckedNetwork(Private.REFUSED).connect_tcp("evil.example", 80)

    assert went == ["1.1.1.1"]


def test_who_is_allowed_to_may_connect_inside(names):
    meanings, went = names
    meanings["nas"] = [["192.168.1.5"]]
    network = CheckedNetwork(Private.ALLOWED)

    network.connect_tcp("nas", 80)

    assert (went, network.was_private) == (["192.168.1.5"], True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0", "localhost", "[::1]"])
def test_no_way_of_writing_loopback_gets_through(host):
    with pytest.raises(OperatorError):
        CheckedNetwork(Private.REFUSED).connect_tcp(host, 9)
