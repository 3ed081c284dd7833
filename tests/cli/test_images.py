"""``scsipub image``: from a file, a pipe or the web, with a daemon and without."""

import gzip
import hashlib
import http.server
import json
import threading

import pytest
from click.testing import CliRunner

from scsipub.cli import cli
from scsipub.storage.images import ImageStore
from supervisor.channel import CallError
from tests.support.control import control
from tests.support.qcow2 import Qcow2

DISK = bytes(range(256)) * 16  # 4 KiB


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def run(state):
    def run_command(*words: str, stdin: bytes = b""):
        return CliRunner().invoke(
            cli, ["image", *words, "--state-dir", str(state)], input=stdin, catch_exceptions=False
        )

    return run_command


@pytest.fixture
def kept(state):
    """The names and contents that are there now."""
    return lambda: {
        image.name: (state / "images" / f"{image.name}.img").read_bytes()
        for image in ImageStore(state / "images").images()
    }


def test_a_file_becomes_an_image_of_its_name(run, kept, tmp_path):
    file = tmp_path / "My Disk.img"
    file.write_bytes(DISK)

    added = run("add", str(file))

    assert added.exit_code == 0
    assert hashlib.sha256(DISK).hexdigest() in added.stdout
    assert "The next `scsipub serve` offers it as iqn.2025-01.pub.scsipub:image.my-disk" in added.stdout
    assert kept() == {"my-disk": DISK}


def test_what_a_killed_command_left_goes_with_the_next(run, state, tmp_path):
    (state / "images").mkdir()
    (state / "images" / ".incoming-0123").write_bytes(b"half")
    (tmp_path / "a.raw").write_bytes(DISK)

    run("add", str(tmp_path / "a.raw"))

    assert sorted(file.name for file in (state / "images").iterdir()) == ["a.img", "a.json"]


def test_a_running_daemon_is_told(run, state, tmp_path):
    (tmp_path / "a.raw").write_bytes(DISK)

    with control(state, {"image.adopt": lambda params: {}}) as asked:
        added = json.loads(run("add", str(tmp_path / "a.raw"), "--json").stdout)

    assert asked == [("image.adopt", {"name": "a"})]
    assert added["offered"] is True
    assert added["bytes"] == len(DISK)
    assert added["target"] == "iqn.2025-01.pub.scsipub:image.a"


def test_standard_input_needs_a_name_and_says_what_it_is(run, kept):
    assert "Give it one with --name" in run("add", "-", stdin=DISK).stderr

    packed = run("add", "-", "--name", "piped", "--compression", "gz", stdin=gzip.compress(DISK))

    assert packed.exit_code == 0
    assert kept() == {"piped": DISK}


def test_what_the_publisher_hashed_is_the_file_as_published(run, kept, tmp_path):
    file = tmp_path / "disk.img.gz"
    file.write_bytes(gzip.compress(DISK))
    published = hashlib.sha256(file.read_bytes()).hexdigest()

    assert run("add", str(file), "--sha256", published.upper()).exit_code == 0
    assert kept() == {"disk": DISK}


@pytest.mark.parametrize("name", ["disk.img", "disk.img.gz"])
def test_a_file_with_another_hash_is_not_kept(run, kept, state, tmp_path, name):
    file = tmp_path / name
    file.write_bytes(gzip.compress(DISK) if name.endswith("gz") else DISK)

    refused = run("add", str(file), "--sha256", "0" * 64)

    assert refused.exit_code == 1
    assert "hashes to" in refused.stderr
    assert kept() == {}
    assert [file.name for file in (state / "images").iterdir()] == []


@pytest.mark.parametrize("digest", ["", "0" * 63, "g" * 64])
def test_what_is_no_hash_is_refused_before_anything_is_read(run, digest):
    assert "64 hexadecimal digits" in run("add", "/nonexistent.img", "--sha256", digest).stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/nonexistent.img", "No such file"),
        ("ftp://example.org/a.img", "is not fetched here"),
        ("file:///etc/passwd", "is not fetched here"),
        ("http://127.0.0.1:1/a.img", "cannot be fetched"),
        ("https://]/a.img", "no address"),
        ("disk.vdi", "qemu-img convert"),
    ],
)
def test_a_source_that_cannot_be_had_is_told_in_words(run, source, said):
    refused = run("add", source)

    assert refused.exit_code == 1
    assert said in refused.stderr


def test_a_foreign_format_may_be_declared_raw(run, kept, tmp_path):
    file = tmp_path / "disk.qcow2"
    file.write_bytes(DISK)

    assert run("add", str(file), "--format", "raw", "--name", "q").exit_code == 0
    assert kept() == {"q": DISK}


@pytest.mark.parametrize("name", ["disk.qcow2", "disk.img", "disk.qcow2.gz", "disk.img.gz"])
def test_a_qcow2_file_becomes_what_is_inside_whether_its_name_says_so_or_not(
    run, kept, state, tmp_path, name
):
    file = bytes(Qcow2({3: DISK}).bytes())
    (tmp_path / name).write_bytes(gzip.compress(file) if name.endswith("gz") else file)
    published = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()

    for words in ((), ("--name", "checked", "--sha256", published)):
        added = json.loads(run("import", str(tmp_path / name), *words, "--json").stdout)
        assert added["format"] == "qcow2"

    image = bytes(3 * 4096) + DISK + bytes(60 * 4096)
    assert kept() == {"disk": image, "checked": image}
    assert json.loads(run("list", "--json").stdout)[0]["source"] == str(tmp_path / name)


@pytest.mark.parametrize("name", ["disk.raw", "disk.iso"])
def test_what_is_declared_raw_stays_raw_whatever_its_first_bytes_are(run, kept, tmp_path, name):
    file = bytes(Qcow2({3: DISK}).bytes())
    (tmp_path / name).write_bytes(file)

    run("add", str(tmp_path / name))
    run("add", str(tmp_path / name), "--name", "declared", "--format", "raw")

    assert kept() == {"disk": file, "declared": file}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (Qcow2({}, header={"size": 1 << 62}).bytes(), "larger than the"),
        (Qcow2({}, header={"crypt": 1}).bytes(), "encrypted"),
        (Qcow2({0: DISK}).bytes()[:-1], "outside the file"),
        (Qcow2({0: DISK, 1: DISK}, packed=True).bytes()[:-512], "outside the file"),
        (b"no qcow2 at all", "not a qcow2 file"),
    ],
)
def test_a_qcow2_file_that_is_refused_leaves_nothing(run, kept, state, tmp_path, file, said):
    for name, data in (("disk.qcow2", file), ("disk.qcow2.gz", gzip.compress(file))):
        (tmp_path / name).write_bytes(data)
        refused = run("add", str(tmp_path / name))
        assert refused.exit_code == 1
        assert said in refused.stderr

    assert [file.name for file in (state / "images").iterdir()] == []


class Web(http.server.BaseHTTPRequestHandler):
    """/disk.img is whole, /cut.img ends early, /moved.img is elsewhere."""

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/moved.img":
            self.send_response(302)
            self.send_header("Location", "/disk.img")
            self.end_headers()
        elif path in ("/disk.img", "/cut.img"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(DISK)))
            self.end_headers()
            self.wfile.write(DISK if path == "/disk.img" else DISK[:100])
        else:
            self.send_error(404)

    def log_message(self, *words):
        pass


@pytest.fixture
def web():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_image_is_fetched_from_the_web_also_through_a_redirect(run, kept, web):
    assert run("add", f"{web}/disk.img?token=x").exit_code == 0
    assert run("add", f"{web}/moved.img").exit_code == 0

    assert kept() == {"disk": DISK, "moved": DISK}


def test_a_download_that_breaks_off_is_not_kept(run, kept, web):
    refused = run("add", f"{web}/cut.img")

    assert f"ended {len(DISK) - 100} bytes early" in refused.stderr
    assert kept() == {}


def test_an_address_that_leads_nowhere_is_said_to(run, web):
    assert "answered with 404" in run("add", f"{web}/none.img").stderr


def test_the_list_comes_from_the_daemon_or_without_one_from_the_folder(run, state, tmp_path):
    (tmp_path / "a.raw").write_bytes(DISK)
    run("add", str(tmp_path / "a.raw"))

    assert "4 KiB" in run("list").output
    assert [image["name"] for image in json.loads(run("list", "--json").stdout)] == ["a"]
    with control(state, {"image.list": lambda params: [{"name": "from-the-daemon", "bytes": 1024}]}):
        assert "from-the-daemon" in run("list").output


def test_no_images_is_said_so(run):
    assert "scsipub image add FILE" in run("list").output


def test_an_image_is_removed_by_the_daemon_or_without_one_from_the_folder(run, kept, state, tmp_path):
    (tmp_path / "a.raw").write_bytes(DISK)
    run("add", str(tmp_path / "a.raw"))

    with control(state, {"image.remove": lambda params: {}}) as asked:
        assert run("remove", "a").exit_code == 0
    assert asked == [("image.remove", {"name": "a"})]
    assert kept() == {"a": DISK}  # the daemon of this test removes nothing

    assert run("remove", "a").exit_code == 0
    assert kept() == {}
    assert "There is no image" in run("remove", "a").stderr


def test_a_daemon_that_refuses_is_quoted(run, state):
    def in_use(params):
        raise CallError("in_use", "The image a is used by 2 sessions.")

    with control(state, {"image.remove": in_use}):
        assert "used by 2 sessions" in run("remove", "a").stderr
