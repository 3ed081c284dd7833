"""Events, and requests that are made twice."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from scsipub.store import journal, schema
from scsipub.store.errors import Conflict
from tests.store.conftest import NOW

DAY = timedelta(days=1)


def test_events_are_told_from_the_newest_on(do):
    for n in range(3):
        do(journal.note, "target.created", f"number {n}", NOW, tenant_id="ada", data={"n": n})

    page = do(journal.events, limit=2)
    rest = do(journal.events, limit=2, after=page.next)

    assert [e.text for e in (*page.items, *rest.items)] == ["number 2", "number 1", "number 0"]
    assert page.items[0].data == {"n": 2}
    assert rest.next is None


def test_events_of_one_tenant_and_of_one_target(do):
    do(journal.note, "a", "hers", NOW, tenant_id="ada", target_id="t1")
    do(journal.note, "a", "his", NOW, tenant_id="bob", target_id="t2")
    do(journal.note, "a", "nobody's", NOW)

    assert [e.text for e in do(journal.events, tenant_id="ada").items] == ["hers"]
    assert [e.text for e in do(journal.events, target_id="t2").items] == ["his"]


def test_text_is_made_to_fit(do):
    do(journal.note, "a", "x" * 5000 + "\0", NOW)
    do(journal.note, "a", "a\0b", NOW)

    assert [len(e.text) for e in do(journal.events).items] == [3, 1024]


def test_only_so_many_events_are_kept_and_the_oldest_go(do, monkeypatch):
    monkeypatch.setattr(journal, "EVENTS", 10)
    for n in range(10):
        do(journal.note, "a", f"number {n}", NOW)
    assert do(journal.prune, NOW) == 0

    for n in range(10, 15):
        do(journal.note, "a", f"number {n}", NOW)

    assert do(journal.prune, NOW) == 5
    assert [e.text for e in do(journal.events).items][-1] == "number 5"


# -- requests that are made twice ----------------------------------------------------------------------------


def begin(do, vault, now=NOW, key="k1", request="r1", caller="ada"):
    return do(journal.begin, vault, caller, key, request, now)


def test_a_request_made_again_gets_the_same_answer(do, vault):
    assert begin(do, vault) is None
    do(journal.finish, vault, "ada", "k1", 201, {"secret": "canary"})

    again = begin(do, vault)

    assert (again.status, again.answer) == (201, {"secret": "canary"})


def test_an_answer_that_is_kept_is_sealed(do, vault):
    begin(do, vault)
    do(journal.finish, vault, "ada", "k1", 201, {"secret": "canary"})

    row = do(lambda c: c.execute(sa.select(schema.idempotency)).mappings().one())

    assert b"canary" not in bytes(row["sealed"])


def test_a_key_for_two_requests_is_refused(do, vault):
    begin(do, vault)

    with pytest.raises(Conflict, match="another request"):
        begin(do, vault, request="r2")


def test_a_request_that_is_still_being_answered_is_not_done_twice(do, vault):
    begin(do, vault)

    with pytest.raises(Conflict, match="still"):
        begin(do, vault)


def test_a_request_that_came_to_nothing_may_be_made_again(do, vault):
    begin(do, vault)
    do(journal.forget, "ada", "k1")

    assert begin(do, vault) is None


def test_what_was_being_answered_when_the_daemon_died_may_be_asked_again(do, vault):
    begin(do, vault)
    begin(do, vault, key="k2")
    do(journal.finish, vault, "ada", "k2", 201, {})

    do(journal.forget_unfinished)

    assert begin(do, vault) is None
    assert begin(do, vault, key="k2").status == 201


def test_a_key_is_its_callers(do, vault):
    begin(do, vault)

    assert begin(do, vault, caller="bob") is None


def test_answers_are_kept_for_a_day(do, vault):
    begin(do, vault)
    do(journal.finish, vault, "ada", "k1", 201, {})

    assert begin(do, vault, now=NOW + DAY - timedelta(seconds=1)).status == 201
    assert begin(do, vault, now=NOW + DAY) is None
