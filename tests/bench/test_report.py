"""tests/bench/report.py: the arithmetic behind docs/speed.md."""

import pytest

from tests.bench.report import BEGIN, END, Sample, summarise, table, write_page, write_plot
from tests.bench.rows import ROWS


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
