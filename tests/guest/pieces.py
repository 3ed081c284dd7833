"""What a guest is made of: Debian packages, found and fetched with apt, nothing installed.

Source: apt-cache(8), apt-get(8), dpkg-deb(1).
Knows the names of the packages and how Debian names what they lean on.  Does not know what becomes of their
files (initramfs.py) nor how a machine is started (machine.py).

Dependencies are followed only into libraries: a guest has neither dpkg nor systemd, so what a package wants
of those is of no use to it.  Whether a library is missing shows when the archive is closed."""

import hashlib
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

# Every program of a guest comes from one of these; a scenario that needs another package adds a row.
PACKAGES = (
    "linux-image-amd64",
    "busybox-static",  # mount, ip, insmod and a hundred more in one static file
    "dash",  # the shell; busybox's own would run busybox's blkdiscard in place of the real one
    "open-iscsi",
    "sg3-utils",
    "e2fsprogs",
    "util-linux",  # blkdiscard
    "fio",
    "xfsprogs",
    "multipath-tools",
    "dmsetup",
    "udev",  # multipathd hears of paths from it
    "fence-agents",  # fence_scsi, of sixty
    "python3.11-minimal",  # which fence_scsi is written in
    "libpython3.11-stdlib",
    "python3-pexpect",
    "python3-ptyprocess",
    "zlib1g",  # the one library here whose package is not called lib...
)

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


class PiecesMissing(Exception):
    """This machine cannot give us what a guest is made of; says what to install or to run."""


@attrs.frozen(order=True)
class Package:
    """One binary package in the version that apt would install."""

    name: str
    version: str

    @property
    def file_name(self) -> str:
        """The name that ``apt-get download`` gives the file, but for the architecture."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_"


def resolve(wanted: Iterable[str] = PACKAGES) -> list[Package]:
    """The wanted packages, the newest kernel, and every library that any of them depends on."""
    found: dict[str, Package] = {}
    seen: set[str] = set()
    level = list(wanted)
    while level:
        seen.update(level)
        following: list[str] = []
        for fields in _records(_apt("apt-cache", "show", "--no-all-versions", *level)):
            package = Package(fields["Package"], fields["Version"])
            found[package.name] = package
            needs = ", ".join(fields.get(field, "") for field in ("Depends", "Pre-Depends"))
            following += [name for name in followed(package.name, needs) if name not in seen]
        level = sorted(set(following))
    missing = [name for name in wanted if name not in found]
    if missing:
        raise PiecesMissing(f"apt knows no {', '.join(missing)}: is this Debian, has apt-get update run?")
    return sorted(found.values())


def followed(package: str, depends: str) -> Iterator[str]:
    """The first alternative of each clause, when it is a library, or the kernel behind a meta package."""
    for clause in depends.split(","):
        match = _NAME.match(clause.strip())
        if match is None:
            continue
        name = match.group()
        if name.startswith("lib") or (package.startswith("linux-image-") and name.startswith("linux-image-")):
            yield name


def key_of(packages: Iterable[Package], *sources: Path) -> str:
    """What the cached pieces are filed under: other versions or other builder code, another key."""
    digest = hashlib.sha256()
    for package in sorted(packages):
        digest.update(f"{package.name}={package.version}\n".encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def fetch(packages: Iterable[Package], into: Path) -> dict[str, Path]:
    """Download what is not there yet; package name to file."""
    into.mkdir(parents=True, exist_ok=True)
    packages = list(packages)
    missing = [package for package in packages if not list(into.glob(package.file_name + "*.deb"))]
    if missing:
        _apt("apt-get", "-q", "download", *(f"{p.name}={p.version}" for p in missing), cwd=into)
    files: dict[str, Path] = {}
    for package in packages:
        there = list(into.glob(package.file_name + "*.deb"))
        if not there:
            raise PiecesMissing(f"apt-get download left no file for {package.name} {package.version}")
        files[package.name] = there[0]
    return files


def members(deb: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every file and symbolic link of a package with its bytes, below one merged ``usr``."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        # Read whole: the kernel's tar is 400 MB, so its members are handed on one at a time, not kept.
        with tarfile.open(fileobj=tar.stdout, mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    continue
                member.name = merged(member.name)
                content = archive.extractfile(member) if member.isreg() else None
                yield member, content.read() if content is not None else b""
    if tar.returncode:
        raise PiecesMissing(f"{deb.name} cannot be unpacked")


def merged(name: str) -> str:
    """``./lib/x`` and ``./usr/lib/x`` are one place since Debian merged them; packages still use both."""
    name = name.removeprefix("./")
    top = name.split("/", 1)[0]
    return f"usr/{name}" if top in {"bin", "sbin", "lib", "lib64"} else name


def _records(text: str) -> Iterator[dict[str, str]]:
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if ": " in line and not line.startswith(" ")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "Package" in fields:
            yield fields


def _apt(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    except FileNotFoundError as error:
        raise PiecesMissing(f"{command[0]} is not here: the guest is built from Debian's packages") from error
    # apt-cache show fails for virtual packages among many; what came back is judged by resolve().
    if done.returncode and command[0] != "apt-cache":
        raise PiecesMissing(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
