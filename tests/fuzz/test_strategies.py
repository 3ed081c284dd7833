"""What the strategies draw, and what the liar says, comes from the codec's own tables and fits them."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import cdbs, liar, strategies, texts
from fuzz.effects import extent
from fuzz.hearing import Facts, Hearing
from fuzz.runner import ground
from fuzz.steps import Step
from fuzz.world import World
from scsipub.iscsi.keys import KEYS
from scsipub.iscsi.text import parse_text_untrusted
from scsipub.limits import DEFAULT
from scsipub.scsi.cdb import lba_and_count
from scsipub.scsi.commands import COMMANDS

FACTS = Facts(True, True, 8192, 8192, 65536, 65536, True, True, 0, 1, 1)


@pytest.mark.parametrize("row", COMMANDS.values(), ids=lambda row: row.name)
@given(st.data())
def test_a_drawn_cdb_sets_no_bit_that_its_row_does_not_claim(row, data):
    cdb = data.draw(strategies.cdbs_of(row))

    row.check_fields(cdb)
    assert cdb[0] == row.opcode
    assert len(cdb) == 16


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(cdbs.BLOCK_COMMANDS - {0x89, 0x9C})))
def test_the_second_opinion_on_lba_and_count_agrees_with_the_first(dice, opcode):
    order = cdbs.block_order(dice, opcode, 1024, 512)

    assert extent(order.cdb) == lba_and_count(order.cdb)


@given(st.randoms(use_true_random=False))
def test_honest_keys_can_be_read(dice):
    pairs = texts.names(dice, honest=True) + texts.terms(dice)

    assert parse_text_untrusted(texts.text(pairs), DEFAULT) == pairs
    assert {key for key, _ in pairs} <= set(KEYS)


def test_the_liar_says_every_command_and_every_pdu_in_a_while():
    said = Counter()
    with ground() as on:
        for seed in range(30):
            dice = random.Random(seed)
            world = World(on, liar.setup(dice), said)
            talker = liar.Liar(dice, world)
            try:
                for _ in range(200):
                    for step in talker.steps():
                        world.take(step)
            finally:
                world.close()

    names = {row.name for row in COMMANDS.values() if row.opcode not in cdbs.RARE}
    assert len(names & {name for name, _ in said}) > 0.8 * len(names)
    assert {"NOP-Out", "Text Request", "Logout", "Login Request"} <= {name for name, _ in said}


@given(
    st.builds(
        Step, bhs=st.binary(min_size=48, max_size=48), data=st.binary(max_size=9), who=st.integers(0, 1)
    )
)
def test_any_step_survives_being_written_down(step):
    assert Step.from_json(step.to_json()) == step


@given(strategies.wires(strategies.pdus(), header_digest=True, data_digest=True))
def test_the_bytes_of_a_pdu_are_whole_and_their_digests_right(wire):
    hearing = Hearing(FACTS, {})

    assert hearing.whole(memoryview(wire), 0, len(wire)) == len(wire)
    assert hearing.parts(wire)[2]


@given(strategies.pdus(), st.data())
def test_a_mangled_pdu_may_be_anything_but_keeps_to_its_seed(it, data):
    broken = data.draw(strategies.mangled(st.just(it), header_digest=True))

    assert isinstance(broken, bytes)


@pytest.mark.parametrize(
    "row", [row for row in COMMANDS.values() if row.opcode in cdbs.PARAMETER_LISTS], ids=lambda r: r.name
)
@given(st.data())
def test_a_parameter_list_is_drawn_for_every_row_that_takes_one(row, data):
    assert len(data.draw(strategies.parameter_lists_of(row))) < 1024


@given(strategies.orders())
def test_an_order_names_as_much_data_as_it_has(order):
    assert not order.data or len(order.data) == order.expected
    assert len(order.cdb) == 16
