"""Who has signed in, how long, and what a request must say to be believed."""

import pytest

from scsipub.web import pages_visits as pv

ALICE = pv.Who("alice", frozenset({"targets:read"}))


def test_a_visit_is_found_by_what_its_cookie_says():
    visits = pv.Visits()
    cookie = visits.open("token", ALICE, now=0.0)

    assert visits.find(cookie, now=1.0).token == "token"
    assert visits.find(cookie + "x", now=1.0) is None
    assert visits.find("", now=1.0) is None
    assert visits.find(None, now=1.0) is None


def test_a_visit_goes_on_while_it_is_used_and_ends_when_it_is_not():
    visits = pv.Visits()
    cookie = visits.open("token", ALICE, now=0.0)

    assert visits.find(cookie, now=pv.IDLE_SECONDS) is not None
    assert visits.find(cookie, now=2 * pv.IDLE_SECONDS) is not None
    assert visits.find(cookie, now=3 * pv.IDLE_SECONDS + 1) is None
    assert visits.find(cookie, now=2 * pv.IDLE_SECONDS) is None


def test_no_visit_lasts_longer_than_half_a_day():
    visits = pv.Visits()
    cookie = visits.open("token", ALICE, now=0.0)
    at = 0.0
    while at + pv.IDLE_SECONDS <= pv.LONGEST_SECONDS:
        at += pv.IDLE_SECONDS
        assert visits.find(cookie, now=at) is not None

    assert visits.find(cookie, now=pv.LONGEST_SECONDS + 1) is None


def test_who_signs_out_is_not_known_any_more():
    visits = pv.Visits()
    cookie = visits.open("token", ALICE, now=0.0)
    visits.close(cookie)

    assert visits.find(cookie, now=0.0) is None


def test_the_visit_that_was_idle_longest_makes_room():
    visits = pv.Visits()
    first, second = (visits.open("token", ALICE, now=0.0) for _ in range(2))
    visits.find(first, now=1.0)
    for _ in range(pv.MOST_VISITS - 1):
        visits.open("token", ALICE, now=2.0)

    assert visits.find(first, now=3.0) is not None
    assert visits.find(second, now=3.0) is None


def test_nothing_of_a_visit_that_is_secret_is_shown_by_repr():
    visits = pv.Visits()
    visit = visits.find(visits.open("a secret token", ALICE, now=0.0), now=0.0)
    visit.keep_once({"secret": "another"})

    assert "secret" not in repr(visit) and visit.form_key not in repr(visit)


def test_only_a_few_answers_wait_to_be_looked_at():
    visit = pv.Visit(ALICE, "token", "key", 0.0, 0.0)
    names = [visit.keep_once(n) for n in range(pv.MOST_ONCE + 1)]

    assert visit.once.pop(names[0], None) is None
    assert visit.once.pop(names[1], None) == 1
    assert visit.once.pop(names[1], None) is None


def test_a_source_may_try_so_often_and_then_once_in_a_while():
    tries = pv.Tries()
    for _ in range(pv.TRIES):
        assert tries.may("192.0.2.1", now=0.0)
        tries.failed("192.0.2.1", now=0.0)

    assert not tries.may("192.0.2.1", now=pv.TRY_SECONDS - 0.1)
    assert tries.may("192.0.2.1", now=pv.TRY_SECONDS)
    assert tries.may("192.0.2.2", now=0.0)


def test_so_many_sources_are_remembered():
    tries = pv.Tries()
    for n in range(pv.MOST_SOURCES + 10):
        tries.failed(str(n), now=0.0)

    assert len(tries._buckets) == pv.MOST_SOURCES


@pytest.mark.parametrize(
    ("origin", "host", "believed"),
    [
        ("https://disks.example.org", "disks.example.org", True),
        ("http://127.0.0.1:4000", "127.0.0.1:4000", True),
        ("https://DISKS.example.org", "disks.example.org", True),
        ("https://evil.example.org", "disks.example.org", False),
        ("https://disks.example.org.evil.com", "disks.example.org", False),
        ("https://disks.example.org:444", "disks.example.org", False),
        ("null", "disks.example.org", False),
        ("", "disks.example.org", False),
        ("file://disks.example.org", "disks.example.org", False),
        ("https://[", "disks.example.org", False),
        ("https://", "", False),
    ],
)
def test_a_form_comes_from_the_host_that_was_asked(origin, host, believed):
    """RFC 6454 §7: a browser says where the page with the form came from."""
    assert pv.is_from_here({"origin": origin, "host": host}) is believed


@pytest.mark.parametrize("said", ["", "kez", "ключ", None, "key "])
def test_a_form_without_the_key_of_its_visit_is_forged(said):
    headers = {"origin": "http://a", "host": "a"}
    pv.check_form(headers, "key", "key")

    with pytest.raises(pv.Forged):
        pv.check_form(headers, said, "key")


@pytest.mark.parametrize(
    ("said", "goes"),
    [
        ("/targets", True),
        ("/a?b=c", True),
        ("//evil.org", False),
        ("/\\evil.org", False),
        ("https://evil.org", False),
        ("", False),
        ("/a\nb", False),
        ("/" + "a" * 300, False),
    ],
)
def test_signing_in_leads_nowhere_else(said, goes):
    assert pv.local_path(said) == (said if goes else None)
