"""The model of persistent reservations against the machine: a few hundred lives, and machines that are wrong.

``make model`` lives ten thousand."""

from collections import Counter

import attrs
import pytest

from scsipub.scsi import attentions, reservations
from scsipub.scsi.command import Reserved
from scsipub.scsi.lane import Lane
from scsipub.scsi.reservations import Action, Request, Reservations
from scsipub.scsi.unit import LogicalUnit
from scsipub.store import reservations as rows
from tests.models.sequences import difference, life, shortest, shown

LIVES = 250


def test_no_life_is_different():
    seen: Counter[str] = Counter()
    for seed in range(LIVES):
        found = difference(life(seed), seen)
        assert found is None, f"seed {seed}: {found}\n{shown(shortest(life(seed)))}"
    # A sequence that is refused everything would agree on anything.
    for what in ("PREEMPT AND ABORT: GOOD", "REGISTER AND MOVE: GOOD", "RELEASE: GOOD", "CLEAR: GOOD",
                 "data of a write: conflict", "a change that took its time: GOOD", "RESERVE: 4/44/00",
                 "TEST UNIT READY: 6/2A/04", "TEST UNIT READY: 6/2F/00", "power loss"):  # fmt: skip
        assert seen[what], f"never: {what}"


def _wrong(action: Action, change):
    """A machine whose outcome of one action is changed."""
    right = reservations._ACTIONS[action]

    def act(state: Reservations, request: Request) -> reservations.Outcome:
        return change(state, request, right(state, request))

    return lambda patch: patch.setitem(reservations._ACTIONS, action, act)


def _uncounted(state, request, outcome):
    return attrs.evolve(outcome, state=attrs.evolve(outcome.state, generation=state.generation))


def _silent(state, request, outcome):
    return attrs.evolve(outcome, news=())


def _told_wrong(state, request, outcome):
    news = tuple((port, attentions.RESERVATIONS_RELEASED) for port, _ in outcome.news)
    return attrs.evolve(outcome, news=news)


def _never_aborts(state, request, outcome):
    return attrs.evolve(outcome, aborts=False)


def _keeps_itself(state, request, outcome):
    """As SCST does: who preempts its own key stays."""
    mine = next((r for r in state.registrations if r.port == request.port), None)
    if mine is None or mine in outcome.state.registrations:
        return outcome
    kept = (*outcome.state.registrations, mine)
    return attrs.evolve(outcome, state=attrs.evolve(outcome.state, registrations=kept))


def _stays_registered(state, request, outcome):
    mine = next(r for r in state.registrations if r.port == request.port)
    if mine.port in (r.port for r in outcome.state.registrations):
        return outcome
    kept = (mine, *outcome.state.registrations)
    return attrs.evolve(outcome, state=attrs.evolve(outcome.state, registrations=kept))


def _strangers_read(patch):
    allows = Reservations.allows

    def lenient(self, port, reserved):
        return reserved is Reserved.READS or allows(self, port, reserved)

    patch.setattr(Reservations, "allows", lenient)


def _any_holder_is_the_only_one(patch):
    def holds(self, port):
        return self.kind is not None and port == (self.holder or self.registrations[0].port)

    patch.setattr(Reservations, "holds", holds)


def _only_this_port(patch):
    patch.setattr(Request, "registers", property(lambda self: (self.port,)))


def _newcomers_are_free(patch):
    attach = LogicalUnit.attach

    def unfenced(self, *args, **how) -> Lane:
        lane = attach(self, *args, **how)
        lane.fenced = False
        self.refresh_lane(lane)
        return lane

    patch.setattr(LogicalUnit, "attach", unfenced)


def _asks_once(patch):
    patch.setattr(LogicalUnit, "_guard", lambda self, plan, lane, command, cdb: None)


def _resets_reservations(patch):
    reset = LogicalUnit.reset

    def too_much(self, kind, *, attention=None):
        self.reservations = reservations.NOBODY
        reset(self, kind, attention=attention)

    patch.setattr(LogicalUnit, "reset", too_much)


def _survives_everything(patch):
    patch.setattr(rows, "drop_of_other_boots", lambda connection, boot: frozenset())


MUTANTS = {
    "PREEMPT does not count": _wrong(Action.PREEMPT, _uncounted),
    "CLEAR does not count": _wrong(Action.CLEAR, _uncounted),
    "RESERVE counts": _wrong(
        Action.RESERVE, lambda s, r, o: attrs.evolve(o, state=reservations._next(o.state))
    ),
    "RELEASE tells nobody": _wrong(Action.RELEASE, _silent),
    "CLEAR tells something else": _wrong(Action.CLEAR, _told_wrong),
    "unregistering tells nobody": _wrong(Action.REGISTER, _silent),
    "PREEMPT AND ABORT does not abort": _wrong(Action.PREEMPT_AND_ABORT, _never_aborts),
    "who preempts its own key stays": _wrong(Action.PREEMPT, _keeps_itself),
    "MOVE never unregisters": _wrong(Action.REGISTER_AND_MOVE, _stays_registered),
    "strangers read past exclusive access": _strangers_read,
    "one registrant of all holds": _any_holder_is_the_only_one,
    "ALL_TG_PT means nothing": _only_this_port,
    "a new session is not fenced": _newcomers_are_free,
    "a write is asked for once": _asks_once,
    "a reset takes reservations": _resets_reservations,
    "APTPL=0 survives a power loss": _survives_everything,
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_machine_that_is_wrong_is_found(mutant, monkeypatch):
    MUTANTS[mutant](monkeypatch)

    found = next((seed for seed in range(2000) if difference(life(seed)) is not None), None)

    assert found is not None
