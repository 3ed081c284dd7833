"""supervisor/budget.py: restart intensity and back-off."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.budget import Backoff, RestartBudget


def test_three_deaths_in_five_seconds_are_forgiven_a_fourth_is_not():
    budget = RestartBudget(max_restarts=3, max_seconds=5)
    assert [budget.spend(now=t) for t in (0, 1, 2)] == [True, True, True]
    assert budget.spend(now=3) is False


def test_a_death_is_forgotten_when_it_is_max_seconds_old():
    budget = RestartBudget(max_restarts=1, max_seconds=5)
    budget.spend(now=0)
    assert budget.spend(now=4.99) is False
    assert budget.spend(now=5) is True


def test_a_refusal_costs_nothing():
    """Else a supervisor that is asked again and again would never recover."""
    budget = RestartBudget(max_restarts=1, max_seconds=5)
    budget.spend(now=0)
    budget.spend(now=4)
    assert budget.spend(now=5) is True


def test_no_restarts_allowed_means_none():
    assert RestartBudget(max_restarts=0).spend(now=0) is False


def test_a_budget_can_be_begun_anew():
    budget = RestartBudget(max_restarts=1)
    budget.spend(now=0)
    budget.forget()
    assert budget.spend(now=0) is True


@pytest.mark.parametrize(
    "made", [lambda: RestartBudget(-1), lambda: RestartBudget(1, -1), lambda: Backoff(-1)]
)
def test_numbers_below_zero_are_refused(made):
    with pytest.raises(ValueError):
        made()


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(0, 5), st.floats(0.1, 20))
@settings(max_examples=100, deadline=None)
def test_no_window_of_max_seconds_ever_holds_more_than_max_restarts(times, most, seconds):
    budget = RestartBudget(most, seconds)
    granted = [t for t in sorted(times) if budget.spend(t)]
    for end in granted:
        assert sum(1 for t in granted if t <= end and end - t < seconds) <= most


def test_the_first_restart_does_not_wait_the_others_wait_longer_each_time():
    backoff = Backoff(first=0.1, factor=2, most=1)
    delays = [backoff.delay(n) for n in range(7)]
    assert delays == [0, 0.1, 0.2, 0.4, 0.8, 1, 1]


def test_any_number_of_restarts_has_a_delay():
    assert Backoff().delay(10**9) == Backoff().most
