"""The web process as a part of the whole daemon."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.chance import seed
from tests.support.eventually import eventually
from tests.support.http import admin_token
from tests.support.initiator import Initiator


def fetch(d, path, **headers):
    request = urllib.request.Request(f"http://{d.endpoints['web']}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def test_the_port_answers_as_soon_as_it_is_announced(serve):
    with serve() as d:
        assert fetch(d, "/healthz") == b"ok\n"
        assert fetch(d, "/readyz") == b"ready\n"


def test_who_may_read_the_state_directory_sees_the_sessions(running):
    token = (running.state_dir / "admin.token").read_text().strip()
    with Initiator(running.iscsi) as initiator:
        initiator.login(running.target("blank"))
        listed = json.loads(fetch(running, "/api/v1/sessions", Authorization=f"Bearer {token}"))

    assert running.target("blank") in [s["target"] for s in listed["items"]]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        fetch(running, "/api/v1/sessions")
    assert token not in running.log_text()


def test_disks_are_served_while_the_web_process_dies_and_comes_back_on_the_same_port(serve):
    with serve() as d:
        fetch(d, "/healthz")
        before = eventually(lambda: d.pids["web"])
        with Initiator(d.iscsi) as initiator:
            initiator.login(d.target("blank"))
            os.kill(before, signal.SIGKILL)
            initiator.ping()
            assert fetch(d, "/healthz") == b"ok\n"
        assert d.pids["web"] != before


def test_a_port_in_use_costs_the_pages_and_nothing_else(serve, running):
    port = running.endpoints["web"].rpartition(":")[2]

    with serve("", "--web-port", port) as d:
        assert d.endpoints["web"] is None
        with Initiator(d.iscsi) as initiator:
            initiator.login(d.target("blank"))
        assert d.log_text().count("no web interface") == 1


def test_the_process_steps_back_behind_the_workers(running):
    fetch(running, "/healthz")
    stat = Path(f"/proc/{running.pids['web']}/stat").read_text()

    assert stat.rpartition(")")[2].split()[16] == "10"


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
def test_a_command_of_the_page_works_as_it_is_pasted(running):
    page = fetch(running, "/").decode()
    command = re.search(r"<code>(qemu-img info [^<]+)</code>", page)[1]
    done = subprocess.run(shlex.split(html.unescape(command)), capture_output=True, timeout=30, check=False)

    assert b"virtual size: 64 MiB" in done.stdout, done.stderr


@pytest.mark.timeout(1000)
@pytest.mark.parametrize(
    ("who", "phases"), [("operator", "examples,coverage"), ("tenant", "examples,fuzzing,stateful")]
)
def test_schemathesis_finds_nothing(serve, who, phases):
    """The OpenAPI document and the doors behind it say the same, whatever is sent and by whom.

    Each has a part of it here; SCHEMATHESIS_EXAMPLES=500 gives both the whole of it."""
    examples = os.environ.get("SCHEMATHESIS_EXAMPLES")
    with serve("") as d:
        token = admin_token(d)
        if who == "tenant":
            d.ask("tier.put", name="home", allocation_budget=1 << 20, persistent=True, disk_bytes=1 << 36)
            d.ask("tenant.create", name="ada", tier="home")
            token = d.ask("token.create", tenant="ada")["token"]
        words = [
            *("run", f"http://{d.endpoints['web']}/api/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {token}", "--no-color"),
            *("--max-examples", examples or "5", "--seed", str(seed())),
            *(() if examples else ("--phases", phases)),
        ]
        program = Path(sys.executable).with_name("schemathesis")
        done = subprocess.run(
            [program, *words], cwd=d.state_dir, capture_output=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stdout.decode()
        assert token not in d.log_text()


def test_a_header_that_never_ends_is_given_up(running):
    host, _, port = running.endpoints["web"].rpartition(":")
    with socket.create_connection((host, int(port)), 20) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000)

        assert slow.recv(100).startswith(b"HTTP/1.1 4")


def test_a_body_that_is_too_large_is_refused(running):
    with pytest.raises((urllib.error.HTTPError, ConnectionError)) as refused:
        fetch_body = urllib.request.Request(
            f"http://{running.endpoints['web']}/api/v1/status", data=b"x" * 100_000, method="POST"
        )
        urllib.request.urlopen(fetch_body, timeout=20)
    assert not isinstance(refused.value, urllib.error.HTTPError) or refused.value.code in (405, 413)
