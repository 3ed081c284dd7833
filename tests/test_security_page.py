"""The pages about security name tests; each must be there, and be one that a run of the suite collects."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()
ATTEMPTS = (ROOT / "docs" / "attempts.md").read_text()
NAMED = re.compile(r"\[`([\w/]+\.py)::(\w+)`\]\(([^)]+)\)")
HOLE = re.compile(r"CVE-\d{4}-\d{4,}|issue \d+|no CVE|-1000\d{3}")


def named_in(text):
    """(file, test) of each link; a link that leads to another file than it says is an error."""
    found = []
    for file, test, leads_to in NAMED.findall(text):
        assert leads_to == f"../tests/{file}", f"{file}::{test} leads to {leads_to}"
        found.append((file, test))
    return found


def rows(text):
    """Those of the table of holes, without its head."""
    table = text.partition("<!-- holes -->")[2].partition("<!-- end holes -->")[0]
    return [line for line in table.splitlines() if line.startswith("| ")][2:]


def collected(files):
    """What pytest collects from these, as (file, test)."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {
        (file.removeprefix("tests/"), rest.partition("[")[0])
        for file, _, rest in (line.partition("::") for line in done.stdout.splitlines() if "::" in line)
    }


def missing(text):
    """Tests that the text names and that nobody would run."""
    named = set(named_in(text))
    files = sorted({f"tests/{file}" for file, _ in named})
    gone = [file for file in files if not (ROOT / file).exists()]
    left = [file for file in files if file not in gone]
    there = collected(left) if left else set()
    return sorted(named - there)


def test_every_test_that_the_pages_name_is_collected():
    assert len(named_in(PAGE)) > 50
    assert missing(PAGE + ATTEMPTS) == []


def test_every_attempt_has_an_outcome_and_a_test():
    found = [line for line in ATTEMPTS.splitlines() if line.startswith("| ")]
    attempts = [line for line in found if not line.startswith(("| attempt", "| ---"))]

    assert len(attempts) > 90
    for line in attempts:
        attempt, outcome, tests = (cell.strip() for cell in line.split("|")[1:4])
        assert attempt
        assert outcome
        assert named_in(tests), line


@pytest.mark.parametrize("file", ["test_walls.py", "nowhere/test_nothing.py"])
def test_a_test_that_is_not_there_is_missed(file):
    """Or else the one above would prove nothing."""
    assert missing(f"[`{file}::test_that_nobody_wrote`](../tests/{file})") == [
        (file, "test_that_nobody_wrote")
    ]


@pytest.mark.parametrize("row", [pytest.param(row, id=row[2:40]) for row in rows(PAGE)])
def test_every_hole_says_what_it_was_why_not_here_and_which_test_shows_it(row):
    hole, what, why, tests = (cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:5])

    assert HOLE.search(hole)
    assert what
    assert why
    assert named_in(tests)


@pytest.mark.parametrize("row", [pytest.param(row, id=row[2:40]) for row in rows(PAGE)])
def test_every_hole_has_a_source_or_says_that_it_has_none(row):
    cells = row.split("|")

    assert "](https://" in cells[1] or "as we understand it" in cells[1] + cells[2] or "no CVE" in cells[1]
