"""Renting for tests of the whole daemon: a tenant, a target, and the clients that log in to it.

Clients are our own initiator, QEMU's and libiscsi's."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

from tests.support import chap, secrecy
from tests.support.daemon import Daemon
from tests.support.initiator import Initiator, LoginFailed

MIB = 1 << 20
INQUIRY_PAGES = (0x80, 0x83)


def api(
    d: Daemon, method: str, path: str, body: Any = None, token: str | None = None, **headers: str
) -> tuple[int, Any]:
    """One request to /api/v1, as the operator unless a token is given: status and decoded answer."""
    token = token or (d.state_dir / "admin.token").read_text().strip()
    request = urllib.request.Request(
        f"http://{d.endpoints['web']}/api/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, said = answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        status, said = refused.code, refused.read()
    decoded = json.loads(said) if said else None
    secrecy.remember_all(decoded)
    return status, decoded


def tenant(d: Daemon, name: str = "ada") -> None:
    """A tenant of a tier that suits tests."""
    with contextlib.suppress(RuntimeError):
        d.ask("tier.put", name="home", allocation_budget=64 * MIB, persistent=True)
        d.ask("tenant.create", name=name, tier="home")


def rent(d: Daemon, *sizes: int, image: str | None = None, **wish: Any) -> dict[str, Any]:
    """A target of a tenant; both are made.  Blank units of these sizes, then one over the image."""
    tenant(d)
    luns = [{"size": size} for size in sizes] + ([{"image": image}] if image else [])
    return d.ask("target.create", tenant="ada", luns=luns, **wish)


def logged_in(d: Daemon, rented: dict, patience: float = 10.0, **how) -> Initiator:
    """As initiators do: again and again, while the target is said to be away."""
    until = time.monotonic() + patience
    while True:
        who = Initiator(d.iscsi, **how)
        try:
            chap.begin(who, rented["name"])
            offer = chap.choose(who, "7")
            chap.prove(who, offer, rented["chap"]["user"], rented["chap"]["secret"].encode())
            return who.finish_login().settle()
        except (LoginFailed, ConnectionError) as error:
            who.close()
            refused = isinstance(error, LoginFailed) and error.status >> 8 != 3
            if refused or time.monotonic() > until:
                raise
            time.sleep(0.2)


def who_it_is(who: Initiator, luns: int) -> list[bytes]:
    """Serial numbers and designators."""
    found = []
    for lun in range(luns):
        who.settle(lun)
        for page in INQUIRY_PAGES:
            cdb = bytes([0x12, 1, page, 0, 255, 0])
            found.append(who.command(cdb, read=255, lun=lun).data)
    return found


def kill_all(d: Daemon) -> None:
    """kill -9 of control and every worker."""
    for pid in d.all_pids:
        os.kill(pid, signal.SIGKILL)
    d.process.wait()


def pattern(seed: int) -> bytes:
    return bytes((seed + n) % 251 for n in range(64 * 1024))


def qemu_io(d: Daemon, rented: dict, *commands: str, lun: int = 0) -> str:
    host_port = d.iscsi
    url = (
        f"driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={host_port},"
        f"file.target={rented['name']},file.lun={lun},file.user={rented['chap']['user']},"
        f"file.password-secret=chap,file.initiator-name=iqn.2008-11.org.linux-kvm:tests"
    )
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        [
            "qemu-io",
            "--object",
            f"secret,id=chap,data={rented['chap']['secret']}",
            "--image-opts",
            url,
            *words,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout, done.stdout
    return done.stdout


def libiscsi(d: Daemon, rented: dict, tool: str, *options: str, lun: int = 0) -> str:
    """What one of libiscsi's tools says of a unit."""
    account = f"{rented['chap']['user']}%{rented['chap']['secret']}"
    url = f"iscsi://{account}@{d.iscsi}/{rented['name']}/{lun}"
    # It shows designators as the bytes they are.
    done = subprocess.run([tool, *options, url], capture_output=True, encoding="latin-1", timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def identities(d: Daemon, rented: dict, luns: int) -> list[str]:
    """Serial numbers (VPD page 80h) and designators (83h) of its units, as libiscsi shows them."""
    return [
        libiscsi(d, rented, "iscsi-inq", "-e", "1", "-c", str(page), lun=lun)
        for lun in range(luns)
        for page in INQUIRY_PAGES
    ]
