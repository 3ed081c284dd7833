"""iSCSI over TLS from outside: the whole daemon, real clients, certificates that change under load.

Source: RFC 8446 and RFC 5246, as clients speak them; what a certificate must be like is in
``scsipub/certificates.py``."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest
from cryptography import x509

from tests.support.certificates import Authority
from tests.support.daemon import daemon
from tests.support.initiator import Initiator
from tests.support.ports import quiet_port

pytestmark = pytest.mark.wire

MIB = 1 << 20


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


def options(place):
    return ["--tls-port", "0", "--tls-cert", str(place / "cert.pem"), "--tls-key", str(place / "key.pem")]


@pytest.fixture(scope="module")
def served(place, authority):
    """One daemon with two workers and a shared target, for the tests that change nothing."""
    authority.pair().write(place / "cert.pem", place / "key.pem")
    config = place / "config.toml"
    config.write_text(
        """
        [limits]
        tls_handshake_seconds = 1.0
        penalty_malformed = 0.0
        source_connections_burst = 5000

        [[target]]
        name = "shared"
        shared = true
        luns = [{ lun = 0, size = "4 MiB" }]
        """
    )
    with daemon(place / "state", "--workers", "2", "--config", str(config), *options(place)) as running:
        image = place / "noise.img"
        image.write_bytes(os.urandom(8 * MIB))
        running.cli("image", "add", str(image), "--name", "noise")
        yield running


def dial(address, authority, **how):
    """An initiator whose socket speaks TLS."""
    initiator = Initiator(address, **how)
    context = authority.client_context()
    initiator.sock = context.wrap_socket(initiator.sock, server_hostname="localhost")
    return initiator


def wait_for(what, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def port(address):
    return int(address.rpartition(":")[2])


# -- sessions --------------------------------------------------------------------------------------------


def test_a_disk_is_written_and_read_through_tls(served, authority):
    data = os.urandom(3 * MIB)
    with dial(served.endpoints["tls"], authority) as initiator:
        initiator.login(served.target("blank")).settle()
        initiator.write(7, data)

        assert initiator.read(7, len(data) // 512) == data
        assert [session["tls"] for session in served.ask("session.list")] == [True]
        assert initiator.logout() == 0


def test_an_image_is_read_through_tls_as_it_is(served, place, authority):
    """Over plain TCP the kernel would send these bytes by itself; here they must be encrypted."""
    with dial(served.endpoints["tls"], authority) as initiator:
        initiator.login(served.target("image.noise")).settle()

        assert initiator.read(0, 8 * MIB // 512) == (place / "noise.img").read_bytes()


def test_discovery_by_tls_leaves_the_address_to_the_initiator(served, authority):
    """A client behind a tunnel must come back through it, so no TargetAddress is sent."""
    with dial(served.endpoints["tls"], authority) as initiator:
        lines = initiator.login().send_targets()

    assert ("TargetName", served.target("blank")) in lines
    assert "TargetAddress" not in dict(lines)


def test_a_shared_target_is_served_whichever_worker_took_the_connection(served, authority):
    """Its owner cannot be given the keys, so the worker that has them carries the bytes."""
    sessions = []
    for number in range(6):
        initiator = dial(served.endpoints["tls"], authority, name=f"iqn.1993-08.org.debian:01:{number}")
        sessions.append(initiator.login(served.target("shared")).settle())
    owners = {session["worker"] for session in served.ask("session.list")}
    for number, initiator in enumerate(sessions[:4]):
        initiator.write(number * 2048, bytes([number]) * MIB)
    seen = [initiator.read(0, 4 * MIB // 512) for initiator in sessions]
    for initiator in sessions:
        initiator.logout()
        assert initiator.closed_by_target()

    assert len(owners) == 1
    assert set(seen) == {b"".join(bytes([number]) * MIB for number in range(4))}


# -- the wrong door --------------------------------------------------------------------------------------


def test_a_tls_hello_on_the_plain_port_gets_no_answer(served, authority):
    with socket.create_connection(("127.0.0.1", port(served.iscsi)), 10) as sock, pytest.raises(OSError):
        authority.client_context().wrap_socket(sock, server_hostname="localhost")
    wait_for(lambda: "a TLS handshake on the plain port" in served.log_text())


@pytest.mark.parametrize(
    "words", [bytes([0x43, 0x87]) + bytes(46), b"GET / HTTP/1.1\r\n\r\n"], ids=["login", "http"]
)
def test_what_is_not_tls_on_the_tls_port_gets_no_answer(served, words):
    with socket.create_connection(("127.0.0.1", port(served.endpoints["tls"])), 10) as sock:
        sock.sendall(words)

        assert sock.recv(1000) == b""
    wait_for(lambda: served.status()["counters"]["malformed"].get("no TLS on the TLS port"))


def test_a_handshake_that_stalls_ends_at_its_own_deadline(served):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port(served.endpoints["tls"])), 10) as sock:
        sock.sendall(b"\x16\x03\x01")

        assert sock.recv(1000) == b""
        assert 0.9 < time.monotonic() - began < 5


def test_a_client_that_does_not_believe_the_certificate_is_not_punished(served, authority):
    before = served.status()["counters"]["malformed"]
    for _ in range(3):
        with pytest.raises(ssl.SSLCertVerificationError):
            dial(served.endpoints["tls"], Authority())
    with dial(served.endpoints["tls"], authority) as initiator:
        initiator.login(served.target("blank"))
    after = served.status()["counters"]["malformed"]
    assert after["tls handshake"] - before.get("tls handshake", 0) == 3
    assert sum(after.values()) - sum(before.values()) == 3


# -- real clients ----------------------------------------------------------------------------------------


def stunnel(place, served):
    """A free local port that stunnel carries to the TLS port."""
    local = quiet_port()
    config = place / "stunnel.conf"
    config.write_text(
        f"foreground = yes\npid =\nsyslog = no\n[iscsi]\nclient = yes\naccept = 127.0.0.1:{local}\n"
        f"connect = {served.endpoints['tls']}\nCAfile = {place / 'ca.pem'}\nverifyChain = yes\n"
        "checkHost = localhost\n"
    )
    return local, subprocess.Popen(["stunnel4", config], stderr=subprocess.DEVNULL)


@pytest.mark.skipif(
    not shutil.which("stunnel4") or not shutil.which("qemu-io"), reason="needs stunnel4, qemu-io"
)
def test_qemu_verifies_its_patterns_through_stunnel(served, place, authority):
    (place / "ca.pem").write_bytes(authority.pem)
    local, tunnel = stunnel(place, served)
    try:

        def reachable():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", local), 1):
                return True

        wait_for(reachable)
        commands = []
        for number, (at, size) in enumerate([(0, "4k"), (65536, "1M"), (4096, "512"), (2 * MIB, "3M")], 1):
            commands += ["-c", f"write -P {number} {at} {size}", "-c", f"read -P {number} {at} {size}"]
        done = subprocess.run(
            ["qemu-io", "-f", "raw", *commands, f"iscsi://127.0.0.1:{local}/{served.target('blank')}/0"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        tunnel.kill()
        tunnel.wait()

    assert (done.returncode, done.stderr) == (0, "")
    assert "Pattern verification failed" not in done.stdout
    assert done.stdout.count("read ") == 4


# -- certificates that come and go -----------------------------------------------------------------------


def test_the_port_appears_when_the_certificate_does(tmp_path, authority):
    with daemon(tmp_path / "state", "--workers", "1", *options(tmp_path)) as running:
        assert running.endpoints["tls"] is None
        good = authority.pair()
        (tmp_path / "cert.pem").write_bytes(good.certificate[:500])
        (tmp_path / "key.pem").write_bytes(good.key)
        wait_for(lambda: "is not whole" in running.log_text())
        assert running._read_endpoints()["tls"] is None

        good.write(tmp_path / "cert.pem", tmp_path / "key.pem")
        tls = wait_for(lambda: running._read_endpoints()["tls"])

        with dial(tls, authority) as initiator:
            initiator.login(running.target("blank"))


def test_a_worker_that_is_replaced_while_the_files_are_in_disorder_serves_what_was_in_service(
    tmp_path, authority
):
    """Others are in ``tests/load/rotation.py``, where the files change under 200 handshakes a second."""
    good = authority.pair()
    good.write(tmp_path / "cert.pem", tmp_path / "key.pem")
    with daemon(tmp_path / "state", "--workers", "1", *options(tmp_path)) as running:
        wait_for(lambda: "certificate loaded" in running.log_text())
        (tmp_path / "key.pem").write_bytes(good.key[:100])
        [worker] = running.pids["workers"]
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: running.pids["workers"] not in ([worker], [None]))

        with dial(running.endpoints["tls"], authority) as initiator:
            shown = x509.load_der_x509_certificate(initiator.sock.getpeercert(True))
            initiator.login(running.target("blank"))
    assert shown.serial_number == good.serial
