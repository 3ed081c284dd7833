"""Images that come in over HTTP, while everything that can end ends."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from tests.support.eventually import eventually
from tests.support.initiator import Initiator

UPLOADS = "/api/v1/images/uploads"
MIB = 1 << 20


class Admin:
    """Asks one daemon, with its token; any incarnation of it."""

    def __init__(self, d):
        self.d = d
        self.token = (d.state_dir / "admin.token").read_text().strip()

    def __call__(self, method, path, body=None, **headers):
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(
            f"http://{self.d.endpoints['web']}{path}",
            data=data,
            method=method,
            headers={"Authorization": f"Bearer {self.token}", **headers},
        )
        if isinstance(body, dict):
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else dict(answer.headers)

    def offset(self, id):
        """Where to go on; the web process may just be coming back."""
        return int(eventually(lambda: self._header(id)))

    def _header(self, id):
        try:
            return self("HEAD", f"{UPLOADS}/{id}")["upload-offset"]
        except (OSError, urllib.error.URLError):
            return None

    def send_half(self, id, data, offset):
        """A request that says it is longer than what comes."""
        host, _, port = self.d.endpoints["web"].rpartition(":")
        with socket.create_connection((host, int(port)), 20) as line:
            line.sendall(
                f"PATCH {UPLOADS}/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\n"
                f"Upload-Offset: {offset}\r\nContent-Length: {len(data) * 2}\r\n\r\n".encode()
            )
            line.sendall(data)
            eventually(lambda: self.offset(id) == offset + len(data))
            yield line


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A disk of 8 MiB with noise and holes, and its qcow2 file, packed with zstd."""
    folder = tmp_path_factory.mktemp("disk")
    data = bytearray(8 * MIB)
    for start in range(0, len(data), MIB):
        data[start : start + 300_000] = os.urandom(300_000)
    (folder / "disk.raw").write_bytes(data)
    subprocess.run(
        [
            "qemu-img",
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-c",
            "-o",
            "compression_type=zstd",
            "disk.raw",
            "q",
        ],
        cwd=folder,
        check=True,
        timeout=60,
    )
    return bytes(data), (folder / "q").read_bytes()


def test_an_upload_goes_on_after_a_cut_line_a_killed_web_process_and_a_killed_daemon(serve, disk):
    data, file = disk
    part = len(file) // 4
    with serve() as d:
        admin = Admin(d)
        id = admin("POST", UPLOADS, {"size": len(file), "name": "noble", "file_name": "noble.img"})["id"]

        for _ in admin.send_half(id, file[:part], 0):
            pass  # and the line is cut
        assert admin.offset(id) == part

        for _ in admin.send_half(id, file[part : 2 * part], part):
            os.kill(eventually(lambda: d.pids["web"]), signal.SIGKILL)
        assert admin.offset(id) == 2 * part

        state = d.state_dir
        os.kill(d.process.pid, signal.SIGKILL)
        d.process.wait(10)

    with serve() as d:
        admin = Admin(d)
        assert admin.offset(id) == 2 * part
        admin("PATCH", f"{UPLOADS}/{id}", file[2 * part :], **{"Upload-Offset": str(2 * part)})
        admin("POST", f"{UPLOADS}/{id}/finish")
        done = eventually(lambda: finished(admin, id))

        assert (done["state"], done["error"]) == ("done", None)
        assert "noble" in [image["name"] for image in admin("GET", "/api/v1/images")["items"]]
        with Initiator(d.iscsi) as initiator:
            initiator.login(d.target("image.noble"))
            initiator.settle()
            assert initiator.read(0, 2048) == data[:MIB]
        assert sorted(p.name for p in (state / "uploads").iterdir()) == []


def finished(admin, id):
    said = admin("GET", f"/api/v1/imports/{id}")
    return said if said["state"] in ("done", "failed") else None
