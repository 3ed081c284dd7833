"""scsipub/certificates.py"""

import datetime
import os
import ssl

import pytest

from scsipub.certificates import (
    FILE_BYTES,
    Files,
    Unusable,
    check,
    covers,
    host_of,
    load,
    read_pair,
    server_context,
)
from tests.support.certificates import DAY, Authority, Pair, now


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def files(tmp_path):
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def loaded(pair, files, *hosts, at=None):
    pair.write(*files)
    return load(Files(*files), hosts, at or now())


def test_a_good_pair_becomes_a_context_and_says_until_when_it_is_good(authority, files):
    ends = now().replace(microsecond=0) + 2 * DAY

    found = loaded(authority.pair(ends=ends), files)

    assert found.not_after == ends
    assert isinstance(found.context, ssl.SSLContext)


def test_the_context_speaks_only_what_hides_the_past_and_cannot_be_altered(authority, files):
    """RFC 9325 §3.1.1, §4.2: TLS 1.2 or later, ECDHE, AEAD, no compression."""
    context = loaded(authority.pair(), files).context

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert all(cipher["aead"] for cipher in context.get_ciphers())
    assert {c["kea"] for c in context.get_ciphers()} <= {"kx-ecdhe", "kx-any"}
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_TICKET):
        assert context.options & option
    assert context.num_tickets == 0


@pytest.mark.parametrize("missing", [0, 1])
def test_a_file_that_is_not_there_is_named(authority, files, missing):
    authority.pair().write(*files)
    files[missing].unlink()

    with pytest.raises(Unusable, match=files[missing].name):
        load(Files(*files), (), now())


@pytest.mark.parametrize("part", ["certificate", "key"])
def test_a_file_cut_anywhere_is_not_used(authority, files, part):
    """Half a file: cut at a tenth of its length, at two tenths, and so on."""
    good = authority.pair()
    whole = getattr(good, part)
    for tenth in range(10):
        cut = whole[: len(whole) * tenth // 10]
        pair = Pair(cut, good.key) if part == "certificate" else Pair(good.certificate, cut)

        with pytest.raises(Unusable):
            loaded(pair, files)


def test_the_key_of_another_certificate_is_not_used(authority, files):
    pair = Pair(authority.pair().certificate, authority.pair().key)

    with pytest.raises(Unusable, match="another certificate"):
        loaded(pair, files)


def test_a_locked_key_is_not_used_and_nobody_is_asked_for_its_passphrase(authority, files):
    with pytest.raises(Unusable, match="passphrase"):
        loaded(authority.pair(passphrase=b"secret"), files)


def test_a_pair_is_good_from_its_first_second_until_its_last(authority, files):
    begins = now().replace(microsecond=0)
    ends = begins + DAY
    pair = authority.pair(begins=begins, ends=ends)
    second = datetime.timedelta(seconds=1)

    loaded(pair, files, at=begins)
    loaded(pair, files, at=ends - second)
    with pytest.raises(Unusable, match="good only from"):
        loaded(pair, files, at=begins - second)
    with pytest.raises(Unusable, match="expired"):
        loaded(pair, files, at=ends)


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (["disks.example.org"], "disks.example.org", True),
        (["disks.example.org"], "DISKS.example.org", True),
        (["disks.example.org"], "example.org", False),
        (["*.example.org"], "disks.example.org", True),
        (["*.example.org"], "a.disks.example.org", False),
        (["*.example.org"], "example.org", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["192.0.2.1"], "192.0.2.2", False),
        (["2001:db8::1"], "2001:DB8:0::1", True),
        (["a.example.org", "b.example.org"], "b.example.org", True),
    ],
)
def test_a_certificate_covers_the_names_it_says(authority, files, names, host, covered):
    """RFC 6125 §6.4: whole names, and one label where there is a star."""
    pair = authority.pair(*names)

    if covered:
        loaded(pair, files, host)
    else:
        with pytest.raises(Unusable, match="does not cover"):
            loaded(pair, files, host)


def test_a_certificate_without_names_covers_nothing(authority):
    """RFC 9525 §6.3: the common name is no longer looked at."""
    assert not covers(authority.certificate, "tests")


def test_a_chain_of_another_certificate_is_not_used(authority, files):
    good = authority.pair()
    leaf = good.certificate.removesuffix(authority.pem)

    with pytest.raises(Unusable, match="chain"):
        loaded(Pair(leaf + Authority("Somebody else").pem, good.key), files)


def test_a_file_that_changes_while_it_is_read_is_not_used(authority, files, monkeypatch):
    authority.pair().write(*files)
    real, touched = os.stat, []

    def stat(path, **how):
        if path == files[1] and not touched:
            touched.append(path)
        elif path == files[0] and touched:
            authority.pair().write(*files)
        return real(path, **how)

    monkeypatch.setattr(os, "stat", stat)

    with pytest.raises(Unusable, match="change at this moment"):
        read_pair(Files(*files))


def test_an_endless_file_is_not_read_to_its_end(authority, files):
    pair = authority.pair()
    files[1].write_bytes(pair.key)
    files[0].write_bytes(pair.certificate + b"\n" * (FILE_BYTES - len(pair.certificate)))
    load(Files(*files), (), now())

    with files[0].open("ab") as file:
        file.write(b"\n")

    with pytest.raises(Unusable, match="more than"):
        load(Files(*files), (), now())


def test_the_key_is_not_shown(authority, files):
    authority.pair().write(*files)

    assert "PRIVATE KEY" not in repr(read_pair(Files(*files)))


def test_what_was_checked_is_what_is_served(authority, files):
    """The context is made from the bytes that were read, whatever the files have become."""
    authority.pair("localhost").write(*files)
    pair = read_pair(Files(*files))
    check(pair, ["localhost"], now())
    files[0].write_text("gone")
    files[1].write_text("gone")

    server_context(pair)


@pytest.mark.parametrize(
    ("said", "host"),
    [
        ("disks.example.org", "disks.example.org"),
        ("disks.example.org:3261", "disks.example.org"),
        ("[2001:db8::1]:3261", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_the_port_of_a_public_host_is_no_part_of_its_name(said, host):
    assert host_of(said) == host
