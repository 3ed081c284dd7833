"""Who a request comes from, when proxies say so."""

import pytest

from scsipub.web.forwarded import Client, client_untrusted

OURS = {"127.0.0.1", "::1", "10.0.0.2"}


def said(*values, proto=None):
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in values]
    return [*headers, (b"x-forwarded-proto", proto)] if proto else headers


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (said("198.51.100.7"), "198.51.100.7"),
        (said("1.1.1.1, 198.51.100.7"), "198.51.100.7"),
        (said("1.1.1.1, 198.51.100.7, 10.0.0.2"), "198.51.100.7"),
        (said("1.1.1.1", "198.51.100.7"), "198.51.100.7"),
        (said(" 2001:DB8::7 "), "2001:db8::7"),
        (said("127.0.0.1"), "127.0.0.1"),
        (said(), "127.0.0.1"),
        (said(""), "127.0.0.1"),
        (said("198.51.100.7, unknown"), "127.0.0.1"),
        (said("198.51.100.7:4711"), "127.0.0.1"),
        (said("\xff\x00; DROP"), "127.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_is_the_client(headers, address):
    assert client_untrusted("127.0.0.1", headers, OURS).address == address


def test_a_peer_that_is_no_proxy_of_ours_is_the_client_whatever_it_says():
    headers = said("198.51.100.7", proto=b"https")

    assert client_untrusted("192.0.2.1", headers, OURS) == Client("192.0.2.1", False)


def test_nobody_is_believed_when_no_proxy_is_named():
    assert client_untrusted("127.0.0.1", said("198.51.100.7"), ()) == Client("127.0.0.1", False)


@pytest.mark.parametrize(
    ("proto", "encrypted"), [(b"https", True), (b" WSS ", True), (b"http", False), (None, False)]
)
def test_the_proxy_says_whether_it_was_encrypted_up_to_there(proto, encrypted):
    assert client_untrusted("::1", said("198.51.100.7", proto=proto), OURS).encrypted is encrypted


def test_a_thousand_hops_cost_no_more_than_a_few():
    headers = said(",".join(["198.51.100.7"] * 1000 + ["127.0.0.1"] * 40))

    assert client_untrusted("127.0.0.1", headers, OURS).address == "127.0.0.1"
