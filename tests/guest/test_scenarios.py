"""The list of scenarios: what the document and the short form promise of it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guest.__main__ import EVERY
from tests.guest.scenarios import Scenario

DOCUMENT = Path(__file__).parents[2] / "docs" / "guest.md"


def test_the_document_lists_every_scenario_and_no_other():
    rows = [
        line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `") and "/" not in line[:20]
    ]

    assert rows == [f"| `{each.name}` | {each.shows} |" for each in EVERY]


def test_no_two_scenarios_share_a_name():
    assert len({each.name for each in EVERY}) == len(EVERY)


def test_the_short_form_is_neither_empty_nor_everything():
    assert 0 < sum(each.short for each in EVERY) < len(EVERY)


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell here")
@pytest.mark.parametrize("scenario", EVERY, ids=lambda each: each.name)
def test_every_script_is_one_that_a_shell_can_read(scenario: Scenario):
    script = (Path(__file__).parent / "guest.sh").read_text() + scenario.script + scenario.beside

    read = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True)

    assert (read.returncode, read.stderr) == (0, "")
