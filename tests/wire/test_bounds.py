"""What one source may have at once, and where the daemon listens.  127.0.0.2 plays the stranger."""

import contextlib
import socket
import subprocess
import time

import pytest

from tests.support.daemon import PREFIX, daemon
from tests.support.initiator import Initiator, LoginFailed

STRANGER = "127.0.0.2"
LOCAL = "127.0.0.1"


def test_a_source_has_so_many_sessions_and_the_machine_itself_is_exempt(serve):
    with serve("[limits]\nsessions_per_source = 3\n") as d, contextlib.ExitStack() as open_ones:

        def log_in(source, number):
            who = Initiator(d.iscsi, name=f"iqn.1993-08.org.debian:01:{number}", source=source)
            return open_ones.enter_context(who).login(d.target("blank"))

        first = [log_in(STRANGER, number) for number in range(3)]
        with pytest.raises(LoginFailed) as refused:
            log_in(STRANGER, 4)
        assert refused.value.status == 0x0302
        for number in range(6):
            log_in(LOCAL, 10 + number)
        first[0].settle().logout()
        assert first[0].closed_by_target()
        deadline = time.monotonic() + 5
        while True:
            try:
                log_in(STRANGER, 5)
                break
            except LoginFailed:
                assert time.monotonic() < deadline


def test_a_source_has_so_many_connections_without_login(serve):
    with serve("[limits]\nunauthenticated_per_source = 4\n") as d, contextlib.ExitStack() as open_ones:
        host, port = d.iscsi.split(":")

        def connect(source):
            sock = socket.create_connection((host, int(port)), 5, (source, 0))
            return open_ones.enter_context(sock)

        for _ in range(4):
            connect(STRANGER)
        assert connect(STRANGER).recv(1) == b""
        with Initiator(d.iscsi) as ours:
            ours.login(d.target("blank"))
        assert d.ask("status")["counters"]["refused"] == 1


def test_many_who_say_nothing_do_not_keep_others_out(serve):
    """Half-open connections from the machine itself, beyond what any source may have."""
    with serve("[limits]\nlogin_seconds = 2.0\n") as d, contextlib.ExitStack() as open_ones:
        host, port = d.iscsi.split(":")
        idle = [open_ones.enter_context(socket.create_connection((host, int(port)), 5)) for _ in range(300)]
        began = time.monotonic()
        with Initiator(d.iscsi) as ours:
            ours.login(d.target("blank")).settle()
            assert time.monotonic() - began < 1.0
            for sock in idle:
                assert sock.recv(1) == b""
            assert time.monotonic() - began < 5.0
            assert ours.ping(b"x").data == b"x"


def test_an_ipv6_listener_serves_and_names_itself_in_brackets(tmp_path):
    """RFC 7143 §13.8: domainname is an IPv6 address in brackets."""
    with daemon(tmp_path / "state", "--host", "::1", "--workers", "1") as d:
        assert d.iscsi.startswith("[::1]:")
        with Initiator(d.iscsi) as who:
            who.login()
            answer = who.send_targets()
        assert ("TargetName", f"{PREFIX}blank") in answer
        assert ("TargetAddress", f"{d.iscsi},1") in answer
        with Initiator(d.iscsi) as who:
            who.login(d.target("blank")).settle()
            who.write(0, b"six" * 512 + bytes(1536))
        assert d.ask("status")["counters"]["logins"] == 2


def test_every_host_that_is_named_is_listened_on(tmp_path):
    hosts = ("--host", "127.0.0.3", "--host", "::1")
    with daemon(tmp_path / "state", *hosts, "--workers", "1") as d, Initiator(d.iscsi) as who:
        who.login(d.target("blank"))
        listening = subprocess.run(["ss", "-Hltn6p"], capture_output=True, text=True).stdout
        assert f"pid={d.process.pid}," in listening


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (("--public-host", "disks.example"), "disks.example:{port},1"),
        (("--public-host", "disks.example:33260"), "disks.example:33260,1"),
        ((), "127.0.0.1:{port},1"),
    ],
)
def test_discovery_gives_the_address_that_the_operator_wants(tmp_path, words, address):
    with daemon(tmp_path / "state", "--workers", "1", *words) as d, Initiator(d.iscsi) as who:
        who.login()
        answer = who.send_targets()

    port = d.iscsi.rpartition(":")[2]
    assert {value for key, value in answer if key == "TargetAddress"} == {address.format(port=port)}
