"""iSCSI over TLS from outside: the whole daemon, real clients, certificates that change under load.

Source: RFC 8446 and RFC 5246, as clients speak them; what a certificate must be like is in
``scsipub/certificates.py``."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from cryptography import x509

from tests.support.certificates import DAY, Authority, Pair, now
from tests.support.daemon import daemon
from tests.support.initiator import Initiator

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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local = probe.getsockname()[1]
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


class Callers:
    """Clients that shake hands without pause, about ``rate`` times a second."""

    def __init__(self, address, authority, rate, threads=4):
        self.address = ("127.0.0.1", port(address))
        self.context = authority.client_context()
        self.served, self.failed, self.done = [], [], 0  # served: (moment, serial) of each change
        self.stop = threading.Event()
        self.pause = threads / rate
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.call) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def call(self):
        due = time.monotonic()
        while not self.stop.is_set():
            try:
                with (
                    socket.create_connection(self.address, 10) as sock,
                    self.context.wrap_socket(sock, server_hostname="localhost") as tls,
                ):
                    serial = x509.load_der_x509_certificate(tls.getpeercert(True)).serial_number
                with self.lock:
                    self.done += 1
                    if not self.served or self.served[-1][1] != serial:
                        self.served.append((time.monotonic(), serial))
            except OSError as error:
                self.failed.append(error)
            due = max(due + self.pause, time.monotonic() - 0.1)
            self.stop.wait(max(0.0, due - time.monotonic()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(10)


def test_no_handshake_fails_while_the_files_are_replaced_by_all_that_is_wrong(tmp_path, authority):
    """Halves, a key that does not match, an expired pair, and at last a good one."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    first, last, other = authority.pair(), authority.pair(), authority.pair()
    config = tmp_path / "config.toml"
    config.write_text(
        "[limits]\ntls_reload_seconds = 1.0\nsource_connections_per_second = 5000\n"
        "new_connections_per_second = 5000\nsource_connections_burst = 5000\nnew_connections_burst = 5000\n"
        "unauthenticated_per_source = 5000\n"
    )
    first.write(cert, key)
    wrong = {
        "half a certificate": Pair(first.certificate[:400], first.key),
        "half a key": Pair(last.certificate, last.key[:120]),
        "a key that does not match": Pair(last.certificate, other.key),
        "an expired pair": authority.pair(ends=now() - DAY / 2),
        "nothing": Pair(b"", b""),
    }
    with (
        daemon(tmp_path / "state", "--workers", "1", "--config", str(config), *options(tmp_path)) as running,
        Callers(running.endpoints["tls"], authority, rate=200) as callers,
    ):
        wait_for(lambda: callers.served)
        for pair in wrong.values():
            cert.write_bytes(pair.certificate)
            key.write_bytes(pair.key)
            time.sleep(1.3)
        assert {serial for _, serial in callers.served} == {first.serial}
        cert.write_bytes(last.certificate)
        key.write_bytes(last.key)
        put = time.monotonic()
        wait_for(lambda: callers.served[-1][1] == last.serial, 5)
        served_after = callers.served[-1][0] - put
        done = callers.done

    assert callers.failed == []
    assert done > 30 * 1.3 * len(wrong)  # 200 a second where the machine has nothing else to do
    assert served_after < 2.0
    log = running.log_text()
    for words in ("is not whole", "another certificate", "has expired"):
        assert words in log
    assert log.count("certificate loaded") == 2


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_within_the_cooldown_no_handshake_asks_about_the_files(tmp_path, authority):
    config = tmp_path / "config.toml"
    config.write_text("[limits]\ntls_reload_seconds = 2.0\n")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.pair().write(cert, key)
    trace = tmp_path / "trace"
    with daemon(tmp_path / "state", "--workers", "1", "--config", str(config), *options(tmp_path)) as running:
        worker = running.pids["workers"][0]
        tracer = subprocess.Popen(
            ["strace", "-f", "-ttt", "-e", "trace=%file,%desc", "-o", trace, "-p", str(worker)],
            stderr=subprocess.PIPE,
        )
        tracer.stderr.readline()  # attached
        try:
            with Callers(running.endpoints["tls"], authority, rate=30, threads=1) as callers:
                wait_for(lambda: looks(trace, cert) >= 3, 20)
                done = callers.done
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()

    moments = [float(line.split()[1]) for line in trace.read_text().splitlines() if str(cert) in line]
    apart = [b - a for a, b in itertools.pairwise(moments) if b - a > 0.1]
    assert done >= 40
    assert len(apart) >= 2
    assert all(gap > 1.95 for gap in apart)


def looks(trace, path):
    """How many times, a tenth of a second apart, the path was in a system call."""
    if not trace.exists():
        return 0
    last, found = 0.0, 0
    for line in trace.read_text().splitlines():
        if str(path) in line:
            moment = float(line.split()[1])
            found += moment - last > 0.1
            last = moment
    return found
