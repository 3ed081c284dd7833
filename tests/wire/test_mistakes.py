"""Strangers who get it wrong: each connection ends alone, is counted, and told once."""

import random
import socket
import time

import pytest

from tests.load import garbage
from tests.support.eventually import eventually
from tests.support.initiator import Initiator, LoginFailed
from tests.support.pdus import REJECT, digest
from tests.wire.conftest import HASTY

STRANGER = "127.0.0.2"


def counted(d):
    return d.ask("status")["counters"]["malformed"]


def raw(d, data, *, source=None):
    """Sends ``data`` instead of a login; what came back until the end of the stream."""
    host, port = d.iscsi.split(":")
    with socket.create_connection((host, int(port)), 5, (source or "127.0.0.1", 0)) as sock:
        sock.sendall(data)
        answer = b""
        try:
            while piece := sock.recv(4096):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "TLS on the plain port"),
        (b"\x01\xc1" + bytes(46), "first PDU is not login"),
        (b"\x40\x80" + bytes(46), "first PDU is not login"),
        (b"\x43\x87\0\0\0\xff\xff\xff" + bytes(40), "oversized login PDU"),
        (b"\x43\x87\0\0\0\x00\x20\x01" + bytes(40), "oversized login PDU"),
    ],
)
def test_what_is_no_login_is_dropped_without_a_word_and_counted(running, data, kind):
    before = counted(running).get(kind, 0)

    assert raw(running, data) == b""

    assert eventually(lambda: counted(running).get(kind, 0) == before + 1)


@pytest.mark.parametrize("length", [1, 47, 48])
def test_a_login_that_ends_in_the_middle_is_counted(running, length):
    before = counted(running).get("login PDU cut off", 0)
    host, port = running.iscsi.split(":")
    with socket.create_connection((host, int(port)), 5) as sock:
        sock.sendall((b"\x43\x87\0\0\0\0\0\x04" + bytes(44))[:length])
        sock.shutdown(socket.SHUT_WR)

        assert sock.recv(1) == b""

    assert eventually(lambda: counted(running).get("login PDU cut off", 0) == before + 1)


def test_who_connects_and_says_nothing_did_nothing_wrong(running):
    """Load balancers and port scanners do it all day."""
    before = sum(counted(running).values())
    host, port = running.iscsi.split(":")
    with socket.create_connection((host, int(port)), 5) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""

    raw(running, b"\x40\x80" + bytes(46))  # by then the first would have been counted
    assert eventually(lambda: sum(counted(running).values()) == before + 1)


def test_a_login_pdu_of_exactly_eight_kibibytes_is_read(running):
    """The largest that is allowed; its keys are nonsense, so it is refused, but in words."""
    answer = raw(running, b"\x43\x87\0\0\0\x00\x20\x00" + bytes(40) + b"X-a=" + b"b" * 8188)

    assert answer[0] == 0x23
    assert answer[36] == 2


def test_while_one_client_verifies_others_get_everything_wrong(running):
    """Twenty kinds of mistakes: no error and no pause for the first, no traceback, few lines."""
    chance = random.Random(7)
    target, lines = running.target("blank"), running.log_text().count("\n")
    crashes, mistakes = running.ask("status")["counters"]["crashes"], sum(counted(running).values())
    slowest = 0.0
    with Initiator(running.iscsi, name="iqn.1993-08.org.debian:01:witness") as witness:
        witness.login(target).settle()
        for number in range(200):
            garbage.make(garbage.KINDS[number % len(garbage.KINDS)], running.iscsi, target, chance)
            data = number.to_bytes(2) * 2048
            began = time.monotonic()
            witness.write(number * 8, data)
            assert witness.read(number * 8, 8) == data
            slowest = max(slowest, time.monotonic() - began)
        for number in range(200):
            assert witness.read(number * 8, 8) == number.to_bytes(2) * 2048

    assert slowest < 1.0
    assert eventually(lambda: sum(counted(running).values()) == mistakes + 200)
    assert running.ask("status")["counters"]["crashes"] == crashes
    log = running.log_text()
    assert "Traceback" not in log
    assert log.count("\n") - lines < 40


def test_rejects_are_counted_by_reason_while_the_session_lives(running):
    before = counted(running).get("reject 0x05", 0)
    with Initiator(running.iscsi, name="iqn.1993-08.org.debian:01:odd") as odd:
        odd.login(running.target("blank")).settle()
        for _ in range(3):
            odd.send_pdu(odd.header(0x1F, 0x80, 9, immediate=True))
            assert odd.wait_unasked().opcode == REJECT

        assert eventually(lambda: counted(running).get("reject 0x05", 0) == before + 3)
        assert odd.ping(b"x").data == b"x"


def test_a_flipped_bit_under_a_header_digest_ends_the_connection_and_writes_nothing(running):
    before = counted(running).get("header digest", 0)
    with Initiator(running.iscsi, name="iqn.1993-08.org.debian:01:flip") as flip:
        flip.login(running.target("blank"), HeaderDigest="CRC32C").settle()
        head = flip.header(1, 0xA1, 77)
        head[20:24] = (512).to_bytes(4)
        head[32:42] = b"\x2a\0\0\0\0\0\0\0\1\0"
        head[5:8] = (512).to_bytes(3)
        right = digest(bytes(head))
        head[9] ^= 1
        flip.send_raw(bytes(head) + right + bytes(512))
        assert flip.closed_by_target()

    assert eventually(lambda: counted(running).get("header digest", 0) == before + 1)


def test_half_a_login_and_no_more_is_cut_off_after_the_deadline(serve):
    """From accept on; what trickles in does not move it."""
    with serve() as d:
        host, port = d.iscsi.split(":")
        with socket.create_connection((host, int(port)), 5) as slow:
            began = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - began < 10:
                    slow.sendall(b"\x43")
                    slow.settimeout(0.2)
                    try:
                        if not slow.recv(1):
                            raise ConnectionResetError
                    except TimeoutError:
                        continue
            assert 1.5 < time.monotonic() - began < 4
        assert eventually(lambda: counted(d).get("login timeout") == 1)


def test_a_stranger_that_sent_garbage_waits_and_the_machine_itself_does_not(serve):
    with serve(f"{HASTY}penalty_malformed = 2.0\n") as d:
        raw(d, b"GET / HTTP/1.0\r\n\r\n", source=STRANGER)
        raw(d, b"GET / HTTP/1.0\r\n\r\n")
        assert eventually(lambda: counted(d).get("HTTP request") == 2)

        with pytest.raises(OSError), Initiator(d.iscsi, source=STRANGER, timeout=3) as refused:
            refused.login(d.target("blank"))
        with Initiator(d.iscsi) as ours:
            ours.login(d.target("blank"))
        time.sleep(2.0)
        with Initiator(d.iscsi, source=STRANGER) as forgiven:
            forgiven.login(d.target("blank"))


def test_unknown_targets_are_told_once_for_each_name(running):
    lines = running.log_text().count("login refused 0x0203")
    for name in ("gone-a", "gone-b") * 5:
        with pytest.raises(LoginFailed) as refused, Initiator(running.iscsi) as stale:
            stale.login(running.target(name))
        assert refused.value.status == 0x0203

    assert eventually(lambda: counted(running).get("login refused 0x0203", 0) >= 10)
    assert running.log_text().count("login refused 0x0203") - lines == 2


def test_control_characters_of_strangers_do_not_reach_the_log(running):
    text = b"InitiatorName=iqn.2000-01.x:\x1b[2J\nfake".ljust(64, b"\0")
    answer = raw(running, b"\x43\x87\0\0\0\x00\x00\x40" + bytes(40) + text)

    assert answer[36] == 2
    assert "\x1b" not in running.log_text().replace("\x1b[0m", "")
