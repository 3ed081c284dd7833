"""``scsipub connect`` from outside: a real tunnel to a real daemon, and an iscsiadm that only takes notes."""

import contextlib
import os
import re
import shutil
import signal
import subprocess

import attrs
import pytest

from tests.support.certificates import Authority
from tests.support.daemon import REPOSITORY, command, daemon, start
from tests.support.initiator import Initiator
from tests.support.ports import quiet_port

pytestmark = pytest.mark.wire

MIB = 1 << 20
QEMU_IO = ("write -P 7 4k 3M", "read -P 7 4k 3M", "read -P 0 0 4k")
# Notes what it is called with; a login succeeds when the portal answers.
ISCSIADM = """#!/bin/sh
echo "$*" >>"$NOTES"
case "$*" in *--login*) exit "${LOGIN_ENDS:-0}";; esac
"""


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def place(tmp_path_factory, authority):
    place = tmp_path_factory.mktemp("connect")
    authority.pair().write(place / "cert.pem", place / "key.pem")
    (place / "ca.pem").write_bytes(authority.pem)
    return place


def options(place, port="0"):
    tls = ["--tls-port", port, "--tls-cert", str(place / "cert.pem"), "--tls-key", str(place / "key.pem")]
    return ["--workers", "1", *tls]


@pytest.fixture(scope="module")
def served(place):
    with daemon(place / "state", *options(place)) as running:
        yield running


@attrs.define(eq=False)
class Client:
    """A running ``scsipub connect``."""

    process: subprocess.Popen
    lines: list[str] = attrs.Factory(list)  # of stdout, up to the last command

    @property
    def portal(self):
        return re.search(r"127\.0\.0\.1:\d+", "".join(self.lines))[0]


@contextlib.contextmanager
def connected(address, place, *words, last="-o delete", env=None):
    """``last`` is in the last line of its standard output that is waited for."""
    words = ["connect", address, "--ca", str(place / "ca.pem"), "--name", "localhost", "--port", "0", *words]
    process = subprocess.Popen(
        command(*words),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | (env or {}),
    )
    client = Client(process)
    try:
        while not client.lines or last not in client.lines[-1]:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            client.lines.append(line)
        yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def test_a_disk_is_written_and_read_through_it(served, place):
    data = os.urandom(3 * MIB)
    with (
        connected(served.endpoints["tls"], place, "--target", served.target("blank")) as client,
        Initiator(client.portal) as initiator,
    ):
        initiator.login(served.target("blank")).settle()
        initiator.write(0, data)

        assert initiator.read(0, len(data) // 512) == data
    assert client.process.returncode == 0


@pytest.mark.skipif(not shutil.which("qemu-io"), reason="needs qemu-io")
def test_qemu_verifies_its_patterns_through_it(served, place):
    with connected(served.endpoints["tls"], place, "--target", served.target("blank")) as client:
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


def test_the_commands_on_standard_output_are_those_for_a_shell(served, place):
    with connected(served.endpoints["tls"], place, "--target", served.target("blank")) as client:
        pass

    commands = [line for line in client.lines if not line.startswith("#")]
    assert all(line.startswith("iscsiadm -m node -T ") for line in commands)
    assert commands[0].endswith("-o new\n")
    assert commands[-1].endswith("--login\n")


def test_after_the_daemon_was_away_the_same_tunnel_leads_to_it_again(place, authority):
    port = str(quiet_port())
    state = place / "state-of-another"
    first = start(state, *options(place, port))
    with connected(f"127.0.0.1:{port}", place, "--target", first.target("blank")) as client:
        with Initiator(client.portal) as initiator:
            initiator.login(first.target("blank"))
            first.stop()
            assert initiator.closed_by_target()
        with Initiator(client.portal, timeout=20) as initiator:
            second = start(state, *options(place, port))
            try:
                initiator.login(second.target("blank"))
            finally:
                second.stop()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "other.example.org"], "is not believed"),
        (["--ca", "/dev/null"], "no certificate"),
    ],
)
def test_a_certificate_that_does_not_fit_ends_it_before_anything_is_open(served, place, words, told):
    base = ["connect", served.endpoints["tls"], "--target", "iqn.2025-01.pub.scsipub:blank", "--port", "0"]
    base += [] if "--ca" in words else ["--ca", str(place / "ca.pem")]
    done = subprocess.run(
        command(*base, *words), cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# -- --run -----------------------------------------------------------------------------------------------


@pytest.fixture
def notes(tmp_path):
    program = tmp_path / "bin" / "iscsiadm"
    program.parent.mkdir()
    program.write_text(ISCSIADM)
    program.chmod(0o755)
    return tmp_path / "notes", {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "NOTES": str(tmp_path / "notes"),
        "SCSIPUB_CHAP_SECRET": "twelve letters",
    }


def test_run_makes_the_record_and_takes_it_away_again(served, place, notes):
    file, env = notes
    words = ["--target", served.target("blank"), "--user", "alice", "--run"]
    with connected(served.endpoints["tls"], place, *words, last="/dev/disk/by-path", env=env) as client:
        during = file.read_text().splitlines()
    after = file.read_text().splitlines()[len(during) :]

    assert client.process.returncode == 0
    assert during[0].endswith("-o new")
    assert during[-2].endswith("node.session.auth.password -v twelve letters")
    assert during[-1].endswith("--login")
    assert [line.partition(client.portal.split("-")[0])[2].strip() for line in after] == [
        "--logout",
        "-o delete",
    ]


def test_a_login_that_fails_leaves_no_record(served, place, notes):
    file, env = notes
    words = ["connect", served.endpoints["tls"], "--ca", str(place / "ca.pem"), "--name", "localhost"]
    words += ["--port", "0", "--target", served.target("blank"), "--run"]
    done = subprocess.run(
        command(*words),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | env | {"LOGIN_ENDS": "24"},
        check=False,
    )

    assert done.returncode == 1
    assert "iscsiadm --login ended with 24" in done.stderr
    assert file.read_text().splitlines()[-1].endswith("-o delete")
