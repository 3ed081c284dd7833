"""Whatever the fuzzer has found once stays fixed."""

import pytest

from fuzz.find import FINDS, Record
from fuzz.runner import ground, replay
from fuzz.steps import Script, Step

FILES = sorted(FINDS.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_find_is_found_no_more(path):
    with ground() as on:
        found = replay(on, Record.read(path).script)

    assert found is None, found.find


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_find_says_what_was_wrong(path):
    assert Record.read(path).fixed


def test_a_find_is_written_and_read_back(tmp_path):
    step = Step(bhs=bytes(48), ahs=b"1234", data=b"abc", number=2, mangles=(("add", 24, 4, -1),), more=True)
    record = Record(Script({"shared": True}, [Step("connect"), step]), "content", "sector 7", "was wrong")

    record.write(tmp_path / "it.json")

    assert Record.read(tmp_path / "it.json") == record
