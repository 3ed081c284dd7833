"""tests/bench/report.py: the arithmetic behind docs/speed.md."""

import pytest

from tests.bench.report import BEGIN, END, Sample, summarise, table, tables, write_page, write_plot
from tests.bench.rows import ROWS

DIGESTS = next(row for row in ROWS if row.digests)
PLAIN = next(row for row in ROWS if row.key == DIGESTS.plain_key)


def sample(server, run, iops, client="scsipub.bench", row=ROWS[0].key):
    return Sample(row, client, server, run, iops, 7.0, {"p99": 100}, 1.0)


def samples(*pairs):
    """(ours, theirs) for each run."""
    for run, (ours, theirs) in enumerate(pairs):
        yield sample("scsipub", run, ours)
        yield sample("tgt", run, theirs)


def test_the_ratio_is_that_of_the_medians_and_the_spread_that_of_neighbours():
    (line,) = summarise(samples((100, 40), (300, 50), (200, 100)))

    assert line.iops == {"scsipub": 200, "tgt": 50}
    assert line.ratio == 4.0
    assert line.spread == (2.0, 6.0)


@pytest.mark.parametrize(("ours", "missed"), [(249, True), (250, False)])
def test_a_goal_is_missed_below_it_and_met_at_it(ours, missed):
    (line,) = summarise(samples((ours, 100)))

    assert line.missed is missed
    assert ("missed" in table([line])) is missed


def test_other_clients_have_no_goal():
    (line,) = summarise([sample("scsipub", 0, 1, "iscsi-perf"), sample("tgt", 0, 100, "iscsi-perf")])

    assert not line.missed


def test_one_server_alone_has_no_ratio():
    (line,) = summarise([sample("tgt", 0, 100)])

    assert line.ratio is None
    assert "–" in table([line])


def with_and_without(*pairs):
    """(IOPS with digests, IOPS without) of our server for each run."""
    for run, (digests, plain) in enumerate(pairs):
        yield sample("scsipub", run, digests, row=DIGESTS.key)
        yield sample("scsipub", run, plain, row=PLAIN.key)


def test_digests_are_measured_against_the_same_run_without():
    (plain, digests) = summarise(with_and_without((60, 100), (140, 200), (40, 50)))

    assert plain.kept == {}
    assert digests.kept == {"scsipub": [0.6, 0.7, 0.8]}


@pytest.mark.parametrize(("kept", "missed"), [(59, True), (60, False)])
def test_what_digests_leave_is_missed_below_the_goal_and_met_at_it(kept, missed):
    lines = summarise(with_and_without((kept, 100)))

    assert [line.missed for line in lines] == [False, missed]
    assert ("(missed 0.6)" in tables(lines)) is missed
    assert ("(goal 0.6)" in tables(lines)) is not missed


def test_digests_alone_have_nothing_to_be_measured_against():
    (line,) = summarise([sample("scsipub", 0, 1, row=DIGESTS.key)])

    assert not line.missed
    assert "kept" not in tables([line])


def test_a_run_that_failed_takes_no_other_for_its_neighbour():
    said = [*samples((100, 40), (300, 50))][1:]  # our first run is missing
    (line,) = summarise(said)

    assert line.spread == (6.0, 6.0)


def test_the_page_keeps_what_a_person_wrote(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    write_page(page, summarise(samples((250, 100))), "how")

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "2.50 (goal 2.5)" in text


def test_a_page_without_its_marks_is_left_alone(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text("words")

    with pytest.raises(ValueError, match="measured"):
        write_page(page, [], "how")
    assert page.read_text() == "words"


def test_the_plot_is_drawn(tmp_path):
    write_plot(tmp_path / "img" / "speed.png", summarise(samples((250, 100))))

    assert (tmp_path / "img" / "speed.png").read_bytes().startswith(b"\x89PNG")
