"""The web process, had a stranger taken it over: its own pages, and nothing of anybody's."""

import pytest

from scsipub.confine import version
from tests.support.daemon import REPOSITORY
from tests.support.taken_over import reached


@pytest.mark.skipif(not version(), reason="this kernel has no Landlock")
def test_a_web_process_that_is_taken_over_reads_its_pages_and_nothing_else(tmp_path):
    (tmp_path / "admin.token").write_text("secret")
    places = {
        "a page": (REPOSITORY / "scsipub" / "web" / "templates" / "base.html", "rb"),
        "the admin token": (tmp_path / "admin.token", "rb"),
        "a file of its own": (tmp_path / "new", "xb"),
        "passwords": ("/etc/passwd", "rb"),
    }

    assert reached("scsipub.web.process", ["--channel-fd", "0"], places) == {"a page"}
