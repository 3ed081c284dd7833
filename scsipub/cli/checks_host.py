"""What the machine must bring: a file system that keeps its word, room, descriptors, memory, a clock.

Each check takes what it looks at as an argument and returns findings; none changes anything that stays."""

import os
import resource
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from scsipub.cli.findings import Finding, bad, note, ok
from scsipub.cli.show import size
from scsipub.config import SETTINGS, Config
from scsipub.storage.hostfs import Mount, doubts, mount_of

# File systems by what they do to a disk's promises.
_FORGETFUL = {"tmpfs", "ramfs"}
_UNFIT = {"vfat", "exfat", "ntfs", "ntfs3"}
# Ten thousand sessions on two workers are 5,000 sockets each, and a disk that was written has two files.
_WANTED_FDS = 16384
# A worker with its libraries, and 16 KiB for each of a thousand sessions.
_WANTED_MEMORY = 128 * 1024 * 1024
# 2025-01-01: the first day that any version of this program can have seen.
_FIRST_DAY = 1735689600


def check_state_dir(state_dir: Path) -> Iterator[Finding]:
    """Ours, private, on a file system that can do what overlays need."""
    subject = "state directory"
    if not state_dir.exists():
        parent = next(folder for folder in state_dir.parents if folder.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok(subject, f"{state_dir} will be created by the first `scsipub serve`")
        else:
            yield bad(
                subject, f"{state_dir} cannot be created in {parent}", "Choose another with --state-dir."
            )
        return
    if not state_dir.is_dir():
        yield bad(subject, f"{state_dir} is not a folder", "Choose another with --state-dir.")
        return
    facts = state_dir.stat()
    if facts.st_uid != os.geteuid():
        yield bad(
            subject,
            f"{state_dir} belongs to user {facts.st_uid}, and we are {os.geteuid()}",
            f"chown -R {os.geteuid()} {state_dir}, or be that user.",
        )
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield bad(subject, f"{state_dir} can be written by others", f"chmod 700 {state_dir}")
    yield from _check_file_system(state_dir, Path("/proc/self/mountinfo").read_text())


def _check_file_system(state_dir: Path, mountinfo: str) -> Iterator[Finding]:
    subject = "file system"
    mount = mount_of(mountinfo, str(state_dir.resolve()))
    kind = mount.type if mount is not None else "unknown"
    try:
        with tempfile.TemporaryFile(dir=state_dir) as probe:
            os.ftruncate(probe.fileno(), 64 << 20)
            os.pwrite(probe.fileno(), b"x", 32 << 20)
            sparse = os.fstat(probe.fileno()).st_blocks * 512 < 32 << 20
    except OSError as error:
        yield bad(subject, f"{state_dir} cannot be written: {error.strerror}", "Make room or choose another.")
        return
    if kind in _UNFIT:
        yield bad(
            subject, f"{kind} does not keep what a disk promises", "Use ext4, xfs or btrfs on a local disk."
        )
    elif not sparse:
        yield bad(
            subject, f"{kind} has no sparse files: every disk takes its whole size", "Use ext4, xfs or btrfs."
        )
    else:
        yield ok(subject, f"{kind}, sparse files work")
    yield from check_promises(mount)


def check_promises(mount: Mount | None) -> Iterator[Finding]:
    """Does a flush there mean what it says?  ``storage.hostfs`` knows."""
    subject = "flushes"
    if mount is None:
        yield note(subject, "it is not known which file system this is", "Look with findmnt.")
        return
    found = doubts(mount)
    for doubt in found:
        if mount.type in _FORGETFUL:
            yield note(subject, doubt, "Fine for trying things out.")
        elif mount.type == "overlay":
            yield note(subject, doubt, "Mount a volume there, if anybody is to rent disks.")
        else:
            yield bad(subject, doubt, "Use ext4, xfs or btrfs on a local disk, with their usual options.")
    if not found:
        yield ok(subject, f"{mount.point} keeps what it promises, as far as its options tell")


def check_space(config: Config) -> Iterator[Finding]:
    """Room for disks above the reserve."""
    folder = next(f for f in (config.state_dir, *config.state_dir.parents) if f.exists())
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    reserve = config.limits.pool_reserve_bytes
    if free < reserve:
        yield bad(
            "free space",
            f"{size(free)} free, and below {size(reserve)} no disposable disk is created",
            "Make room, or lower limits.pool_reserve_bytes.",
        )
    elif free < reserve + 4 * config.limits.overlay_budget_bytes:
        yield note("free space", f"{size(free)} free: a handful of full disks", "Make room soon.")
    else:
        yield ok("free space", f"{size(free)} free, reserve {size(reserve)}")


def check_descriptors(hard_limit: int | None = None) -> Iterator[Finding]:
    """The hard limit counts: the daemon raises its own soft limit to it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if hard_limit is None else hard_limit
    if hard != resource.RLIM_INFINITY and hard < _WANTED_FDS:
        yield note(
            "open files",
            f"at most {hard} per process",
            f"ulimit -n {_WANTED_FDS}, or LimitNOFILE= in systemd.",
        )
    else:
        yield ok("open files", "unlimited" if hard == resource.RLIM_INFINITY else f"up to {hard} per process")


def check_memory(workers: int, meminfo: str) -> Iterator[Finding]:
    """Available memory against what the processes want.  proc(5), meminfo."""
    lines = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    words = lines.get("MemAvailable", "").split()
    if not words:
        yield note("memory", "the kernel does not say how much is available", "Look for yourself.")
        return
    available, wanted = int(words[0]) * 1024, (workers + 2) * _WANTED_MEMORY
    if available < wanted:
        yield note(
            "memory",
            f"{size(available)} available, {workers} workers want {size(wanted)}",
            "Use fewer --workers.",
        )
    else:
        yield ok("memory", f"{size(available)} available")


def check_clock(now: float, state_dir: Path) -> Iterator[Finding]:
    """Not in the past: certificates, the log and the janitor's ages lean on it."""
    if now < _FIRST_DAY:
        yield bad("clock", "it is set before 2025", "Set the clock; install systemd-timesyncd or chrony.")
    elif state_dir.exists() and state_dir.stat().st_mtime > now + 60:
        yield bad(
            "clock", "the state directory was changed in the future", "The clock went back: set it right."
        )
    else:
        yield ok("clock", "plausible")


def check_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """A misspelt variable is ignored by design; here is where one finds out."""
    known = {setting.variable for setting in SETTINGS} | {"SCSIPUB_CONFIG", "SCSIPUB_TRACEBACK"}
    for name in sorted(environ):
        if name.startswith("SCSIPUB_") and name not in known:
            yield note("environment", f"{name} means nothing to us", "Is it misspelt?")


def check_secrets_file(file: Path, config: Config) -> Iterator[Finding]:
    """CHAP secrets in a file that others may read are no secrets."""
    if any(target.users for target in config.targets):
        if file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            yield bad(
                "configuration", f"{file} holds CHAP secrets and others may read it", f"chmod 600 {file}"
            )
        if any(len(user.secret) > 16 for target in config.targets for user in target.users):
            yield note(
                "configuration", "a CHAP secret has more than 16 characters", "Windows will not take it."
            )
