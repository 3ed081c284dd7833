"""Which file systems may carry disks that last."""

import pathlib

import pytest

from scsipub.storage.hostfs import Mount, doubts, mount_of

MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 254:1 / /srv rw,relatime - xfs /dev/vdb rw
29 28 0:40 / /srv/with\\040blank rw - nfs4 host:/x rw,vers=4.2
30 27 0:41 / /srv2 rw - tmpfs tmpfs rw
31 28 0:42 / /srv/over rw - ext4 /dev/vdc rw,data=writeback
32 31 0:43 / /srv/over ro - btrfs /dev/vdd rw
nonsense
"""


@pytest.mark.parametrize(
    ("directory", "type"),
    [
        ("/var/lib/scsipub", "ext4"),
        ("/srv", "xfs"),
        ("/srv/state", "xfs"),
        ("/srv/with blank/state", "nfs4"),
        ("/srv2", "tmpfs"),
        ("/srv22", "ext4"),
        ("/srv/over/x", "btrfs"),  # mounted over the other
    ],
)
def test_the_deepest_and_last_mount_counts(directory: str, type: str) -> None:
    mount = mount_of(MOUNTINFO, directory)

    assert mount is not None
    assert mount.type == type


def test_this_machine_has_a_mount_for_this_file() -> None:
    text = pathlib.Path("/proc/self/mountinfo").read_text()

    assert mount_of(text, str(pathlib.Path(__file__).resolve().parent)) is not None
    assert mount_of("", "/") is None


@pytest.mark.parametrize(
    ("type", "options", "word"),
    [
        ("tmpfs", "rw", "restart"),
        ("overlay", "rw", "overlay"),
        ("nfs4", "rw", "another machine"),
        ("fuse.sshfs", "rw", "another machine"),
        ("ext4", "data=writeback", "writeback"),
        ("ext4", "barrier=0", "barriers"),
        ("xfs", "nobarrier", "barriers"),
        ("xfs", "ro", "read-only"),
    ],
)
def test_a_doubtful_mount_says_why(type: str, options: str, word: str) -> None:
    (said,) = doubts(Mount("/x", type, frozenset(options.split(","))))

    assert word in said
    assert "/x" in said


@pytest.mark.parametrize("type", ["ext4", "xfs", "btrfs", "zfs", "fuseblk"])
def test_a_good_mount_says_nothing(type: str) -> None:
    assert doubts(Mount("/x", type, frozenset({"rw", "relatime", "data=ordered"}))) == []
