"""Uploads over HTTP: announced, sent in any pieces, taken up again, and made into images."""

import fcntl
import hashlib
import http.server
import io
import os
import threading
from pathlib import Path

import attrs
import pytest
import trio

from scsipub.control.imports import Imports
from tests.support.qcow2 import Qcow2

UPLOADS = "/api/v1/images/uploads"
FILE = bytes(Qcow2({1: b"data" * 1024}).bytes())
INSIDE = bytes(4096) + b"data" * 1024 + bytes(62 * 4096)


@pytest.fixture
async def desk(site, nursery):
    """``site`` with imports at work; ``send``, ``announce`` and ``outcome`` with the admin's token."""
    control = site.house.control
    control.free_bytes = lambda: 1 << 40
    await nursery.start(control.imports.run)

    async def announce(data=FILE, status=201, **more):
        order = {"size": len(data), "file_name": "disk.qcow2"} | more
        answer = await site.post(UPLOADS, json=order, headers=site.admin)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def send(id, data, offset=0, **headers):
        headers = {**site.admin, "Upload-Offset": str(offset), **headers}
        return await site.request("PATCH", f"{UPLOADS}/{id}", content=data, headers=headers)

    async def outcome(id):
        with trio.fail_after(60):
            while True:
                said = (await site.get(f"/api/v1/imports/{id}", headers=site.admin)).json()
                if said["state"] in ("done", "failed"):
                    return said
                await trio.sleep(0.02)

    async def finish(id):
        return await site.post(f"{UPLOADS}/{id}/finish", headers=site.admin)

    def left():
        state = control.config.state_dir
        folders = [folder for folder in (state / "uploads", state / "images") if folder.exists()]
        return sorted(file.name for folder in folders for file in folder.iterdir())

    site.announce, site.send, site.outcome, site.finish, site.left = announce, send, outcome, finish, left
    return site


async def test_a_file_that_is_sent_becomes_an_image(desk):
    made = await desk.announce(sha256=hashlib.sha256(FILE).hexdigest())
    assert (made["name"], made["format"], made["compression"], made["offset"]) == ("disk", "qcow2", "none", 0)

    sent = await desk.send(made["id"], FILE)
    assert (sent.status_code, sent.headers["upload-offset"]) == (204, str(len(FILE)))
    finished = await desk.finish(made["id"])
    assert (finished.status_code, finished.json()["id"]) == (202, made["id"])

    done = await desk.outcome(made["id"])
    assert (done["state"], done["error"], done["bytes_out"]) == ("done", None, len(INSIDE))
    assert done["bytes_in"] == done["bytes_total"]
    [image] = (await desk.get("/api/v1/images")).json()["items"]
    assert image["sha256"] == hashlib.sha256(INSIDE).hexdigest()
    assert desk.left() == ["disk.img", "disk.json"]


async def test_pieces_are_put_together_and_head_says_where_to_go_on(desk):
    made = await desk.announce()
    for start in range(0, len(FILE), 5000):
        where = await desk.request("HEAD", f"{UPLOADS}/{made['id']}", headers=desk.admin)
        assert (int(where.headers["upload-offset"]), where.content) == (start, b"")
        assert where.headers["upload-length"] == str(len(FILE))
        await desk.send(made["id"], FILE[start : start + 5000], start)

    await desk.finish(made["id"])

    assert (await desk.outcome(made["id"]))["state"] == "done"


async def test_a_sender_that_breaks_off_goes_on_from_what_came(desk):
    made = await desk.announce()
    coming = [
        {"type": "http.request", "body": FILE[:3000], "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = {**desk.admin, "Upload-Offset": "0"}
    scope = {
        "type": "http",
        "method": "PATCH",
        "path": f"{UPLOADS}/{made['id']}",
        "raw_path": b"",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("disks.example.org", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }

    async def receive():
        return coming.pop(0)

    async def send(message):
        pass

    await desk.app(scope, receive, send)
    shown = await desk.get(f"{UPLOADS}/{made['id']}", headers=desk.admin)

    assert shown.json()["offset"] == 3000
    assert (await desk.send(made["id"], FILE[3000:], 3000)).status_code == 204


async def test_an_upload_outlives_the_daemon(desk, nursery):
    made = await desk.announce()
    await desk.send(made["id"], FILE[:3000])

    control = desk.house.control
    control.imports = again = Imports(control)
    await nursery.start(again.run)

    job = again.known[made["id"]]
    assert (again.uploads.offset(made["id"]), job.state, job.record.size) == (3000, "uploading", len(FILE))


async def test_an_import_that_was_under_way_is_taken_up_again(desk, nursery):
    made = await desk.announce()
    await desk.send(made["id"], FILE)
    control = desk.house.control
    control.imports._start = lambda job: None  # the daemon dies just then, and the converter with it
    images = control.config.images_dir
    (images / ".incoming-0123").write_bytes(b"half")
    control.imports.finish(control.imports.find(made["id"]))

    again = Imports(control)
    await nursery.start(again.run)

    with trio.fail_after(30):
        while not again.known[made["id"]].over:
            await trio.sleep(0.02)
    assert again.known[made["id"]].record.format == "qcow2"
    assert desk.left() == ["disk.img", "disk.json"]


async def test_another_offset_than_the_one_that_is_due_is_refused(desk):
    made = await desk.announce()
    await desk.send(made["id"], FILE[:3000])

    for offset in (0, 1, 2999, 3001, 1 << 40):
        refused = await desk.send(made["id"], b"x", offset)
        assert (refused.status_code, refused.headers["upload-offset"]) == (409, "3000")


async def test_more_than_was_announced_is_refused_and_not_kept(desk):
    made = await desk.announce()

    refused = await desk.send(made["id"], FILE + b"x")

    assert refused.status_code == 413
    assert int(refused.headers["upload-offset"]) <= len(FILE)


async def test_two_senders_at_once_do_not_mix(desk):
    made = await desk.announce()
    fd = desk.house.control.imports.uploads.open_to_write(made["id"])
    fcntl.flock(fd, fcntl.LOCK_EX)  # what a sender has

    assert (await desk.send(made["id"], b"x")).status_code == 409
    assert (await desk.finish(made["id"])).status_code == 409
    os.close(fd)
    assert (await desk.send(made["id"], b"x")).status_code == 204


async def test_half_an_upload_cannot_be_finished(desk):
    made = await desk.announce()
    await desk.send(made["id"], FILE[:-1])

    refused = await desk.finish(made["id"])

    assert refused.status_code == 409
    assert f"{len(FILE) - 1} of {len(FILE)} bytes" in refused.json()["detail"]


async def test_a_file_that_is_refused_says_why_and_leaves_nothing(desk):
    data = bytes(Qcow2({}, header={"crypt": 2}).bytes())
    made = await desk.announce(data)
    await desk.send(made["id"], data)
    await desk.finish(made["id"])

    failed = await desk.outcome(made["id"])

    assert failed["state"] == "failed"
    assert "encrypted" in failed["error"]
    assert desk.left() == []


async def test_a_file_with_another_hash_leaves_nothing(desk):
    made = await desk.announce(sha256="0" * 64)
    await desk.send(made["id"], FILE)
    await desk.finish(made["id"])

    assert "hashes to" in (await desk.outcome(made["id"]))["error"]
    assert desk.left() == []


async def test_what_is_given_up_leaves_nothing(desk):
    """At 99 %, too."""
    made = await desk.announce()
    await desk.send(made["id"], FILE[:-1])

    gone = await desk.delete(f"{UPLOADS}/{made['id']}", headers=desk.admin)

    assert gone.status_code == 204
    assert desk.left() == []
    assert (await desk.send(made["id"], b"x")).status_code == 404


async def test_an_import_that_is_stopped_leaves_nothing(desk):
    huge = bytes(Qcow2({}, bits=16, size=200 << 30, header={"l1_size": 400}).bytes())
    made = await desk.announce(huge)
    await desk.send(made["id"], huge)
    await desk.finish(made["id"])
    with trio.fail_after(30):
        while (await desk.get(f"/api/v1/imports/{made['id']}", headers=desk.admin)).json()["doing"] == "":
            await trio.sleep(0.02)

    await desk.delete(f"/api/v1/imports/{made['id']}", headers=desk.admin)

    with trio.fail_after(30):
        while desk.left():
            await trio.sleep(0.02)
    assert (await desk.get("/api/v1/imports", headers=desk.admin)).json() == {"items": []}


NONSENSE = [
    ({"size": 0}, 400),
    ({"size": 1 << 55}, 409),
    ({"name": "../../x"}, 400),
    ({"name": "a\0b"}, 400),
    ({"file_name": "x" * 4096}, 400),
    ({"file_name": "…", "name": None}, 409),
    ({"file_name": "disk.vdi"}, 409),
    ({"format": "vdi"}, 400),
    ({"compression": "zip"}, 400),
    ({"sha256": "0"}, 400),
    ({"path": "/etc/passwd"}, 400),
]


async def test_orders_that_make_no_sense_are_refused_and_leave_nothing(desk):
    """Names, and lengths that lie."""
    for order, status in NONSENSE:
        await desk.announce(status=status, **order)

    assert desk.left() == []


async def test_a_name_that_is_taken_or_on_its_way_is_refused(desk):
    desk.house.control.catalogue.store.add(io.BytesIO(b"x"), "there")
    await desk.announce(name="there", status=409)
    await desk.announce(name="coming")

    await desk.announce(name="coming", status=409)


async def test_only_so_many_at_once_and_only_as_much_as_there_is_room_for(desk):
    limits = desk.house.control.config.limits
    for number in range(limits.uploads):
        await desk.announce(name=f"n{number}")
    await desk.announce(name="last", status=429)

    desk.house.control.imports.known.clear()
    desk.house.control.free_bytes = lambda: limits.pool_reserve_bytes + 3 * len(FILE) // 2
    await desk.announce(name="fits")
    await desk.announce(name="fits-not", status=409)


async def test_tenants_bring_no_images(desk, town):
    made = await desk.announce()
    for method, path in (
        ("GET", UPLOADS),
        ("GET", f"{UPLOADS}/{made['id']}"),
        ("POST", f"{UPLOADS}/{made['id']}/finish"),
        ("DELETE", f"{UPLOADS}/{made['id']}"),
        ("GET", "/api/v1/imports"),
        ("GET", f"/api/v1/imports/{made['id']}"),
        ("DELETE", f"/api/v1/imports/{made['id']}"),
    ):
        seen = 404 if made["id"] in path else 403
        assert (await desk.request(method, path, headers=town.ada.headers)).status_code == seen
        assert (await desk.request(method, path)).status_code == 401
    headers = {**town.ada.headers, "Upload-Offset": "0"}
    sent = await desk.request("PATCH", f"{UPLOADS}/{made['id']}", content=b"x", headers=headers)
    assert sent.status_code == 404


async def test_an_upload_that_stopped_a_day_ago_is_swept_a_newer_one_is_not(desk, tmp_path):
    old, new = await desk.announce(name="old"), await desk.announce(name="new")
    imports = desk.house.control.imports
    os.utime(imports.uploads.part(old["id"]), (0, 0))
    (tmp_path / "state" / "uploads" / "stray.part").write_bytes(b"?")

    await imports.sweep()

    assert list(imports.known) == [new["id"]]
    assert desk.left() == [f"{new['id']}.json", f"{new['id']}.part"]


async def test_a_raw_image_stays_raw_whatever_it_begins_with(desk):
    """The order says what it is; nobody looks at the bytes again."""
    made = await desk.announce(FILE, format="raw")
    await desk.send(made["id"], FILE)
    await desk.finish(made["id"])

    assert (await desk.outcome(made["id"]))["state"] == "done"
    store = desk.house.control.catalogue.store
    assert Path(store.path("disk")).read_bytes() == FILE
    assert store.get("disk").format == "raw"


class Files(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(FILE)))
        self.end_headers()
        self.wfile.write(FILE)

    def log_message(self, *words):
        pass


@pytest.fixture
def web():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_an_image_is_fetched_from_an_address_and_its_secrets_are_not_shown(desk, web):
    control = desk.house.control
    control.config = attrs.evolve(control.config, fetch_private=True)

    made = await desk.post(
        "/api/v1/imports", json={"url": f"{web}/a/noble.img?token=secret"}, headers=desk.admin
    )
    assert made.status_code == 202
    done = await desk.outcome(made.json()["id"])

    assert (done["name"], done["state"], done["source"]) == ("noble", "done", f"{web}/a/noble.img")
    assert control.catalogue.store.get("noble").format == "qcow2"
    assert desk.left() == ["noble.img", "noble.json"]


async def test_nothing_inside_is_fetched_unless_the_operator_has_allowed_it(desk, web):
    """Whoever has the token is not to look around in the machine's own network."""
    for url in (f"{web}/noble.img", "http://[::ffff:127.0.0.1]/x", "http://169.254.169.254/latest/meta-data"):
        made = await desk.post("/api/v1/imports", json={"url": url, "name": "x"}, headers=desk.admin)
        failed = await desk.outcome(made.json()["id"])
        assert "not fetched from" in failed["error"]
    assert desk.left() == []


async def test_an_address_that_is_none_is_refused_at_once(desk):
    for url, status in (
        ("file:///etc/passwd", 400),
        ("ftp://x/y", 400),
        ("https://]", 409),
        ("http://h/", 409),
    ):
        made = await desk.post("/api/v1/imports", json={"url": url}, headers=desk.admin)
        assert made.status_code == status, made.text
    assert desk.left() == []
