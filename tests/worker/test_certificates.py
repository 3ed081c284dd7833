"""scsipub/worker/certificates.py"""

import json
import os

import pytest

from scsipub.certificates import Files, Pair, read_pair
from scsipub.worker.certificates import Certificates
from tests.support.certificates import DAY, Authority, now
from tests.support.certificates import Pair as Written

COOLDOWN = 60.0


class Watched(Certificates):
    """With what it told, and a wall clock that a test may set."""

    def __init__(self, *paths, hosts=()):
        self.told = []
        self.wall = now()
        super().__init__(
            Files(*paths),
            hosts,
            cooldown=COOLDOWN,
            tell=lambda what, why: self.told.append((what, why)),
            clock=lambda: self.wall,
        )

    def take_told(self):
        told, self.told = self.told, []
        return [what for what, _ in told]


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def files(tmp_path):
    return tmp_path / "cert.pem", tmp_path / "key.pem"


@pytest.fixture
def served(authority, files):
    """A pair has been in force since 0."""
    authority.pair().write(*files)
    certificates = Watched(*files)
    certificates.first = certificates.current(0.0)
    assert certificates.take_told() == ["certificate loaded"]
    return certificates


def test_a_new_pair_is_served_when_the_cooldown_is_over_and_not_before(served, authority, files):
    authority.pair().write(*files)

    assert served.current(COOLDOWN - 0.001) is served.first
    assert served.current(COOLDOWN) is not served.first
    assert served.take_told() == ["certificate loaded"]


def test_within_the_cooldown_nothing_is_asked_of_the_kernel(served, monkeypatch):
    def stat(*_, **__):
        raise AssertionError("asked")

    monkeypatch.setattr(os, "stat", stat)

    served.current(COOLDOWN - 0.001)
    with pytest.raises(AssertionError, match="asked"):
        served.current(COOLDOWN)


def test_files_that_stay_are_looked_at_but_not_read(served, monkeypatch):
    monkeypatch.setattr("scsipub.worker.certificates.load", lambda *_: pytest.fail("was read"))

    assert served.current(COOLDOWN) is served.first
    assert served.current(2 * COOLDOWN) is served.first
    assert served.told == []


def bad_pairs(authority):
    good, other = authority.pair(), authority.pair()
    return {
        "half a certificate": Written(good.certificate[:300], good.key),
        "half a key": Written(good.certificate, good.key[:100]),
        "empty files": Written(b"", b""),
        "a key that does not match": Written(good.certificate, other.key),
        "an expired pair": authority.pair(ends=now() - DAY / 2),
        "a pair of tomorrow": authority.pair(begins=now() + DAY),
    }


@pytest.mark.parametrize("what", list(bad_pairs(Authority())))
def test_the_old_pair_stays_on_any_doubt_and_the_operator_hears_of_it_once(served, authority, files, what):
    bad_pairs(authority)[what].write(*files)

    assert served.current(1 * COOLDOWN) is served.first
    assert served.current(2 * COOLDOWN) is served.first
    assert served.take_told() == ["certificate not used"]

    authority.pair().write(*files)
    assert served.current(3 * COOLDOWN) is not served.first
    assert served.take_told() == ["certificate loaded"]


def test_the_old_pair_stays_when_the_files_are_gone(served, files):
    files[0].unlink()

    assert served.current(COOLDOWN) is served.first
    assert served.take_told() == ["certificate not used"]


def test_a_pair_for_another_host_is_not_swapped_in(authority, files):
    authority.pair("disks.example.org").write(*files)
    certificates = Watched(*files, hosts=["disks.example.org"])
    first = certificates.current(0.0)

    authority.pair("other.example.org").write(*files)

    assert certificates.current(COOLDOWN) is first
    assert certificates.take_told() == ["certificate loaded", "certificate not used"]


def test_a_pair_of_tomorrow_is_served_tomorrow(served, authority, files):
    """The files have not changed since they were refused; time has."""
    authority.pair(begins=now() + DAY / 2).write(*files)
    assert served.current(COOLDOWN) is served.first

    served.wall += DAY

    assert served.current(2 * COOLDOWN) is not served.first


def test_a_pair_that_expires_in_service_stays_and_the_operator_hears_of_it_once(served):
    served.wall += 30 * DAY

    assert served.current(1 * COOLDOWN) is served.first
    assert served.current(2 * COOLDOWN) is served.first
    assert served.take_told() == ["certificate expired"]


def test_without_any_pair_the_files_are_looked_at_every_second(authority, files):
    certificates = Watched(*files)
    assert certificates.current(0.0) is None
    authority.pair().write(*files)

    assert certificates.current(0.999) is None
    assert certificates.current(1.0) is not None
    assert certificates.take_told() == ["certificate not used", "certificate loaded"]


# -- what control hands down ---------------------------------------------------------------------------------


def test_a_worker_that_starts_while_the_files_are_in_disorder_serves_what_the_others_do(authority, files):
    authority.pair().write(*files)
    in_service = Pair.from_json(json.loads(json.dumps(read_pair(Files(*files)).to_json())))
    files[1].write_bytes(b"half a k")
    certificates = Watched(*files)

    assert certificates.current(0.0) is None
    certificates.adopt(in_service, 0.0)

    assert certificates.current(0.0) is not None
    assert certificates.take_told() == ["certificate not used"]


def test_what_a_worker_has_found_itself_is_not_replaced(served, authority, files):
    old = read_pair(Files(*files))
    authority.pair().write(*files)
    newer = served.current(COOLDOWN)
    served.adopt(old, COOLDOWN)

    assert served.current(COOLDOWN) is newer


def test_an_adopted_pair_is_replaced_by_a_newer_one_after_a_cooldown(authority, files):
    authority.pair().write(*files)
    certificates = Watched(*files)
    certificates.adopt(read_pair(Files(*files)), 0.0)
    adopted = certificates.current(0.0)
    assert certificates.current(COOLDOWN) is adopted  # the files are those
    authority.pair().write(*files)

    assert certificates.current(2 * COOLDOWN) not in (None, adopted)


def test_a_key_never_shows_in_a_record(authority, files):
    authority.pair().write(*files)
    certificates = Watched(*files)
    certificates.current(0.0)

    assert "PRIVATE KEY" not in repr(certificates.loaded)
