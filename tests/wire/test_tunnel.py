"""iSCSI inside WebSockets from outside: sessions through ``/tunnel``, and what strangers might do with it."""

import os
import signal
import struct
import time
import urllib.error
import urllib.request

import pytest

from tests.support.daemon import daemon
from tests.support.eventually import eventually
from tests.support.initiator import Closed, Initiator
from tests.support.websocket import CONTINUATION, TEXT, TunnelSocket, WebSocket

MIB = 1 << 20
SETTINGS = """
[limits]
login_seconds = 1.0
tunnels = 8
unauthenticated_per_source = 3
transmit_stall_seconds = 1.0
penalty_malformed = 0.0
grace_seconds = 0.5
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    place = tmp_path_factory.mktemp("tunnel")
    (place / "scsipub.toml").write_text(SETTINGS)
    with daemon(place / "state", "--config", str(place / "scsipub.toml"), "--workers", "2") as d:
        yield d
    assert "Traceback" not in d.log_text(), d.log_text()


def through(d, source=None, **how):
    """An initiator behind a tunnel; ``source``: as our own proxy would say it."""
    headers = {"X_Forwarded_For": source, "X_Forwarded_Proto": "https"} if source else {}
    websocket = WebSocket(d.endpoints["web"], **headers)
    assert websocket.status == 101, websocket.head
    initiator = Initiator(d.iscsi, timeout=20, **how)
    initiator.sock.close()
    initiator.sock = TunnelSocket(websocket)
    return initiator


def sessions(d):
    return d.ask("session.list")


def no_tunnels(d):
    return eventually(lambda: not any(s["tunnel"] for s in sessions(d)))


def test_a_disk_is_written_and_read_through_it(served):
    data = os.urandom(3 * MIB)
    with through(served, "198.51.100.7") as initiator:
        initiator.login(served.target("blank")).settle()
        initiator.write(7, data)

        assert initiator.read(7, len(data) // 512) == data
        [session] = sessions(served)
        assert (session["source"], session["tunnel"], session["tls"]) == ("198.51.100.7", True, True)
        assert initiator.logout() == 0
        assert initiator.closed_by_target()


def test_discovery_through_it_sends_no_address(served):
    with through(served) as initiator:
        lines = initiator.login().send_targets()

    assert ("TargetName", served.target("blank")) in lines
    assert "TargetAddress" not in dict(lines)


def test_a_session_that_is_kicked_ends_its_tunnel(served):
    with through(served) as initiator:
        initiator.login(served.target("blank"))
        [session] = sessions(served)
        served.ask("session.kick", id=session["id"])

        assert initiator.sock.websocket.closed_with() == 1000


def test_a_tunnel_whose_client_is_gone_ends_its_session(served):
    initiator = through(served)
    initiator.login(served.target("blank"))
    initiator.sock.websocket.close()

    assert no_tunnels(served)


def test_bounds_count_by_the_address_that_our_proxy_tells(served):
    first = [WebSocket(served.endpoints["web"], X_Forwarded_For="203.0.113.5") for _ in range(4)]
    other = WebSocket(served.endpoints["web"], X_Forwarded_For="203.0.113.6")

    assert [w.status for w in first] == [101, 101, 101, 429]
    assert other.status == 101
    for websocket in (*first[:3], other):
        assert websocket.closed_with() == 1000  # they never logged in


def test_there_are_so_many_tunnels_and_no_more(served):
    crowd = [WebSocket(served.endpoints["web"]) for _ in range(9)]

    assert [w.status for w in crowd].count(429) == 1
    for websocket in crowd:
        websocket.close()
    eventually(lambda: WebSocket(served.endpoints["web"]).status == 101)


def test_what_a_client_says_before_our_proxy_is_not_believed(served):
    with through(served, "10.9.8.7, 198.51.100.9, 127.0.0.1") as initiator:
        initiator.login(served.target("blank"))

        assert [s["source"] for s in sessions(served)] == ["198.51.100.9"]
    no_tunnels(served)


# -- hostile -------------------------------------------------------------------------------------------------


def test_a_plain_request_is_told_to_upgrade(served):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{served.endpoints['web']}/tunnel", timeout=10)
    assert refused.value.code == 426


def test_text_ends_it(served):
    with WebSocket(served.endpoints["web"]) as websocket:
        websocket.send(b"hello", TEXT)

        assert websocket.closed_with() == 1003


def test_what_is_no_login_ends_it_as_on_any_port(served):
    before = served.status()["counters"]["malformed"]
    with WebSocket(served.endpoints["web"]) as websocket:
        websocket.send(b"GET / HTTP/1.1\r\n\r\n" + bytes(48))

        assert websocket.closed_with() == 1000
    kind = "HTTP request"
    eventually(lambda: served.status()["counters"]["malformed"].get(kind, 0) > before.get(kind, 0))


def test_a_handshake_without_login_ends_at_the_deadline_of_logins(served):
    began = time.monotonic()
    with WebSocket(served.endpoints["web"]) as websocket:
        assert websocket.closed_with() == 1000
    assert time.monotonic() - began < 8


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("way", ["one frame", "many fragments", "lies about its length"])
def test_a_giant_message_ends_it_and_is_not_collected(served, way):
    web = eventually(lambda: served.pids["web"])
    before = resident(web)
    with WebSocket(served.endpoints["web"]) as websocket:
        chunk = bytes(MIB)
        sent = 0
        try:
            if way == "lies about its length":
                websocket.sock.sendall(websocket.header(1 << 62))
            elif way == "one frame":
                websocket.sock.sendall(websocket.header(200 * MIB))
            for n in range(200):
                if way == "many fragments":
                    websocket.send(chunk[:60_000], CONTINUATION if n else 2, fin=False)
                    sent += 60_000
                else:
                    websocket.sock.sendall(chunk)
                    sent += MIB
        except ConnectionError:
            pass
        else:
            assert websocket.closed_with() in (1009, 1006)
        assert sent < 100 * MIB  # the kernel's buffers, and no more
    assert resident(web) - before < 8 * MIB


def test_compression_is_not_agreed_to(served):
    with WebSocket(served.endpoints["web"], Sec_WebSocket_Extensions="permessage-deflate") as websocket:
        assert websocket.status == 101
        assert "extensions" not in websocket.head.lower()


def test_frames_against_the_rules_end_it(served):
    with WebSocket(served.endpoints["web"]) as websocket:
        websocket.sock.sendall(b"\xf2\x80" + bytes(4))  # reserved bits

        assert websocket.closed_with() in (1002, 1006)


def test_a_client_that_never_reads_is_given_up_and_holds_little(served):
    web = eventually(lambda: served.pids["web"])
    before = resident(web)
    with through(served) as initiator:
        initiator.login(served.target("blank")).settle()
        for _ in range(16):
            initiator.start(struct.pack(">BBIBHB", 0x28, 0, 0, 0, 4096, 0), read=2 * MIB)
        # What is not taken stays with the worker, which waits for so long and no longer.
        assert no_tunnels(served)
    assert resident(web) - before < 8 * MIB


def test_a_web_process_that_dies_takes_its_tunnels_along_and_the_next_one_has_new_ones(served):
    web = eventually(lambda: served.pids["web"])
    with through(served) as initiator:
        initiator.login(served.target("blank"))
        os.kill(web, signal.SIGKILL)
        with pytest.raises((Closed, ConnectionError)):
            initiator.ping()
    no_tunnels(served)
    with eventually(lambda: through(served)) as initiator:
        initiator.login(served.target("blank"))
    assert served.status()["counters"]["crashes"] == 0
