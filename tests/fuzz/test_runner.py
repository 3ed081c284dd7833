"""The runner finds nothing here, finds the same again, and shrinks what it finds."""

import random

import pytest

from fuzz import runner
from fuzz.find import Find
from fuzz.runner import Found, Tally, ground, invent, memory_growth, replay, run, shrink
from fuzz.steps import Script, Step
from fuzz.world import World
from tests.support.chance import seed


def test_nothing_is_found_in_six_seconds():
    """Longer runs are for ``make fuzz``."""
    tally, finds = Tally(), []

    run(seed(), 6.0, lambda tally: None, tally=tally, finds=finds)

    assert [str(f.find) for f in finds] == []
    assert tally.pdus > 1000
    assert {"READ(10)", "WRITE(10)", "NOP-Out", "Login Request"} <= {said for said, _ in tally.seen}


def test_a_seed_leads_to_the_same_steps_and_outcomes():
    with ground() as on:
        tallies = [Tally(), Tally()]
        for tally in tallies:
            invent(on, "7/7", tally)

    assert tallies[0].seen == tallies[1].seen
    assert tallies[0].pdus == tallies[1].pdus > 100


def test_what_was_invented_can_be_replayed():
    with ground() as on:
        first, second = Tally(), Tally()
        scripts = []
        taken = World.take

        def remember(world, step):
            scripts.append(step)
            taken(world, step)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(World, "take", remember)
            invent(on, "7/8", first)
        setup = runner.liar.setup(random.Random("7/8"))
        replay(on, Script(setup, list(scripts)), second)

    assert first.seen == second.seen


def test_shrinking_leaves_the_one_step_that_matters(monkeypatch):
    taken = World.take

    def take(world, step):
        if step.kind == "say" and step.data == b"poison":
            raise Find("poison", "taken")
        taken(world, step)

    monkeypatch.setattr(World, "take", take)
    steps = [Step("connect"), *(Step(bhs=bytes(48)) for _ in range(50)), Step(bhs=b"x", data=b"poison")]
    steps += [Step("drop")] * 20
    with ground() as on:
        found = replay(on, Script({}, steps))
        small = shrink(on, found)

    assert small.script.steps == [Step(bhs=b"x", data=b"poison")]


def test_a_loop_is_a_find(monkeypatch):
    def take(world, step):
        while True:
            pass

    monkeypatch.setattr(runner, "HANG_SECONDS", 0.05)
    monkeypatch.setattr(World, "take", take)
    with ground() as on:
        found = replay(on, Script({}, [Step("connect")]))

    assert isinstance(found, Found)
    assert found.find.kind == "hang"


@pytest.mark.parametrize(("last", "grew"), [(100 << 20, False), (110 << 20, False), (111 << 20, True)])
def test_memory_may_grow_by_two_percent_and_what_malloc_keeps(last, grew):
    memory = [(float(n), 100 << 20) for n in range(20)] + [(60.0, last)] * 3

    assert bool(memory_growth(memory, 60.0)) is grew
