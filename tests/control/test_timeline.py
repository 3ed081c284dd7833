"""Changes of reservations in words."""

import os
from datetime import UTC, datetime

import pytest

from scsipub.control import timeline
from scsipub.control.timeline import now_in_force, told, type_name
from scsipub.store.records import StoredReservations
from tests.support.rented import rented

A = {"name": "iqn.a", "isid": None, "principal": "ada", "target_port": None}
B = {"name": "iqn.b", "isid": "00023d000001", "principal": "ada", "target_port": 2}


def registered(port, key):
    return {"port": port, "key": f"{key:016x}", "all_target_ports": False}


def state(*registrations, kind=None, holder=None, generation=0):
    return StoredReservations(
        unit_id="u", version=1, registrations=registrations, kind=kind, holder=holder, generation=generation
    )


RA, RB = registered(A, 0xA1), registered(B, 0xB2)
NAMED_B = "iqn.b,i,0x00023d000001 at portal 2 (key 0xb2)"


@pytest.mark.parametrize(
    ("before", "after", "action", "kind", "words"),
    [
        (state(), state(RA), "REGISTER", "registered", "registered key 0xa1"),
        (state(RA), state(registered(A, 2)), "REGISTER", "registered", "registered key 0x2 instead of 0xa1"),
        (
            state(RA, kind=5, holder=A),
            state(),
            "REGISTER_AND_IGNORE",
            "unregistered",
            "gave up iqn.a (key 0xa1); write exclusive registrants only has ended",
        ),
        (state(RA), state(RA, kind=1, holder=A), "RESERVE", "reserved", "reserved write exclusive"),
        (state(RA, kind=8), state(RA), "RELEASE", "released", "released exclusive access all registrants"),
        (
            state(RA, RB, kind=1, holder=A),
            state(),
            "CLEAR",
            "cleared",
            f"cleared everything, of iqn.a (key 0xa1), {NAMED_B}; write exclusive has ended",
        ),
        (state(RA, RB), state(RA), "PREEMPT", "preempted", f"preempted {NAMED_B}"),
        (
            state(RA, RB, kind=5, holder=B),
            state(RA, kind=5, holder=A),
            "PREEMPT_AND_ABORT",
            "preempted",
            f"preempted {NAMED_B}; holds write exclusive registrants only; commands ended",
        ),
        (
            state(RA, kind=1, holder=A),
            state(RA, RB, kind=1, holder=B),
            "REGISTER_AND_MOVE",
            "moved",
            "moved write exclusive to iqn.b,i,0x00023d000001 at portal 2",
        ),
    ],
)
def test_each_action_in_words(before, after, action, kind, words):
    happened = told(3, before, after, action, A)

    assert happened is not None
    assert (happened.kind, happened.text) == (f"reservation.{kind}", f"LUN 3: iqn.a {words}")
    assert happened.data["by"] == A


def test_nothing_is_said_when_nobody_s_rights_have_changed():
    assert told(0, state(RA), state(RA, generation=1), "REGISTER", A) is None


def test_an_event_names_so_many_and_counts_the_rest():
    crowd = [registered({**A, "name": f"iqn.{n}"}, n + 1) for n in range(64)]
    happened = told(0, state(*crowd), state(), "CLEAR", A)

    assert happened is not None
    assert happened.text.endswith(" and 56 more")
    assert len(happened.data["removed"]) == timeline.MOST_NAMED


def test_types_have_names():
    assert type_name(None) is None
    assert type_name(6) == "exclusive access registrants only"


def test_who_holds_and_who_is_there():
    target = rented("t", datetime.now(UTC), os.urandom)
    first, second = target.units
    kept = {first.id: state(RA, RB, kind=5, holder=B), second.id: state(RA, RB, kind=7)}
    sessions = [("iqn.a", "80", 0), ("iqn.a", "81", 1), ("iqn.b", "00023d000001", 0)]

    shown = now_in_force(target.units, kept, sessions)

    assert [(r["key"], r["holds"], r["sessions"]) for r in shown[0]["registrations"]] == [
        ("0xa1", False, 2),
        ("0xb2", True, 0),  # its session came through another portal
    ]
    assert [r["holds"] for r in shown[1]["registrations"]] == [True, True]
    assert now_in_force(target.units[:1], {}, [])[0]["registrations"] == []
