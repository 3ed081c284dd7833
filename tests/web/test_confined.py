"""The web process, had a stranger taken it over: its own pages, and nothing of anybody's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scsipub.confine import version

ROOT = Path(__file__).parents[2]
STRANGER = """
import json, sys
import trio
import scsipub.web.process as web

def taken_over(serve, channel_fd):
    def may(path, how):
        try:
            with open(path, how):
                return True
        except OSError:
            return False
    print(json.dumps([name for name, (path, how) in json.loads(sys.argv[1]).items() if may(path, how)]))

web.step_back = lambda: None
trio.run = taken_over
web.main(["--channel-fd", "0"])
"""


@pytest.mark.skipif(not version(), reason="this kernel has no Landlock")
def test_a_web_process_that_is_taken_over_reads_its_pages_and_nothing_else(tmp_path):
    (tmp_path / "admin.token").write_text("secret")
    places = {
        "a page": (ROOT / "scsipub" / "web" / "templates" / "base.html", "rb"),
        "the admin token": (tmp_path / "admin.token", "rb"),
        "a file of its own": (tmp_path / "new", "xb"),
        "passwords": ("/etc/passwd", "rb"),
    }
    told = json.dumps({name: (str(path), how) for name, (path, how) in places.items()})

    done = subprocess.run(
        [sys.executable, "-c", STRANGER, told], capture_output=True, text=True, timeout=60, cwd=ROOT
    )

    assert json.loads(done.stdout) == ["a page"], done.stderr
