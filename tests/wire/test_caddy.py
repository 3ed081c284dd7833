"""Behind Debian's Caddy, with the Caddyfile of docs/deploy: tunnels through HTTPS."""

import grp
import os
import shutil
import socket
import ssl
import stat
import subprocess

import pytest

from tests.support.caddy import caddy
from tests.support.certificates import DAY, Authority, now
from tests.support.daemon import REPOSITORY, command, daemon
from tests.support.eventually import eventually
from tests.support.initiator import Initiator
from tests.wire.test_connect import QEMU_IO, connected

pytestmark = pytest.mark.skipif(not shutil.which("caddy"), reason="needs caddy")

MIB = 1 << 20


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("caddy")


@pytest.fixture(scope="module")
def served(place):
    with daemon(place / "state", "--workers", "2") as d:
        yield d
    assert "Traceback" not in d.log_text(), d.log_text()


@pytest.fixture(scope="module")
def proxy(place, served):
    with caddy(place, served.endpoints["web"]) as found:
        (place / "ca.pem").write_bytes(found.authority.read_bytes())
        yield found


def test_a_disk_is_written_and_read_through_it(served, proxy, place):
    data = os.urandom(3 * MIB)
    with (
        connected(f"wss://{proxy.address}/", place, "--target", served.target("blank")) as client,
        Initiator(client.portal, timeout=20) as initiator,
    ):
        initiator.login(served.target("blank")).settle()
        initiator.write(0, data)

        assert initiator.read(0, len(data) // 512) == data
        [session] = served.ask("session.list")
        assert (session["tunnel"], session["tls"], session["source"]) == (True, True, "127.0.0.1")
    assert client.process.returncode == 0


@pytest.mark.skipif(not shutil.which("qemu-io"), reason="needs qemu-io")
def test_qemu_verifies_its_patterns_through_it(served, proxy, place):
    with connected(f"wss://{proxy.address}", place, "--target", served.target("blank")) as client:
        done = subprocess.run(
            ["qemu-io", "-f", "raw"]
            + [word for one in QEMU_IO for word in ("-c", one)]
            + [f"iscsi://{client.portal}/{served.target('blank')}/0"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Pattern verification failed" not in done.stdout


def test_what_a_client_says_of_itself_caddy_throws_away(served, proxy):
    """Otherwise anybody could be anybody, and no bound per source would hold."""
    context = ssl.create_default_context(cafile=proxy.authority)
    host, _, port = proxy.address.rpartition(":")
    request = (
        f"GET /tunnel HTTP/1.1\r\nHost: {proxy.address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "X-Forwarded-For: 198.51.100.77\r\n\r\n"
    )
    before = served.log_text()
    with (
        socket.create_connection(("127.0.0.1", int(port)), 10) as sock,
        context.wrap_socket(sock, server_hostname=host) as tls,
    ):
        tls.sendall(request.encode())
        assert tls.recv(1000).startswith(b"HTTP/1.1 101")
        tls.sendall(b"\x82\x84" + bytes(4) + b"SSH-")
        while tls.recv(1000):
            pass
    eventually(lambda: "first PDU is not login" in served.log_text()[len(before) :])
    assert "198.51.100.77" not in served.log_text()


def test_after_the_web_process_was_away_the_same_client_leads_there_again(served, proxy, place):
    with connected(f"wss://{proxy.address}/", place, "--target", served.target("blank")) as client:
        with Initiator(client.portal, timeout=20) as initiator:
            initiator.login(served.target("blank"))
            os.kill(served.pids["web"], 9)
            assert initiator.closed_by_target()
        with Initiator(client.portal, timeout=20) as initiator:
            initiator.login(served.target("blank")).settle()
            assert len(initiator.read(0, 8)) == 4096


@pytest.mark.parametrize(
    ("path", "words", "told"),
    [
        ("/", ["--name", "other.example.org"], "a name it has a certificate for?"),
        ("/", ["--ca", "other.pem"], "is not believed"),
        ("/nowhere", [], "There is no tunnel at"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_open(served, proxy, place, path, words, told):
    line = ["connect", f"wss://{proxy.address}{path}", "--ca", str(place / "ca.pem"), "--port", "0"]
    (place / "other.pem").write_bytes(Authority().pem)
    line += ["--target", served.target("blank")]
    line += [str(place / word) if word.endswith(".pem") else word for word in words]
    done = subprocess.run(
        command(*line), cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_certificates_come_from_caddy_to_the_tls_port_as_soon_as_they_are_there(tmp_path):
    """The whole bridge: nothing is there at first, then Caddy starts, then it renews."""
    to = tmp_path / "tls"
    words = ["certs", "sync", "localhost", "--caddy", str(tmp_path / "data" / "caddy" / "certificates")]
    to.mkdir()
    sync = subprocess.Popen(
        command(*words, "--to", str(to), "--group", grp.getgrgid(os.getgid()).gr_name),
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    options = ["--tls-port", "0", "--tls-cert", str(to / "cert.pem"), "--tls-key", str(to / "key.pem")]
    try:
        assert "nothing to bring" in sync.stderr.readline()
        with (
            daemon(tmp_path / "state", "--workers", "1", *options) as d,
            caddy(tmp_path, d.endpoints["web"]) as proxy,
        ):
            assert "brought a certificate for localhost" in sync.stderr.readline()
            tls = eventually(lambda: d._read_endpoints()["tls"])
            context = ssl.create_default_context(cafile=proxy.authority)

            def shown(address):
                host, _, port = address.rpartition(":")
                with (
                    socket.create_connection((host, int(port)), 10) as sock,
                    context.wrap_socket(sock, server_hostname="localhost") as secured,
                ):
                    return secured.getpeercert()["serialNumber"]

            assert shown(tls) == shown(proxy.address)
            for name in ("cert.pem", "key.pem"):
                assert stat.S_IMODE((to / name).stat().st_mode) == 0o640
                assert (to / name).stat().st_gid == os.getgid()

            # As Caddy renews: the pair in its folder is another one.
            renewed = Authority().pair("localhost", ends=now() + 300 * DAY)
            folder = proxy.certificates / "local" / "localhost"
            renewed.write(folder / "localhost.crt", folder / "localhost.key")
            assert "brought a certificate for localhost" in sync.stderr.readline()
            assert (to / "key.pem").read_bytes() == renewed.key
    finally:
        sync.send_signal(2)
        assert sync.wait(10) == 0
