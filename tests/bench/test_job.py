"""scsipub/bench/job.py"""

import pytest

from scsipub.bench.job import Job, Report, make_plan


def test_random_addresses_lie_inside_the_unit_and_on_command_boundaries():
    plan = make_plan(Job(block_size=4096), unit_blocks=1001, unit_block_size=512, lane=0)

    assert max(plan.lbas) + 8 <= 1001
    assert all(lba % 8 == 0 for lba in plan.lbas)
    assert all(plan.reads)


def test_the_same_seed_plans_the_same_and_another_one_does_not():
    plans = [make_plan(Job(seed=seed), 100_000, 512, 0).lbas for seed in (1, 1, 2)]

    assert plans[0] == plans[1] != plans[2]


def test_sequential_goes_round_the_whole_unit():
    plan = make_plan(Job(block_size=1024, sequential=True), 10, 512, 0)

    assert plan.lbas[:7] == [0, 2, 4, 6, 8, 0, 2]


def test_a_span_keeps_commands_in_the_beginning_of_the_unit():
    plan = make_plan(Job(span_bytes=8192), 100_000, 512, 0)

    assert set(plan.lbas) == {0, 8}


def test_a_mix_is_about_what_was_asked_for():
    plan = make_plan(Job(read_percent=70), 100_000, 512, 0)

    assert 0.68 < sum(plan.reads) / len(plan.reads) < 0.72


@pytest.mark.parametrize(("size", "blocks"), [(4096, 7), (256, 100), (4097, 100)])
def test_commands_that_do_not_fit_the_unit_are_refused(size, blocks):
    with pytest.raises(ValueError, match="do not fit"):
        make_plan(Job(block_size=size), blocks, 512, 0)


def test_a_report_divides_by_the_counted_time_only():
    report = Report(job=Job(block_size=4096), operations=1000, operations_total=1100, seconds=2.0)

    assert report.as_json()["iops"] == 500
    assert report.as_json()["mib_per_second"] == 1.95
