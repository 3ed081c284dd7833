"""Whose disk is whose, while sessions come, go and die."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.control.placement import Placement, Record
from scsipub.limits import DEFAULT
from scsipub.target.descriptor import LunDescriptor, TargetDescriptor

KEY = ("iqn.a", "192.0.2.1", "blank")
GRACE = 30.0


def target(session, *, shared=False):
    overlay = "d-shared-0" if shared else f"d-{session}-0"
    lun = LunDescriptor(lun=0, uuid="00" * 16, overlay=overlay, size=1 << 20, budget=1 << 20)
    return TargetDescriptor(name="blank", session=session, luns=(lun,), shared=shared)


def record(session, *, key=KEY, place=(0, 1), isid="01", shared=False):
    return Record(
        session=session, connection=f"c-{session}", place=place, key=key, isid=isid,
        target=target(session, shared=shared),
    )  # fmt: skip


def after_one_session(*, written=True, isid="01", at=100.0):
    placement = Placement(GRACE)
    placement.claim(record("one", isid=isid))
    placement.release("one", at, written=written)
    return placement


def overlays(found):
    return [lun.overlay for parked in found for lun in parked.target.luns]


def test_a_disk_waits_for_its_initiator():
    parked = after_one_session().take_parked(KEY, "01")

    assert parked.target.session == "one"
    assert parked.written


def test_a_disk_is_given_back_once():
    placement = after_one_session()
    placement.take_parked(KEY, "01")

    assert placement.take_parked(KEY, "01") is None


def test_a_disk_waits_until_the_grace_is_over_and_no_longer():
    placement = after_one_session(at=100.0)

    assert placement.expired(129.9) == []
    assert overlays(placement.expired(130.0)) == ["d-one-0"]
    assert placement.take_parked(KEY, "01") is None


def test_what_expired_is_said_once():
    placement = after_one_session(at=100.0)
    placement.expired(130.0)

    assert placement.expired(200.0) == []


def test_another_name_address_or_target_finds_nothing():
    placement = after_one_session()

    for other in (("iqn.b", *KEY[1:]), (KEY[0], "192.0.2.2", KEY[2]), (*KEY[:2], "multi")):
        assert placement.take_parked(other, "01") is None
    assert placement.take_parked(KEY, "01") is not None


def test_another_isid_gets_the_disk_because_firmware_hands_over_to_its_system_so():
    """iPXE and the system behind it share the InitiatorName only."""
    assert after_one_session(isid="01").take_parked(KEY, "02").target.session == "one"


def test_among_several_the_one_with_its_isid_comes_first():
    placement = Placement(GRACE)
    for session, isid in (("one", "01"), ("two", "02"), ("three", "03")):
        placement.claim(record(session, isid=isid))
        placement.release(session, 0.0, written=True)

    assert placement.take_parked(KEY, "01").target.session == "one"
    assert placement.take_parked(KEY, "04").target.session == "three"


def test_a_disk_that_somebody_wrote_to_stays_written_though_the_next_session_only_read():
    placement = after_one_session()
    parked = placement.take_parked(KEY, "01")
    again = record("two")
    again.target, again.returning = parked.target, parked.written
    placement.claim(again)

    placement.release("two", 1.0, written=False)

    assert placement.take_parked(KEY, "01").written


def test_a_worker_that_died_leaves_all_its_disks_as_if_written():
    """What it had acknowledged is in the files; nobody can ask it any more."""
    placement = Placement(GRACE)
    placement.claim(record("here", place=(0, 1)))
    placement.claim(record("there", place=(1, 1), key=("iqn.b", *KEY[1:])))

    lost = placement.worker_died((0, 1), 5.0)

    assert [r.session for r in lost] == ["here"]
    assert placement.take_parked(KEY, "01").written
    assert list(placement.records) == ["there"]


def test_the_next_incarnation_of_a_worker_is_another_place():
    placement = Placement(GRACE)
    placement.claim(record("here", place=(0, 2)))

    assert placement.worker_died((0, 1), 5.0) == []
    assert placement.rivals(KEY)


def test_a_shared_disk_is_never_parked():
    placement = Placement(GRACE)
    placement.claim(record("one", shared=True))
    placement.release("one", 0.0, written=True)

    assert placement.take_parked(KEY, "01") is None
    assert placement.expired(1000.0) == []


def test_a_shared_target_stays_with_its_first_owner_until_that_dies():
    placement = Placement(GRACE)

    assert placement.own("t", (0, 1)) == (0, 1)
    assert placement.own("t", (1, 1)) == (0, 1)
    placement.worker_died((0, 1), 0.0)
    assert placement.own("t", (1, 1)) == (1, 1)


def test_the_youngest_rival_comes_first():
    placement = Placement(GRACE)
    for session in ("one", "two", "three"):
        placement.claim(record(session))

    assert [r.session for r in placement.rivals(KEY)] == ["three", "two", "one"]
    placement.release("two", 0.0, written=False)
    assert [r.session for r in placement.rivals(KEY)] == ["three", "one"]


def test_an_end_that_is_told_twice_counts_once():
    placement = after_one_session()

    placement.release("one", 200.0, written=False)

    assert len(placement.parked[KEY]) == 1


def test_everything_in_use_or_waited_for_is_kept_from_the_janitor():
    placement = after_one_session()
    placement.claim(record("two"))

    assert set(placement.overlays_in_use()) == {"d-one-0", "d-two-0"}
    assert placement.parked_count == 1


def test_disks_that_nobody_wrote_to_are_not_counted_as_parked():
    assert after_one_session(written=False).parked_count == 0


def test_reinstatement_is_refused_the_fourth_time_within_a_minute():
    """Two hosts of one name would throw each other out for ever."""
    placement = Placement(GRACE)

    assert [placement.may_reinstate(KEY, now, DEFAULT) for now in (0, 10, 20, 30)] == [True] * 3 + [False]
    assert placement.may_reinstate(KEY, 60.0, DEFAULT)
    assert not placement.may_reinstate(KEY, 61.0, DEFAULT)


def test_reinstatements_are_forgotten_after_a_minute():
    placement = Placement(GRACE)
    for n in range(100):
        placement.may_reinstate((f"iqn.{n}", *KEY[1:]), float(n), DEFAULT)

    assert len(placement.reinstated) <= 61


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["login", "logout", "die", "wait"]), st.integers(0, 3), st.integers(0, 1)),
        max_size=30,
    )
)
def test_two_sessions_alive_never_share_a_disk_and_none_is_forgotten(steps):
    """Whatever comes: every overlay belongs to one session, or waits, or has expired."""
    placement, now, count = Placement(GRACE), 0.0, 0
    gone: set[str] = set()
    seen: set[str] = set()
    for what, who, where in steps:
        key = (f"iqn.{who % 2}", *KEY[1:])
        if what == "login":
            count += 1
            fresh = record(f"s{count}", key=key, place=(where, 1))
            parked = placement.take_parked(key, "01")
            if parked is not None:
                fresh.target = parked.target
            placement.claim(fresh)
            seen.update(lun.overlay for lun in fresh.target.luns)
        elif what == "logout" and placement.records:
            placement.release(sorted(placement.records)[who % len(placement.records)], now, written=True)
        elif what == "die":
            placement.worker_died((where, 1), now)
        elif what == "wait":
            now += 20.0
            gone.update(overlays(placement.expired(now)))
        used = list(placement.overlays_in_use())
        assert len(used) == len(set(used))
        assert set(used) | gone == seen
        assert not set(used) & gone
