"""``scsipub fault disk``: through the command line, to the disk beneath a real client, and well again."""

import json
import subprocess

import pytest

from tests.support.daemon import REPOSITORY, command
from tests.support.initiator import Initiator

EIGHT = 8 * 512


def read(client, lba):
    """The sense of reading one block; None when it is good."""
    result = client.command(b"\x28\0" + lba.to_bytes(4) + b"\0\0\1\0", read=512)
    return result.asc() if result.status else None


@pytest.fixture
def tested(running):
    """A client, and the id of its session."""
    with Initiator(running.iscsi, name="iqn.a:disk").login(running.target("blank")).settle() as client:
        [said] = [s for s in running.ask("session.list") if s["initiator"] == "iqn.a:disk"]
        client.write(96, b"\x11" * EIGHT)
        yield client, said["id"]


def test_a_disk_fails_where_it_was_told_to_and_is_well_when_cleared(running, tested):
    client, session = tested
    running.cli("fault", "disk", "set", session, "eio access=read sectors=100-101", "--seed", "7")

    assert [read(client, lba) for lba in (99, 100, 101, 102)] == [None, (3, 0x11, 0), (3, 0x11, 0), None]
    client.write(100, b"\x22" * 512)  # reading fails, writing does not

    told = running.cli("fault", "disk", "show", session)
    assert (told["seed"], told["lun"], told["accesses"], told["struck"]) == (7, 0, 5, 2)
    assert [(event["number"], event["fault"], event["first"]) for event in told["events"]] == [
        (2, "eio", 100),
        (3, "eio", 101),
    ]
    assert running.cli("fault", "disk", "clear", session)["rules"] == []
    assert client.read(96, 8) == b"\x11" * 2048 + b"\x22" * 512 + b"\x11" * 1536


def test_a_full_disk_takes_nothing_until_it_is_cleared(running, tested):
    client, session = tested
    running.ask("session.disk_faults", id=session, rules=["enospc", "eio access=flush"])

    full = client.command(b"\x2a\0\0\0\0\x60\0\0\1\0", write=b"\x33" * 512)
    flushed = client.command(b"\x35" + bytes(9))

    assert (full.asc(), flushed.asc()) == ((7, 0x27, 0x07), (3, 0x0C, 0))
    running.ask("session.disk_faults", id=session, rules=[])
    assert client.read(96, 8) == b"\x11" * EIGHT
    client.write(96, b"\x33" * 512)
    assert not client.command(b"\x35" + bytes(9)).status


def test_who_leaves_a_faulty_disk_in_its_grace_finds_what_was_acknowledged(running, tested):
    """The disk is taken up again by the same initiator, and is well."""
    client, session = tested
    running.ask("session.disk_faults", id=session, rules=["eio", "slow seconds=3600"])
    assert read(client, 96) == (3, 0x11, 0)
    client.logout()
    client.close()

    with Initiator(running.iscsi, name="iqn.a:disk").login(running.target("blank")).settle() as again:
        assert again.read(96, 8) == b"\x11" * EIGHT


@pytest.mark.parametrize(
    ("order", "says", "do"),
    [
        ({"rules": ["explode"]}, "is no fault", "eio, enospc, short, slow"),
        ({"rules": ["eio lba=1"]}, "has no 'lba'", "sectors"),
        ({"rules": ["eio"], "lun": 3}, "has no LUN 3; it has 0", "--lun"),
        ({"rules": ["eio"], "lun": "0"}, "lun is a number", ""),
        ({"id": "nobody"}, "no session", "session list"),
    ],
)
def test_mistakes_are_told_in_words(running, tested, order, says, do):
    with pytest.raises(RuntimeError) as refused:
        running.ask("session.disk_faults", **{"id": tested[1], **order})

    assert says in str(refused.value)
    assert do in str(refused.value)


def test_mistakes_end_the_command_with_1(running, tested):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        running.cli("fault", "disk", "show", tested[1], "--lun", "3")

    assert failed.value.returncode == 1
    assert json.loads(failed.value.stdout)["error"] == {
        "what": f"Session {tested[1]} has no LUN 3; it has 0.",
        "do": "Say which with --lun.",
    }


def test_people_read_it_in_words(running, tested):
    _, session = tested

    def said(*words):
        line = command("fault", "disk", *words, "--state-dir", str(running.state_dir))
        done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    assert "LUN 0 of session" in said("set", session, "eio sectors=100- access=read", "--seed", "3")
    read(tested[0], 100)
    shown = said("show", session)
    assert "1 of 1 accesses were struck; seed 3" in shown
    assert "access=read sectors=100-" in shown
    assert "is well again" in said("clear", session)
