"""scsipub/confine.py: in processes of their own, since there is no way back."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from scsipub import confine

ROOT = Path(__file__).parent.parent
ABLE = confine.version()

BEGIN = """
import errno, json, os, socket, sys
from pathlib import Path
from scsipub.confine import confine
place = Path(sys.argv[1])
def may(deed):
    try:
        deed()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "yes"
def read(path): return lambda: open(path, "rb").read()
def make(path): return lambda: open(path, "xb").write(b"new")
"""


@pytest.fixture
def place(tmp_path):
    for name in ("open", "mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(name.encode())
    return tmp_path


def run(place, script):
    """What a process of its own printed."""
    command = [sys.executable, "-c", BEGIN + script, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def confined(place, code):
    """The same, in a process that may read ``open`` and write ``mine``."""
    return run(place, "confine([place / 'open'], [place / 'mine'])\n" + textwrap.dedent(code))


pytestmark = pytest.mark.skipif(not ABLE, reason="this kernel has no Landlock")


def test_it_reaches_what_it_was_left_and_nothing_else(place):
    found = confined(
        place,
        """
        print(json.dumps([may(read(place / name / "file")) for name in ("open", "mine", "theirs")]))
        """,
    )

    assert found == ["yes", "yes", "EACCES"]


def test_files_are_made_and_removed_only_where_it_may_write(place):
    found = confined(
        place,
        """
        made = [may(make(place / name / "new")) for name in ("open", "mine", "theirs")]
        removed = [may(lambda: os.unlink(place / name / "file")) for name in ("open", "mine", "theirs")]
        folders = may(lambda: os.mkdir(place / "mine" / "folder"))
        print(json.dumps([made, removed, folders]))
        """,
    )

    assert found == [["EACCES", "yes", "EACCES"], ["EACCES", "yes", "EACCES"], "EACCES"]


def test_a_descriptor_that_was_opened_before_still_works(place):
    """Which is how a tenant's disk gets to the worker that serves it."""
    script = (
        "before = os.open(place / 'theirs' / 'file', os.O_RDONLY)\n"
        "confine([place / 'open'], [])\n"
        "print(json.dumps(os.pread(before, 9, 0).decode()))\n"
    )

    assert run(place, script) == "theirs"


def test_threads_and_children_are_confined_too(place):
    found = confined(
        place,
        """
        import threading
        said = []
        thread = threading.Thread(target=lambda: said.append(may(read(place / "theirs" / "file"))))
        thread.start(); thread.join()
        print(json.dumps(said))
        """,
    )

    assert found == ["EACCES"]


def test_threads_that_are_there_already_would_go_free_so_it_refuses(place):
    script = (
        "import threading\n"
        "gate = threading.Event()\n"
        "threading.Thread(target=gate.wait, daemon=True).start()\n"
        "try: confine([place], [])\n"
        "except RuntimeError as error: print(json.dumps(str(error)))\n"
    )

    assert "before the first thread" in run(place, script)


@pytest.mark.skipif(ABLE < 4, reason="this kernel's Landlock knows no network")
def test_it_connects_to_nobody(place):
    found = confined(
        place,
        """
        print(json.dumps([
            may(lambda: socket.create_connection(("127.0.0.1", 9), 1)),
            may(lambda: socket.create_server(("127.0.0.1", 0))),
        ]))
        """,
    )

    assert found == ["EACCES", "EACCES"]


def test_a_place_that_is_not_there_is_told(place):
    script = "print(json.dumps(confine([place / 'nowhere', place], []).missing))\n"

    assert run(place, script) == [str(place / "nowhere")]
