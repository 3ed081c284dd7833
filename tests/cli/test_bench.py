"""``scsipub bench``: figures for eyes and machines, and no disk overwritten by accident."""

import json

import pytest
from click.testing import CliRunner

from scsipub.cli import cli
from tests.support.tiny_target import tiny_target

SHORT = ("--seconds", "0.1")


def bench(*words, **how):
    return CliRunner().invoke(cli, ["bench", *words, *SHORT], **how)


def test_the_figures_come_as_json_with_percentiles_and_the_curve_over_time():
    with tiny_target() as target:
        done = bench(target.url, "--json", "--depth", "4")

    said = json.loads(done.stdout)
    assert done.exit_code == 0
    assert said["operations"] > 0
    assert list(said["latency_us"]) == ["p50", "p90", "p99", "p99.9", "max"]
    assert said["job"]["depth"] == 4


def test_a_sweep_has_a_row_for_each_depth():
    with tiny_target() as target:
        done = bench(target.url, "--sweep", "--json")

    assert [one["job"]["depth"] for one in json.loads(done.stdout)] == [1, 2, 4, 8, 16, 32, 64, 128]


def test_it_asks_before_it_overwrites_a_disk():
    with tiny_target() as target:
        done = bench(target.url, "--read", "50", input="n\n")

        assert done.exit_code == 1
        assert target.commands == []


def test_reading_needs_no_answer():
    with tiny_target() as target:
        assert bench(target.url).exit_code == 0


def test_yes_lets_it_write():
    with tiny_target() as target:
        done = bench(target.url, "--read", "0", "--yes")

        assert done.exit_code == 0
        assert any(cdb[0] == 0x2A for cdb in target.commands)


def test_a_picture_is_drawn(tmp_path):
    with tiny_target() as target:
        done = bench(target.url, "--plot", str(tmp_path / "it.svg"))

    assert done.exit_code == 0
    assert "<svg" in (tmp_path / "it.svg").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["iscsi://127.0.0.1:1/t/0"], "Connection refused"),
        (["http://127.0.0.1/"], "is not iscsi://"),
        (["iscsi://127.0.0.1:port/t/0"], "is not HOST[:PORT]"),
    ],
)
def test_what_cannot_be_measured_is_said_in_words(words, says):
    done = bench(*words)

    assert done.exit_code == 1
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_a_suffix_that_is_no_picture_is_refused(tmp_path):
    with tiny_target() as target:
        done = bench(target.url, "--plot", str(tmp_path / "it.nonsense"))

    assert done.exit_code == 1
    assert "Choose a file ending in" in done.stderr
