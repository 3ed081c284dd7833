"""scsipub/cli/certs.py"""

import datetime
import grp
import os
import stat

import pytest
from click.testing import CliRunner

from scsipub.certificates import Files, Unusable, load
from scsipub.cli import cli
from scsipub.cli.certs import bring
from tests.support.certificates import DAY, Authority, Pair, now

HOST = "disks.example.org"


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def caddy(tmp_path):
    return tmp_path / "caddy"


@pytest.fixture
def to(tmp_path):
    return tmp_path / "pair"


def issued(caddy, pair, issuer="acme-v02.api.letsencrypt.org-directory", name=HOST):
    """As Caddy lays them out."""
    folder = caddy / issuer / name
    folder.mkdir(parents=True, exist_ok=True)
    pair.write(folder / f"{name}.crt", folder / f"{name}.key")


def brought(to):
    return Pair((to / "cert.pem").read_bytes(), (to / "key.pem").read_bytes())


def test_what_caddy_has_is_what_the_daemon_can_serve(caddy, to, authority):
    pair = authority.pair(HOST)
    issued(caddy, pair)

    assert "good until" in bring(HOST, caddy, to, None, now())
    assert brought(to) == pair
    load(Files(to / "cert.pem", to / "key.pem"), [HOST], now())


def test_nothing_is_touched_while_nothing_is_new(caddy, to, authority):
    issued(caddy, authority.pair(HOST))
    bring(HOST, caddy, to, None, now())
    before = os.stat(to / "cert.pem")

    assert bring(HOST, caddy, to, None, now()) == ""
    assert os.stat(to / "cert.pem").st_ino == before.st_ino


def test_a_renewed_pair_replaces_the_old_one(caddy, to, authority):
    issued(caddy, authority.pair(HOST))
    bring(HOST, caddy, to, None, now())
    renewed = authority.pair(HOST)
    issued(caddy, renewed)

    assert bring(HOST, caddy, to, None, now())
    assert brought(to) == renewed


def test_of_several_issuers_the_one_that_lasts_longest_counts(caddy, to, authority):
    long = authority.pair(HOST, ends=now() + 5 * DAY)
    issued(caddy, authority.pair(HOST, ends=now() + DAY), "a")
    issued(caddy, long, "b")
    issued(caddy, authority.pair(HOST, ends=now() + DAY), "c")

    bring(HOST, caddy, to, None, now())

    assert brought(to) == long


def test_a_wildcard_covers_the_host(caddy, to, authority):
    pair = authority.pair("*.example.org")
    issued(caddy, pair, name="wildcard_.example.org")

    bring(HOST, caddy, to, None, now())

    assert brought(to) == pair


@pytest.mark.parametrize("what", ["half", "mismatch", "expired", "other host"])
def test_what_the_daemon_would_not_serve_is_not_brought(caddy, to, authority, what):
    good = authority.pair(HOST)
    issued(caddy, good)
    bring(HOST, caddy, to, None, now())
    issued(
        caddy,
        {
            "half": Pair(good.certificate[:300], good.key),
            "mismatch": Pair(good.certificate, authority.pair(HOST).key),
            "expired": authority.pair(HOST, ends=now() - datetime.timedelta(hours=1)),
            "other host": authority.pair("other.example.org"),
        }[what],
    )

    with pytest.raises(Unusable):
        bring(HOST, caddy, to, None, now())
    assert brought(to) == good


def test_only_owner_and_group_may_read(caddy, to, authority):
    issued(caddy, authority.pair(HOST))

    bring(HOST, caddy, to, None, now())
    assert {stat.S_IMODE(os.stat(to / name).st_mode) for name in ("cert.pem", "key.pem")} == {0o600}

    for name in ("cert.pem", "key.pem"):
        (to / name).unlink()
    bring(HOST, caddy, to, grp.getgrgid(os.getgid()).gr_name, now())
    assert {stat.S_IMODE(os.stat(to / name).st_mode) for name in ("cert.pem", "key.pem")} == {0o640}


def sync(*words):
    return CliRunner().invoke(cli, ["certs", "sync", *map(str, words)])


def test_once_looks_once(caddy, to, authority):
    issued(caddy, authority.pair(HOST))

    assert sync(HOST, "--caddy", caddy, "--to", to, "--once").exit_code == 0
    assert (to / "key.pem").exists()


@pytest.mark.parametrize("host", [HOST, "../../etc", ".", "a/b"])
def test_once_without_anything_to_bring_is_told(caddy, to, host):
    caddy.mkdir()

    result = sync(host, "--caddy", caddy, "--to", to, "--once")

    assert result.exit_code == 1
    assert not to.exists()


def test_an_unknown_group_is_told_and_leaves_nothing_readable(caddy, to, authority):
    issued(caddy, authority.pair(HOST))

    assert sync(HOST, "--caddy", caddy, "--to", to, "--once", "--group", "no-such-group").exit_code == 1
    assert not (to / "key.pem").exists()
