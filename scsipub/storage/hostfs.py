"""Which file systems may carry disks that last, and which only pretend.

Pure: reads the text of ``/proc/self/mountinfo`` (proc(5)), and gives sentences for the operator."""

import os
import re

import attrs

_NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|9p|ceph|glusterfs|afs|fuse(\..+)?|virtiofs")
_OCTAL = re.compile(r"\\([0-7]{3})")


@attrs.frozen
class Mount:
    """Where a directory lies."""

    point: str
    type: str
    options: frozenset[str]


def mount_of(mountinfo: str, directory: str) -> Mount | None:
    """Find the mount that a directory, given by its real path, is on: the last of the deepest ones."""
    best: Mount | None = None
    for line in mountinfo.splitlines():
        before, found, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if not found or len(fields) < 6 or len(tail) < 3:
            continue
        point = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = directory == point or directory.startswith(os.path.join(point, ""))
        if inside and (best is None or len(point) >= len(best.point)):
            best = Mount(point, tail[0], frozenset([*fields[5].split(","), *tail[2].split(",")]))
    return best


def doubts(mount: Mount) -> list[str]:
    """Why a flush on this mount may promise more than it keeps; empty for a good one."""
    found = []
    if mount.type in ("tmpfs", "ramfs"):
        found.append(
            f"{mount.point} is {mount.type}: disks that last would not survive a restart of the machine"
        )
    if mount.type == "overlay":
        found.append(f"{mount.point} is an overlay file system: flushes may be ignored, and files copied up")
    if _NETWORK.fullmatch(mount.type):
        found.append(f"{mount.point} is {mount.type}: locks and flushes depend on another machine")
    if "data=writeback" in mount.options:
        found.append(
            f"{mount.point} is mounted data=writeback: a power failure can show what others wrote before"
        )
    if mount.options & {"nobarrier", "barrier=0"}:
        found.append(f"{mount.point} is mounted without barriers: a flush need not reach the medium")
    if "ro" in mount.options:
        found.append(f"{mount.point} is mounted read-only: nothing can be written")
    return found
