"""The API of the whole daemon: rent, log in, lose everything but the disk, and be told why a login fails."""

import contextlib
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.support import chap
from tests.support.daemon import REPOSITORY, daemon, start
from tests.support.eventually import eventually
from tests.support.http import admin_token, call
from tests.support.initiator import Initiator, LoginFailed
from tests.support.postgres import server

MIB = 1 << 20
_databases = itertools.count()


@pytest.fixture(scope="module")
def postgres():
    with server() as running:
        yield running


def tenant(d, name="ada", **tier):
    """A tenant; its token."""
    admin = admin_token(d)
    terms = {"allocation_budget": 64 * MIB, "persistent": True, **tier}
    assert call(d, "PUT", f"/tiers/of-{name}", admin, **terms)[0] == 200
    assert call(d, "POST", "/tenants", admin, name=name, tier=f"of-{name}")[0] == 201
    status, made, _ = call(d, "POST", "/tokens", admin, tenant=name)
    assert status == 201
    return made["token"]


def log_in(d, target, *, user=None, secret=None, algorithms="7", patience=10.0):
    """With the account of a target that was just rented, or what is said instead."""
    until = time.monotonic() + patience
    while True:
        who = Initiator(d.iscsi)
        try:
            chap.begin(who, target["name"])
            offer = chap.choose(who, algorithms)
            chap.prove(
                who, offer, user or target["chap"]["user"], (secret or target["chap"]["secret"]).encode()
            )
            return who.finish_login().settle()
        except (LoginFailed, ConnectionError) as error:
            who.close()
            if (isinstance(error, LoginFailed) and error.status >> 8 != 3) or time.monotonic() > until:
                raise
            time.sleep(0.1)  # as initiators do


def identity(who):
    return [who.command(bytes([0x12, 1, page, 0, 255, 0]), read=255).data for page in (0x80, 0x83)]


@pytest.mark.parametrize(
    ("database", "end"), [("sqlite", "kill"), ("sqlite", "term"), ("postgresql", "kill")]
)
def test_what_the_api_rented_is_the_same_after_the_daemon_has_ended(tmp_path, database, end, postgres):
    name, options = f"api{next(_databases)}", []
    if database == "postgresql":
        postgres.execute(f"CREATE DATABASE {name}")
        options = ["--database", postgres.url(name)]
    d = start(tmp_path, "--workers", "2", *options)
    token = tenant(d)
    status, rented, _ = call(d, "POST", "/targets", token, luns=[{"size": 8 * MIB}, {"size": 4 * MIB}])
    assert (status, len(rented["luns"])) == (201, 2)
    with log_in(d, rented) as who:
        before = identity(who)
        who.write(0, b"a" * 4096, lun=0)
        who.settle(1)
        who.write(8, b"b" * 4096, lun=1)
        if end == "kill":
            for pid in d.all_pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            d.process.wait()
        else:
            d.stop()

    with daemon(tmp_path, "--workers", "2", *options) as again, log_in(again, rented) as who:
        assert identity(who) == before
        assert who.read(0, 8, lun=0) == b"a" * 4096
        who.settle(1)
        assert who.read(8, 8, lun=1) == b"b" * 4096
        listed = call(again, "GET", "/targets", token)[1]["items"]
        assert [each["name"] for each in listed] == [rented["name"]]
        qemu = rented["commands"]["qemu"]
    log = (tmp_path / "daemon.log").read_text()
    assert "[error" not in log
    assert rented["chap"]["secret"] not in log and token not in log
    assert rented["chap"]["secret"] in qemu


def test_the_commands_for_qemu_work_as_they_are_pasted(running):
    """Its options, with qemu-io in place of the machine: the same block driver reads the same words."""
    d = running
    rented = call(d, "POST", "/targets", tenant(d, "gus"), size=4 * MIB)[1]
    words = shlex.split(rented["commands"]["qemu"].replace("\\\n", " "))
    secret = words[words.index("-object") + 1]
    drive = dict(part.split("=", 1) for part in words[words.index("-drive") + 1].split(",") if "=" in part)
    options = [f"file.{key}={value}" for key, value in drive.items() if key not in ("if", "format")]
    done = subprocess.run(
        [
            *("qemu-io", "--object", secret, "--image-opts", ",".join(["driver=raw", *options])),
            *("-c", "write -P 7 0 64k", "-c", "read -P 7 0 64k"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr


def test_a_request_that_is_repeated_makes_one_target_even_after_a_kill(tmp_path):
    d = start(tmp_path, "--workers", "1")
    token = tenant(d)
    first = call(d, "POST", "/targets", token, key="order-1", size=MIB)
    for pid in d.all_pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    d.process.wait()

    with daemon(tmp_path, "--workers", "1") as again:
        second = call(again, "POST", "/targets", token, key="order-1", size=MIB)
        other = call(again, "POST", "/targets", token, key="order-1", size=2 * MIB)

        assert (second[0], second[1]) == (201, first[1])
        assert other[0] == 409
        assert len(call(again, "GET", "/targets", token)[1]["items"]) == 1


def test_a_database_that_was_killed_is_a_503_until_it_is_back(tmp_path, postgres):
    """Sessions go on, and so do reads and writes; the API and the command line say what it is."""
    name = f"api{next(_databases)}"
    postgres.execute(f"CREATE DATABASE {name}")
    with daemon(tmp_path, "--workers", "2", "--database", postgres.url(name)) as d:
        token = tenant(d)
        rented = call(d, "POST", "/targets", token, size=MIB)[1]
        with log_in(d, rented) as who:
            postgres.kill()
            try:
                for method, path, body in (
                    ("POST", "/targets", {"size": MIB}),
                    ("GET", "/targets", {}),
                    ("GET", "/tokens", {}),
                ):
                    status, problem, headers = call(d, method, path, token, **body)
                    assert (status, headers["content-type"]) == (503, "application/problem+json")
                    assert int(headers["retry-after"]) > 0
                    assert "database" in problem["detail"]
                with pytest.raises(subprocess.CalledProcessError) as refused:
                    d.cli("target", "create", "ada", "--size", "1 MiB")
                said = refused.value.stderr.decode()
                assert "The database does not answer" in said and "Traceback" not in said
                who.write(0, b"c" * 4096)
                assert who.read(0, 8) == b"c" * 4096
            finally:
                postgres.start()
            eventually(lambda: call(d, "POST", "/targets", token, size=MIB)[0] == 201, 20)
        assert "Traceback" not in d.log_text()


def why(d, target, token):
    """The newest attempt."""
    return call(d, "GET", f"/targets/{target['id']}/attempts", token)[1]["items"][0]


def fails(d, target, status, **how):
    with pytest.raises(LoginFailed) as refused:
        log_in(d, target, patience=0.0, **how)
    assert refused.value.status == status


def test_each_failed_login_is_explained_with_the_command_that_mends_it(running):
    d = running
    token = tenant(d, "fay", sessions=1)
    mine = call(d, "POST", "/targets", token, size=MIB)[1]
    at = f"/targets/{mine['id']}"

    fails(d, mine, 0x0201, secret="x" * 16)
    said = eventually(lambda: (w := why(d, mine, token))["cause"] == "wrong-secret" and w)
    assert "node.session.auth.password" in said["mend"] and said["status"] == "0x0201"

    fails(d, mine, 0x0201, user="eve")
    said = why(d, mine, token)
    assert (said["cause"], said["user"]) == ("unknown-user", "eve")
    assert said["mend"].endswith("node.session.auth.username -v fay")

    fails(d, mine, 0x0201, algorithms="99")
    eventually(lambda: why(d, mine, token)["cause"] == "weak-algorithm")

    with pytest.raises(LoginFailed), Initiator(d.iscsi) as who:
        chap.begin(who, mine["name"], "None")
    eventually(lambda: why(d, mine, token)["cause"] == "no-chap")

    with log_in(d, mine):
        assert why(d, mine, token)["cause"] == "logged-in"
        other = Initiator(d.iscsi, name="iqn.1993-08.org.debian:01:b")
        with pytest.raises(LoginFailed), other:
            chap.begin(other, mine["name"])
            offer = chap.choose(other, "7")
            chap.prove(other, offer, "fay", mine["chap"]["secret"].encode())
            other.finish_login()
        assert why(d, mine, token)["cause"] == "session-limit"

    call(d, "POST", f"{at}/suspend", token, reason="unpaid")
    fails(d, mine, 0x0202)
    said = why(d, mine, token)
    assert (said["cause"], said["mend"]) == ("suspended", f"scsipub target resume {mine['id']}")
    assert "unpaid" in said["words"]

    shown = d.cli("target", "attempts", mine["id"])
    assert [each["cause"] for each in shown][:2] == ["suspended", "session-limit"]
    assert call(d, "DELETE", at, token)[0] == 204
    fails(d, mine, 0x0203)
    assert call(d, "GET", f"{at}/attempts", token)[0] == 404
    gone = next(
        each
        for each in call(d, "GET", "/attempts", admin_token(d))[1]["items"]
        if each["target"] == mine["name"]
    )
    assert gone["mend"] == f"sudo iscsiadm -m node -T {mine['name']} -o delete"
    assert call(d, "GET", "/attempts", token)[0] == 403


def test_a_login_in_the_clear_is_told_of_tls(running):
    d = running
    token = tenant(d, "tls", tls_required=True)
    mine = call(d, "POST", "/targets", token, size=MIB)[1]

    fails(d, mine, 0x0202)

    said = why(d, mine, token)
    assert said["cause"] == "tls-required"
    assert said["mend"] == f"scsipub connect 127.0.0.1 --target {mine['name']}"


def test_a_target_whose_time_is_over_says_so(running):
    d = running
    token = tenant(d, "bea")
    mine = call(d, "POST", "/targets", token, size=MIB, lifetime_seconds=0.5)[1]
    eventually(lambda: call(d, "GET", f"/targets/{mine['id']}", token)[1]["state"] == "EXPIRED", 15)

    fails(d, mine, 0x0202)

    assert why(d, mine, token)["cause"] == "expired"


def test_what_the_document_shows_with_curl_works_as_it_is_pasted(running, tmp_path):
    """docs/api.md, block after block, in one shell."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (REPOSITORY / "docs/api.md").read_text(), re.M | re.S)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "jq").write_text(JQ)
    (tools / "jq").chmod(0o755)
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "\n".join(blocks)],
        env={
            "PATH": f"{tools}:{os.environ['PATH']}",
            "STATE_DIR": str(running.state_dir),
            "URL": f"http://{running.endpoints['web']}",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert len(blocks) == 2
    assert done.returncode == 0, done.stdout + done.stderr
    assert "node.session.auth.password" in done.stdout


# The two paths that the document asks of jq, for machines that have none.
JQ = f"""#!{sys.executable}
import json, re, sys
said = json.load(open(sys.argv[3]) if len(sys.argv) > 3 else sys.stdin)
for name in re.findall(r'[\\w-]+', sys.argv[2]):
    said = said[name]
print(said)
"""
