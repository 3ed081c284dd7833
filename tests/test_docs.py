"""Documents that cannot go stale: tables, links, commands and examples are held against the code."""

import re
import shlex
from pathlib import Path

import click
import pytest

from scsipub.cli import cli
from scsipub.config import load_config
from tests.support import generated

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TEXTS = [pytest.param(file.read_text(), id=str(file.relative_to(ROOT))) for file in DOCUMENTS]


@pytest.mark.parametrize("document", generated.PARTS)
def test_tables_say_what_the_code_says(document):
    """If this fails: make docs."""
    text = (generated.DOCS / document).read_text()

    assert text == generated.with_parts(document, text)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file):
    links = re.findall(r"\]\(([^)#\s]+)", file.read_text())

    assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == []


@pytest.mark.parametrize("text", TEXTS)
def test_make_targets_exist(text):
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= rules


def commands(text: str) -> list[str]:
    """Every ``scsipub …`` in the text, in a block or between backticks."""
    lines = re.findall(r"^ {4}(?:[^\n]*\| )?(?:sudo )?(?:\.venv/bin/)?scsipub (.*)$", text, re.MULTILINE)
    return lines + re.findall(r"`(?:\.venv/bin/)?scsipub ([a-z][^`\n]*)`", text)


@pytest.mark.parametrize("text", TEXTS)
def test_commands_and_their_options_exist(text):
    for line in commands(text):
        command: click.Command = cli
        for word in shlex.split(line.partition("#")[0].partition("|")[0]):
            if isinstance(command, click.Group) and not word.startswith("-"):
                found = command.get_command(click.Context(command), word)
                assert found is not None, line
                command = found
            elif word.startswith("--"):
                known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
                assert word.partition("=")[0] in known, line


@pytest.mark.parametrize("text", TEXTS)
def test_examples_of_the_configuration_are_understood(text, tmp_path):
    for number, example in enumerate(re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(example)
        load_config({"config": file}, {})


@pytest.mark.parametrize("text", TEXTS)
def test_files_named_in_the_documents_are_there(text):
    """A path in backticks that looks like one of ours is one of ours."""
    named = re.findall(r"`((?:scsipub|supervisor|tests|docs|fuzz|\.ci)/[\w./-]+)`", text)

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_tour_visits_every_room():
    tour = (ROOT / "docs" / "tour.md").read_text()
    rooms = {
        f"{file.parent.relative_to(ROOT)}/"
        for top in ("scsipub", "supervisor", "fuzz")
        for file in (ROOT / top).glob("**/__init__.py")
    }

    assert {room for room in rooms if f"`{room}`" not in tour} == set()
