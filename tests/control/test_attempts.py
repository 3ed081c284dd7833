"""How the last logins ended: remembered within bounds, and explained."""

from datetime import UTC, datetime, timedelta

import pytest

from scsipub.control import attempts
from scsipub.control.attempts import PER_TARGET, Attempts
from scsipub.control.causes import EXPLAINED, Cause, explain, of_worker
from scsipub.iscsi.constants import LoginStatus

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINE = "iqn.2025-01.pub.scsipub:mine"


def noted(remembered, target=MINE, cause=Cause.WRONG_SECRET, minutes=0, **more):
    who = more.pop("initiator", "iqn.1993-08.org.debian:01:a")
    remembered.note(target, who, "192.0.2.1", cause, NOW + timedelta(minutes=minutes), **more)


def test_the_same_failure_again_and_again_is_one_with_a_count():
    remembered = Attempts()
    for minute in range(100):
        noted(remembered, minutes=minute)

    (only,) = remembered.of(MINE)
    assert (only.count, only.first, only.last) == (100, NOW, NOW + timedelta(minutes=99))


def test_another_cause_begins_another_line_and_the_newest_is_first():
    remembered = Attempts()
    noted(remembered)
    noted(remembered, cause=Cause.TLS_REQUIRED)
    noted(remembered)

    assert [a.cause for a in remembered.of(MINE)] == [
        Cause.WRONG_SECRET,
        Cause.TLS_REQUIRED,
        Cause.WRONG_SECRET,
    ]


def test_each_target_has_its_last_few():
    remembered = Attempts()
    for n in range(PER_TARGET + 5):
        noted(remembered, initiator=f"iqn.{n}")

    assert [a.initiator for a in remembered.of(MINE)] == [f"iqn.{n}" for n in range(PER_TARGET + 4, 4, -1)]


def test_a_flood_of_made_up_names_is_bounded_and_makes_nobody_forget(monkeypatch):
    monkeypatch.setattr(attempts, "STRANGE_NAMES", 10)
    remembered = Attempts()
    noted(remembered)
    for n in range(1000):
        noted(remembered, f"iqn.made-up:{n}", Cause.NOT_FOUND, here=False)

    assert len(remembered.strange) == 10
    assert len(remembered.of(MINE)) == 1
    assert len(remembered.everything()) == 11


def test_what_a_stranger_said_is_kept_short_and_printable():
    remembered = Attempts()
    noted(remembered, initiator="\x1b[2J" + "x" * 1000, user="\0\n")

    (only,) = remembered.of(MINE)
    assert only.initiator.isprintable() and len(only.initiator) <= 223
    assert only.user.isprintable()


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_words_in_which_nothing_is_left_open(cause):
    known = dict.fromkeys(("target", "id", "portal", "host", "user", "account", "why"), "x")

    words, mend = explain(cause, **known)

    assert words and "$" not in words
    assert "${" not in mend and "$x" not in mend
    assert cause in EXPLAINED


def test_what_a_stranger_calls_a_target_never_reaches_a_shell():
    _, mend = explain(Cause.NOT_FOUND, target="iqn.x;rm -rf ~")

    assert mend == "sudo iscsiadm -m node -T ? -o delete"


@pytest.mark.parametrize(
    ("status", "why", "cause"),
    [
        (LoginStatus.AUTHENTICATION_FAILURE, "no common algorithm in CHAP_A=5", Cause.WEAK),
        (LoginStatus.AUTHENTICATION_FAILURE, "nothing to use in AuthMethod=None", Cause.NO_CHAP),
        (LoginStatus.AUTHENTICATION_FAILURE, "no authentication before operation", Cause.NO_CHAP),
        (LoginStatus.NOT_FOUND, "TargetName x is not a name", Cause.NOT_FOUND),
        (LoginStatus.INITIATOR_ERROR, "CHAP_A out of turn", Cause.OTHER),
    ],
)
def test_what_a_worker_refuses_by_itself_is_understood(status, why, cause):
    assert of_worker(status, why) == cause
