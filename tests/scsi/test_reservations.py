"""The machine of persistent reservations."""

import itertools

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import CheckCondition, CommandEnded
from scsipub.scsi import attentions, sense
from scsipub.scsi.command import Reserved
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.reservations import (
    REGISTRATIONS,
    Action,
    Kind,
    Registration,
    Request,
    Reservations,
    decide,
)

A, B, C, D = (InitiatorPort(f"iqn.2025-01.test:{name}") for name in "abcd")
KEYS = {A: 0xA, B: 0xB, C: 0xC}
RELEASED, PREEMPTED, CLEARED = (
    attentions.RESERVATIONS_RELEASED,
    attentions.REGISTRATIONS_PREEMPTED,
    attentions.RESERVATIONS_PREEMPTED,
)


def ask(state, action, port, key=None, **fields):
    return decide(
        state, Request(action=action, port=port, key=KEYS.get(port, 0) if key is None else key, **fields)
    )


def registered(*ports, kind=None, holder=A):
    """A state in which these are registered and, with ``kind``, ``holder`` has reserved."""
    state = Reservations(registrations=tuple(Registration(port, KEYS[port]) for port in ports))
    if kind is not None:
        state = ask(state, Action.RESERVE, holder, kind=kind).state
    return state


def conflicts(state, action, port, **fields):
    with pytest.raises(CommandEnded) as ended:
        ask(state, action, port, **fields)
    return ended.value.status == sense.RESERVATION_CONFLICT


def refused(state, action, port, **fields):
    with pytest.raises(CheckCondition) as check:
        ask(state, action, port, **fields)
    return check.value.key, check.value.asc, check.value.ascq


def test_registering_needs_the_key_that_is_there():
    """SPC-4 §5.13.7: key 0 while unregistered, the registered one later; each success counts."""
    assert conflicts(Reservations(), Action.REGISTER, A, key=7, service_action_key=9)
    one = ask(Reservations(), Action.REGISTER, A, key=0, service_action_key=9).state
    assert (one.key_of(A), one.generation) == (9, 1)
    assert conflicts(one, Action.REGISTER, A, key=8, service_action_key=10)
    assert conflicts(one, Action.REGISTER, A, key=0, service_action_key=10)
    two = ask(one, Action.REGISTER, A, key=9, service_action_key=10).state
    assert (two.key_of(A), two.generation) == (10, 2)


def test_registering_nothing_is_good_and_changes_nothing():
    for action in (Action.REGISTER, Action.REGISTER_AND_IGNORE):
        assert ask(Reservations(), action, A, key=0).state == Reservations()


def test_register_and_ignore_takes_any_key():
    state = ask(registered(A), Action.REGISTER_AND_IGNORE, A, key=999, service_action_key=5).state
    assert state.key_of(A) == 5


def test_the_last_registration_that_fits_and_the_first_that_does_not():
    """INSUFFICIENT REGISTRATION RESOURCES, 05h/55h/04h; the others stay."""
    state = Reservations()
    for n in range(REGISTRATIONS):
        state = ask(state, Action.REGISTER, InitiatorPort(f"iqn.x:{n}"), service_action_key=n + 1).state
    assert refused(state, Action.REGISTER, A, key=0, service_action_key=1) == (5, 0x55, 0x04)
    again = ask(state, Action.REGISTER_AND_IGNORE, InitiatorPort("iqn.x:3"), service_action_key=77).state
    assert len(again.registrations) == REGISTRATIONS


@pytest.mark.parametrize("kind", Kind)
def test_reserving_again_is_good_only_as_before(kind):
    """SPC-4 §5.13.9."""
    state = registered(A, B, kind=kind)
    assert ask(state, Action.RESERVE, A, kind=kind).state == state
    other = next(k for k in Kind if k is not kind)
    assert conflicts(state, Action.RESERVE, A, kind=other)
    if kind.all_hold:
        assert ask(state, Action.RESERVE, B, kind=kind).state == state
    else:
        assert conflicts(state, Action.RESERVE, B, kind=kind)
    assert conflicts(state, Action.RESERVE, D, kind=kind, key=0)
    assert state.generation == 0


@pytest.mark.parametrize("kind", [0, 2, 4, 9, 15])
def test_a_type_that_does_not_exist_is_an_invalid_field(kind):
    assert refused(registered(A), Action.RESERVE, A, kind=kind) == (5, 0x24, 0x00)


def test_the_only_scope_is_the_unit():
    assert refused(registered(A), Action.RESERVE, A, kind=1, scope=1) == (5, 0x24, 0x00)


@pytest.mark.parametrize("kind", Kind)
def test_releasing(kind):
    """SPC-4 §5.13.11.2: good for those who hold nothing, checked for those who do; shared types are
    announced."""
    state = registered(A, B, C, kind=kind)
    assert refused(state, Action.RELEASE, A, kind=1 if kind != 1 else 3) == (5, 0x26, 0x04)
    assert refused(state, Action.RELEASE, A, kind=kind, scope=1) == (5, 0x26, 0x04)
    assert conflicts(state, Action.RELEASE, A, kind=kind, key=99)
    if not kind.all_hold:
        assert ask(state, Action.RELEASE, B, kind=kind).state == state

    outcome = ask(state, Action.RELEASE, A, kind=kind)
    assert outcome.state.kind is None
    assert outcome.state.generation == state.generation
    assert outcome.news == (((B, RELEASED), (C, RELEASED)) if kind.shared else ())
    assert ask(outcome.state, Action.RELEASE, A, kind=kind).state == outcome.state


@pytest.mark.parametrize("kind", Kind)
def test_unregistering_the_holder(kind):
    """The reservation goes with its holder, or with the last of all holders."""
    outcome = ask(registered(A, B, kind=kind), Action.REGISTER, A, service_action_key=0)
    if kind.all_hold:
        assert outcome.state.kind is kind
        assert outcome.news == ()
        assert ask(outcome.state, Action.REGISTER, B, service_action_key=0).state.kind is None
    else:
        assert outcome.state.kind is None
        assert outcome.news == (((B, RELEASED),) if kind.shared else ())


def test_unregistering_somebody_else_keeps_the_reservation():
    outcome = ask(registered(A, B, kind=5), Action.REGISTER, B, service_action_key=0)
    assert outcome.state.kind == 5
    assert outcome.news == ()


@pytest.mark.parametrize("kind", [None, *Kind])
def test_clearing_takes_everything_and_tells_the_others(kind):
    """SPC-4 §5.13.11.3."""
    outcome = ask(registered(A, B, C, kind=kind, holder=B), Action.CLEAR, A)
    assert outcome.state == Reservations(generation=1)
    assert outcome.news == ((B, CLEARED), (C, CLEARED))
    assert conflicts(registered(A), Action.CLEAR, A, key=1)


@pytest.mark.parametrize("kind", [k for k in Kind if not k.all_hold])
@pytest.mark.parametrize("new", Kind)
def test_preempting_the_holder_takes_the_reservation_over(kind, new):
    """SPC-4 §5.13.11.4.3; a changed type is announced to those who stay."""
    outcome = ask(registered(A, B, C, kind=kind), Action.PREEMPT, B, service_action_key=KEYS[A], kind=new)
    state = outcome.state
    assert state.key_of(A) is None
    assert (state.kind, state.holds(B), state.generation) == (new, True, 1)
    assert outcome.preempted == (A,)
    stays = ((C, RELEASED),) if new != kind else ()
    assert outcome.news == ((A, PREEMPTED), *stays)


def test_preempting_oneself_changes_the_type_and_keeps_the_registration():
    outcome = ask(registered(A, B, kind=1), Action.PREEMPT, A, service_action_key=KEYS[A], kind=3)
    assert (outcome.state.kind, outcome.state.holder, outcome.state.key_of(A)) == (3, A, KEYS[A])
    assert outcome.news == ((B, RELEASED),)


@pytest.mark.parametrize("kind", [None, 1, 6])
def test_preempting_another_key_removes_registrations_only(kind):
    outcome = ask(
        registered(A, B, C, kind=kind), Action.PREEMPT, B, service_action_key=KEYS[C], kind=0, scope=9
    )
    assert outcome.state.kind == kind
    assert [entry.port for entry in outcome.state.registrations] == [A, B]
    assert outcome.news == ((C, PREEMPTED),)


def test_preempting_a_key_removes_the_caller_that_shares_it():
    state = ask(registered(A, B), Action.REGISTER_AND_IGNORE, B, service_action_key=KEYS[A]).state
    outcome = ask(state, Action.PREEMPT, A, service_action_key=KEYS[A], kind=5)
    assert outcome.state.registrations == ()
    assert outcome.news == ((B, PREEMPTED),)


@pytest.mark.parametrize("kind", [7, 8])
def test_preempting_key_0_takes_an_all_registrants_reservation(kind):
    outcome = ask(registered(A, B, C, kind=kind), Action.PREEMPT, B, service_action_key=0, kind=1)
    assert [entry.port for entry in outcome.state.registrations] == [B]
    assert (outcome.state.kind, outcome.state.holder) == (1, B)
    assert outcome.news == ((A, PREEMPTED), (C, PREEMPTED))

    some = ask(registered(A, B, C, kind=kind), Action.PREEMPT, B, service_action_key=KEYS[C], kind=1)
    assert some.state.kind == kind
    assert [entry.port for entry in some.state.registrations] == [A, B]


def test_preempting_nobody_is_a_conflict_and_key_0_an_invalid_field():
    for kind in (None, 1, 7):
        assert conflicts(registered(A, B, kind=kind), Action.PREEMPT, B, service_action_key=0x99, kind=1)
    for kind in (None, 1):
        assert refused(registered(A, B, kind=kind), Action.PREEMPT, B, service_action_key=0, kind=1) == (
            5,
            0x26,
            0,
        )


def test_only_preempt_and_abort_aborts():
    for action, aborts in ((Action.PREEMPT, False), (Action.PREEMPT_AND_ABORT, True)):
        assert ask(registered(A, B, kind=1), action, B, service_action_key=KEYS[A], kind=1).aborts is aborts


@pytest.mark.parametrize("kind", [k for k in Kind if not k.all_hold])
@pytest.mark.parametrize("unregister", [False, True])
def test_moving_hands_the_reservation_on(kind, unregister):
    """SPC-4 §5.13.8."""
    state = registered(A, B, kind=kind)
    for target in (B, D):
        after = ask(
            state, Action.REGISTER_AND_MOVE, A, service_action_key=0x55, move_to=target, unregister=unregister
        ).state
        assert (after.holder, after.kind, after.key_of(target)) == (target, kind, 0x55)
        assert (after.key_of(A) is None) == unregister
        assert after.generation == 1


def test_moving_what_one_does_not_hold_is_a_conflict():
    fields = {"service_action_key": 5, "move_to": D}
    assert conflicts(registered(A, B), Action.REGISTER_AND_MOVE, A, **fields)
    assert conflicts(registered(A, B, kind=1), Action.REGISTER_AND_MOVE, B, **fields)
    assert conflicts(registered(A, B, kind=7), Action.REGISTER_AND_MOVE, A, **fields)


def test_moving_needs_a_key_and_somebody_else():
    state = registered(A, kind=1)
    assert refused(state, Action.REGISTER_AND_MOVE, A, service_action_key=0, move_to=D) == (5, 0x26, 0)
    assert refused(state, Action.REGISTER_AND_MOVE, A, service_action_key=5, move_to=A) == (5, 0x26, 0)


@pytest.mark.parametrize("kind", Kind)
def test_who_may_do_what(kind):
    """SPC-4 table 57: holder, registrant, stranger against each column of the command table."""
    state = registered(A, B, kind=kind)
    reads_blocked = kind in (3, 6, 8)
    registrants_pass = kind >= 5
    for port, column in itertools.product((A, B, D), Reserved):
        free = column in (Reserved.ALLOWED, Reserved.PEEKS)
        passes = port == A or (port == B and registrants_pass)
        expected = free or passes or (column is Reserved.READS and not reads_blocked)
        assert state.allows(port, column) == expected


def test_a_principal_is_part_of_the_port():
    mine = InitiatorPort("iqn.x:y", None, "alice")
    theirs = InitiatorPort("iqn.x:y", None, "bob")
    state = ask(Reservations(), Action.REGISTER, mine, key=0, service_action_key=1).state
    assert state.key_of(theirs) is None


def test_the_generation_wraps():
    state = attrs.evolve(registered(A), generation=0xFFFFFFFF)
    assert ask(state, Action.CLEAR, A).state.generation == 0


requests = st.builds(
    Request,
    action=st.sampled_from(Action),
    port=st.sampled_from((A, B, C, D)),
    key=st.sampled_from((0, 1, 2)),
    service_action_key=st.sampled_from((0, 1, 2)),
    scope=st.sampled_from((0, 0, 0, 1)),
    kind=st.sampled_from((1, 3, 5, 6, 7, 8, 8, 2)),
    move_to=st.sampled_from((A, B, C, D)),
    unregister=st.booleans(),
)


@given(st.lists(requests, max_size=30))
@settings(max_examples=200)
def test_whatever_is_asked_the_state_stays_sound(story):
    """Holders are registered, keys are not zero, nobody is registered twice, the issuer hears nothing."""
    state = Reservations()
    for request in story:
        before = state
        try:
            outcome = decide(state, request)
        except (CheckCondition, CommandEnded):
            assert state == before
            continue
        state = outcome.state
        ports = [entry.port for entry in state.registrations]
        assert len(ports) == len(set(ports))
        assert all(entry.key for entry in state.registrations)
        if state.kind is not None and not state.kind.all_hold:
            assert state.holder in ports
        elif state.kind is not None:
            assert ports
            assert state.holder is None
        else:
            assert state.holder is None
        assert request.port not in [port for port, _ in outcome.news]
        assert request.port not in outcome.preempted
        counts = request.action not in (Action.RESERVE, Action.RELEASE)
        assert state.generation - before.generation in ((1, 0) if counts else (0,))
