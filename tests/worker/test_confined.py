"""The worker of a running daemon: what it could reach if a stranger had taken it over.

The real command line of a real worker, with a stranger's code in the place of its own."""

from pathlib import Path

import pytest

from scsipub.confine import version
from tests.support.daemon import daemon
from tests.support.renting import MIB, rent
from tests.support.taken_over import reached


@pytest.mark.wire
@pytest.mark.skipif(not version(), reason="this kernel has no Landlock")
def test_a_worker_that_is_taken_over_reaches_images_and_no_tenant_s_disk_and_no_secret(tmp_path):
    with daemon(tmp_path / "state", "--workers", "1") as d:
        [pid] = d.endpoints["pids"]["workers"]
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
        state = d.state_dir
        rent(d, MIB)
        [disk] = (state / "overlays").glob("t-*.data")
        places = {
            "an image": (state / "images" / "readme.img", "rb"),
            "an image, to change it": (state / "images" / "readme.img", "ab"),
            "a new overlay": (state / "overlays" / "disposable" / "d-stranger-0.data", "xb"),
            "the database": (state / "scsipub.db", "rb"),
            "the keys": (state / "keys" / "1.key", "rb"),
            "the admin token": (state / "admin.token", "rb"),
            "passwords": ("/etc/passwd", "rb"),
            "a tenant's disk": (disk, "rb"),
            "a tenant's disk, to change it": (disk, "r+b"),
            "the map of it": (disk.with_suffix(".map"), "rb"),
        }
        after = words[words.index("worker") + 1 :]

        assert reached("scsipub.worker.main", after, places) == {"an image", "a new overlay"}
