"""``scsipub fault``: through the command line, to the session of a real client, and back as a timeline."""

import json
import subprocess
import sys
import time

import pytest

from tests.support.initiator import Closed, Initiator


def scsipub(running, *words, code=0):
    command = [sys.executable, "-m", "scsipub", *words, "--state-dir", str(running.state_dir), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def tested(running):
    """A client, and the id of its session."""
    with Initiator(running.iscsi, name="iqn.a:tested").login(running.target("blank")).settle() as client:
        [said] = [s for s in scsipub(running, "session", "list") if s["initiator"] == "iqn.a:tested"]
        yield client, said["id"]


def test_a_session_meets_its_faults_and_the_timeline_tells_of_them(running, tested):
    client, session = tested
    rules = ["medium-error opcode=READ(10) lba=8 times=1", "busy opcode=WRITE(10)"]

    scsipub(running, "fault", "set", session, *rules, "--seed", "7")
    first = client.command(b"\x28" + bytes(4) + b"\x08" + bytes(2) + b"\x01\x00", read=512)
    assert first.asc() == (3, 0x11, 0)
    assert client.read(8, 1) == bytes(512)
    assert client.command(b"\x2a" + bytes(7) + b"\x01\x00", write=bytes(512)).status == 0x08

    told = scsipub(running, "fault", "show", session)
    assert (told["seed"], told["struck"]) == (7, 2)
    assert [(event["fault"], event["opcode"], event["lba"]) for event in told["events"]] == [
        ("medium-error", 0x28, 8),
        ("busy", 0x2A, 0),
    ]
    scsipub(running, "fault", "clear", session)
    client.write(0, bytes(512))


def test_a_delay_takes_its_time_and_pings_do_not_wait(running, tested):
    client, session = tested
    scsipub(running, "fault", "set", session, "delay seconds=0.5 opcode=READ(10)")

    began = time.monotonic()
    tag = client.start(b"\x28" + bytes(7) + b"\x01\x00", read=512)
    client.ping()
    pinged = time.monotonic() - began
    client.finish(tag)

    assert pinged < 0.5 <= time.monotonic() - began


def test_a_cut_ends_the_connection_and_the_next_session_is_well(running, tested):
    client, session = tested
    scsipub(running, "fault", "set", session, "cut")

    with pytest.raises((Closed, ConnectionError)):
        client.command(bytes(6))
    with Initiator(running.iscsi, name="iqn.a:tested").login(running.target("blank")).settle() as again:
        assert again.read(0, 1) == bytes(512)


@pytest.mark.parametrize(
    ("words", "says"),
    [(["fault", "set", "SESSION", "explode"], "is no fault"), (["fault", "show", "nobody"], "no session")],
)
def test_mistakes_are_told_in_words(running, tested, words, says):
    words = [tested[1] if word == "SESSION" else word for word in words]

    assert says in scsipub(running, *words, code=1)["error"]["what"]
