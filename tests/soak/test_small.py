"""The soak in small: that it runs and holds, and that it would notice if something did not."""

import subprocess
import sys

import pytest

from tests.soak.__main__ import compare
from tests.soak.clients import BLOCK, Client
from tests.soak.record import Record
from tests.support.daemon import REPOSITORY
from tests.support.pdus import Result

MIB = 1 << 20


def nobody(name):
    raise ConnectionError("there is no daemon here")


@pytest.fixture
def client():
    return Client(Record(), "one", nobody, seed=7)


@pytest.mark.wire
@pytest.mark.timeout(240)
def test_it_holds() -> None:
    words = ["tests.soak", "--minutes", "0.1", "--warm", "2", "--grace", "1", "--gap", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=220
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 errors" in done.stdout


def test_one_wrong_sector_is_an_error(client):
    client.acknowledged[3] = 2
    right = client.pattern(3, 2)

    client._check(3, right)
    assert not client.record.errors
    client._check(3, right[:-512] + client.pattern(3, 1)[:512])
    assert "block 3 sector 15" in client.record.errors[0][1]


def test_what_was_on_its_way_may_be_there_or_not_sector_by_sector(client):
    client.acknowledged[3], client.perhaps[3] = 1, {2}

    client._check(3, client.pattern(3, 1)[:512] + client.pattern(3, 2)[512:])
    assert not client.record.errors
    client._check(3, bytes(BLOCK))
    assert client.record.errors


def test_a_disk_that_nobody_has_written_to_is_zero_unless_it_may_be_another_one(client):
    client.unknown = True
    client._check(5, b"\1" * BLOCK)
    assert not client.record.errors

    client.unknown = False
    client._check(5, b"\1" * BLOCK)
    assert client.record.errors


@pytest.mark.parametrize(
    ("status", "sense", "error"),
    [(0x08, "", False), (2, "06 29", False), (2, "03 11", True), (2, "05 21", True), (0x18, "", True)],
)
def test_only_some_ends_of_a_command_are_no_error(client, status, sense, error):
    result = Result()
    result.status = status
    if sense:
        key, asc = bytes.fromhex(sense)
        result.sense = bytes((0x70, 0, key)) + bytes(9) + bytes((asc, 0)) + bytes(4)

    assert not client._good(result, 3, 0)
    assert bool(client.record.errors) is error


def test_a_leak_of_more_than_two_percent_is_seen_and_a_little_memory_is_not():
    before = {"worker files": 100, "worker memory": 100 * MIB, "rows of targets": 0, "sessions": 0}
    after = {"worker files": 104, "worker memory": 101.9 * MIB, "rows of targets": 1, "sessions": 0}

    assert [row["what"] for row in compare(before, after) if not row["back"]] == [
        "rows of targets",
        "worker files",
    ]
