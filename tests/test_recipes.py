"""What is shown can be pasted into a shell, whatever anybody has called himself or his targets."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.recipes import Place, cure, host_untrusted, is_plain, recipes, web_untrusted

TARGET = "iqn.2025-01.pub.scsipub:blank"


def made(**fields):
    place = Place(**{"host": "disks.example.org", "port": 3260, "tls_port": 3261, "target": TARGET, **fields})
    return {recipe.key: "\n".join(block.text for block in recipe.blocks) for recipe in recipes(place)}


def test_open_iscsi_is_told_of_one_target_and_forgets_it():
    text = made()["linux"]

    for words in ("-o new", "--login", "--logout", "-o delete"):
        assert f"sudo iscsiadm -m node -T {TARGET} -p disks.example.org:3260 {words}" in text


def test_tls_is_shown_only_where_somebody_listens():
    assert "linux-tls" in made()
    assert "linux-tls" not in made(tls_port=None)


def test_the_tunnel_checks_who_answers():
    assert "checkHost = disks.example.org" in made()["linux-tls"]
    assert "checkIP = 192.0.2.7" in made(host="192.0.2.7")["linux-tls"]
    assert "connect = [2001:db8::7]:3261" in made(host="2001:db8::7")["linux-tls"]


def test_an_ipv6_address_has_brackets_where_a_port_follows():
    text = made(host="2001:db8::7")

    assert "-p [2001:db8::7]:3260 --login" in text["linux"]
    assert f"iscsi://[2001:db8::7]:3260/{TARGET}/0" in text["qemu"]
    assert f"sanboot iscsi:[2001:db8::7]::3260:0:{TARGET}" in text["ipxe"]
    assert "-TargetPortalAddress 2001:db8::7 " in text["windows"]


def test_qemu_gets_a_drive_for_each_unit():
    assert made(luns=2)["qemu"].count("-drive") == 2


def test_our_own_client_is_offered_where_there_is_something_for_it():
    assert f"scsipub connect disks.example.org:3261 --target {TARGET}" in made()["connect"]
    assert "wss" not in made()["connect"]
    assert "connect" not in made(tls_port=None)


def test_where_the_page_came_over_tls_so_may_the_disk():
    text = made(tls_port=None, web="disks.example.org:8443")["connect"]

    assert f"scsipub connect wss://disks.example.org:8443 --target {TARGET}" in text
    assert f"sudo scsipub connect wss://disks.example.org:8443 --target {TARGET} --run" in text


@pytest.mark.parametrize(
    ("header", "web"),
    [
        ("disks.example.org", "disks.example.org"),
        ("disks.example.org:8443", "disks.example.org:8443"),
        ("disks.example.org:", ""),
        ("disks.example.org:8443;reboot", ""),
        ("-o", ""),
        ("a b", ""),
        ("", ""),
    ],
)
def test_the_host_of_the_page_is_a_name_and_a_port_or_nothing(header, web):
    assert web_untrusted(header) == web


def test_the_cure_deletes_the_record():
    assert f"iscsiadm -m node -T {TARGET} -o delete" in cure(Place("h", 1, None, TARGET)).text


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost:4000", "localhost"),
        ("disks.example.org", "disks.example.org"),
        ("192.0.2.7:80", "192.0.2.7"),
        ("[2001:db8::7]:80", "2001:db8::7"),
        ("", None),
        ("[]", None),
        ("[beef]", None),
        ("-o.example.org", None),
        ("a;reboot", None),
        ("a b", None),
        ("<script>", None),
        ("a" * 254, None),
        ("exämple.org", None),
    ],
)
def test_a_host_header_is_a_host_or_nothing(header, host):
    assert host_untrusted(header) == host


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_plain_is_one_word_to_a_shell(host, target):
    place = Place(host_untrusted(host) or "h", 3260, None, target)
    if is_plain(place):
        assert shlex.split(place.host) == [place.host]
        assert shlex.split(place.target) == [place.target]
        assert not place.target.startswith("-")
