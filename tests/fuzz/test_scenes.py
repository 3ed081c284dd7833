"""Scenes: steps in a row that find what single ones would not."""

import random
from collections import Counter

import pytest

from fuzz import liar, scenes
from fuzz.cdbs import Order
from fuzz.find import Find
from fuzz.runner import ground
from fuzz.world import World
from scsipub.target.nexus import Nexus


@pytest.fixture(scope="module")
def on():
    with ground() as it:
        yield it


def plays(on, scene, seed):
    """Says how everything ended in a world in which one session plays this scene alone."""
    dice, seen = random.Random(seed), Counter()
    world = World(on, {"shared": True, "budget": 1 << 30}, seen)
    try:
        talker = liar.Liar(dice, world, 0.0)
        while not talker.talks(0):
            for step in talker._login(0):
                world.take(step)
        for step in [talker.order(0, 0, Order(bytes(16))), *scene(talker, 0)]:  # TEST UNIT READY: not yet
            world.take(step)
        world.finish()
    finally:
        world.close()
    return seen


@pytest.mark.parametrize("scene", [scene for _, scene in scenes.SCENES], ids=lambda scene: scene.__name__)
def test_nothing_is_found_in_a_scene(on, scene):
    for seed in range(40):
        plays(on, scene, seed)


def test_what_is_compared_is_sometimes_there_and_sometimes_not(on):
    seen = sum(
        (plays(on, lambda talker, who: scenes.comparing(talker, who) * 3, seed) for seed in range(60)),
        Counter(),
    )

    assert seen["COMPARE AND WRITE", "GOOD"]
    assert seen["COMPARE AND WRITE", "E/1D00"]


def test_an_abort_that_is_answered_while_the_thread_still_writes_is_found(on, monkeypatch):
    """SAM-5 7.2: when the function is complete, the task changes nothing any more."""
    honest = Nexus.abort

    def hasty(self, task, when_over):
        return honest(self, task, when_over) or True

    monkeypatch.setattr(Nexus, "abort", hasty)

    with pytest.raises(Find, match="content"):
        for seed in range(100):
            plays(on, scenes.aborting, seed)
