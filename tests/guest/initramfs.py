"""From Debian packages to a kernel and an initramfs: which files, in which archive.

Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst (cpio "newc"), x86/boot.rst (payload
of a bzImage), ld.so(8) --list.
Knows the files a guest needs by name; the libraries follow from ld.so, the modules from their own headers.

The kernel is unpacked here and started as ELF (PVH), the archive is left uncompressed: emulated, either
decompression takes longer than all the rest of the boot."""

import fcntl
import functools
import lzma
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from tests.guest import pieces
from tests.guest.pieces import PiecesMissing

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "build" / "guest"

# Programs and data files taken by path; everything else of the packages stays behind.
PROGRAMS = (
    "usr/bin/busybox",
    "usr/bin/dash",
    "usr/bin/fio",
    "usr/bin/sg_*",
    "usr/sbin/blkdiscard",
    "usr/sbin/dumpe2fs",
    "usr/sbin/e2fsck",
    "usr/sbin/iscsi-iname",
    "usr/sbin/iscsiadm",
    "usr/sbin/iscsid",
    "usr/sbin/iscsistart",
    "usr/sbin/mke2fs",
    "usr/sbin/resize2fs",
    # A cluster's: another file system, several paths to one disk, fencing.
    "usr/sbin/mkfs.xfs",
    "usr/sbin/xfs_repair",
    "usr/sbin/multipath",
    "usr/sbin/multipathd",
    "usr/sbin/mpathpersist",
    "usr/lib/multipath/lib*.so",
    "usr/sbin/dmsetup",
    "usr/bin/udevadm",
    "usr/lib/udev/scsi_id",
    "usr/bin/python3.11",
    "usr/sbin/fence_scsi",
    "usr/sbin/fence_mpath",
)
DATA = (
    "etc/iscsi/iscsid.conf",
    "etc/mke2fs.conf",
    "usr/lib/udev/rules.d/*",
    "usr/lib/python3.11/os.py",  # by which Python finds the others
)
# Scripts say which modules of Python they import; these and what they import come along.
PYTHON = "usr/bin/python3.11"
PYTHON_FOLDERS = ("usr/share/fence", "usr/lib/python3/dist-packages", "usr/lib/python3.11")
PYTHON_MODULES = ("ctypes", "fencing", "hashlib", "traceback")
# Files in the archive have no times that a compiled file could be compared with.
COMPILE = """
import py_compile, sys
for spec in [module.__spec__ for module in sys.modules.values() if module.__spec__]:
    print(spec.origin)
    if spec.cached:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        print(py_compile.compile(spec.origin, spec.cached, invalidation_mode=mode))
"""
# What fencing.py imports for other agents than ours, with thirty libraries behind it.
PYCURL = b"class error(Exception): ...\n"

# Loaded at boot, in this order; what they depend on goes before them.  crc32c is asked for by name at run
# time (iscsi_tcp's digests, ext4's metadata checksums), so no module's header mentions it.
MODULES = (
    "crc32c_generic",
    "crc32c-intel",
    "libcrc32c",
    "virtio_pci",
    "virtio_net",
    "9pnet_virtio",
    "9p",
    "sd_mod",
    "sg",
    "iscsi_tcp",
    "ext4",
    "xfs",
    "dm-multipath",
    "dm-service-time",
    "dm-round-robin",
    "scsi_dh_alua",
)
# Everything of ours that decides what the archive holds.
SOURCES = ("pieces.py", "initramfs.py", "init.sh", "guest.sh")
LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"


@attrs.frozen
class Pieces:
    """What QEMU is started with."""

    kernel: Path
    initramfs: Path


@functools.cache
def prepare(cache: Path = CACHE) -> Pieces:
    """Build what is not in the cache.  Safe to call from several processes: one builds, the others wait."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages = pieces.resolve()
        key = pieces.key_of(packages, *(HERE / source for source in SOURCES))
        made = Pieces(cache / key / "vmlinux", cache / key / "initramfs.cpio")
        if made.kernel.exists() and made.initramfs.exists():
            return made
        debs = pieces.fetch(packages, cache / "debs")
        with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as work:
            _build(debs, Path(work))
            _forget(cache, set(debs.values()))
            (Path(work) / "made").rename(cache / key)
        return made


def _forget(cache: Path, debs: set[Path]) -> None:
    """Remove what older versions left behind: 160 MB for each."""
    for made in cache.glob("*/initramfs.cpio"):
        shutil.rmtree(made.parent)
    for deb in set((cache / "debs").iterdir()) - debs:
        deb.unlink()


def _build(debs: Mapping[str, Path], work: Path) -> None:
    root, made = work / "root", work / "made"
    made.mkdir()
    files: dict[str, bytes | Path] = {}
    modules: dict[str, tuple[str, bytes]] = {}
    for name, deb in debs.items():
        for member, content in pieces.members(deb):
            if member.name.startswith("boot/vmlinuz-"):
                (made / "vmlinux").write_bytes(elf_of(content))
            elif member.name.endswith(".ko"):
                modules[module_name(Path(member.name).stem)] = (member.name, content)
            elif name.startswith("linux-image"):
                continue
            else:
                _place(root / member.name, content if not member.issym() else member.linkname, member.mode)
    if not (made / "vmlinux").exists():
        raise PiecesMissing("no package brought a kernel")

    (root / "usr/share/fence/pycurl.py").write_bytes(PYCURL)
    chosen = [path for pattern in (*PROGRAMS, *DATA) for path in _found(root, pattern)]
    chosen += python_files(root)
    for path in (*chosen, *libraries(root, chosen)):
        files[str(path.relative_to(root))] = path
    dependencies = {name: depends_of(content) for name, (_, content) in modules.items()}
    order = load_order([module_name(name) for name in MODULES], dependencies)
    for name in order:
        files[modules[name][0]] = modules[name][1]
    files["guest/modules"] = "".join(f"/{modules[name][0]}\n" for name in order).encode()
    # iscsid looks up who calls, and serves "root" only.
    files["etc/passwd"] = b"root::0:0:root:/root:/bin/sh\n"
    for script in ("init.sh", "guest.sh"):
        files[f"guest/{script}"] = HERE / script
    links = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")}
    links |= {"usr/lib64": "lib/x86_64-linux-gnu", "init": "guest/init.sh", "usr/bin/sh": "dash"}
    links |= {"usr/bin/python3": "python3.11", "usr/lib/systemd/systemd-udevd": "../../bin/udevadm"}
    links |= {f"usr/sbin/{name}": "mke2fs" for name in ("mkfs.ext4", "mkfs.ext3", "mkfs.ext2")}
    links |= {f"usr/sbin/{name}": "e2fsck" for name in ("fsck.ext4", "fsck.ext2")}
    for name in subprocess.check_output([root / "usr/bin/busybox", "--list"], text=True).split():
        if not {f"usr/bin/{name}", f"usr/sbin/{name}"} & (files.keys() | links.keys()):
            links[f"usr/bin/{name}"] = "busybox"
    with (made / "initramfs.cpio").open("wb") as archive:
        for part in cpio(files, links, ("proc", "sys", "dev", "run", "tmp", "own", "shared", "root", "mnt")):
            archive.write(part)


def _place(path: Path, content: bytes | str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.unlink(missing_ok=True)
        path.symlink_to(content)
    else:
        path.write_bytes(content)
        path.chmod(mode & 0o777 | 0o200)


def _found(root: Path, pattern: str) -> list[Path]:
    found = sorted(root.glob(pattern))
    if not found:
        raise PiecesMissing(f"no package brought {pattern}")
    return found


def libraries(root: Path, programs: Iterable[Path]) -> list[Path]:
    """Every shared object that the programs load, and the loader, as these packages' ld.so finds them."""
    loader = root / LOADER
    # A run path names its folder from the root of the guest, which here is not the root: ceph's, for fio.
    path_of_libraries = f"{loader.parent}:{loader.parent}/ceph:{root}/usr/lib"
    found: set[Path] = set()
    for program in programs:
        if program.is_symlink() or program.read_bytes()[:4] != b"\x7fELF":
            continue
        listed = subprocess.run(
            [loader, "--inhibit-cache", "--library-path", path_of_libraries, "--list", program],
            capture_output=True,
            text=True,
        )
        # A static program ends with a code too, but says nothing.
        if listed.stderr.strip():
            raise PiecesMissing(f"{program.name}: {listed.stderr.strip()}")
        for name, path in re.findall(r"(\S+) => (\S+)", listed.stdout):
            # Without this the libraries of the machine we build on would slip in for those that are missing.
            if not Path(path).is_relative_to(root):
                raise PiecesMissing(f"{program.name} wants {name}, which no package brought")
            found.add(Path(path))
            found.add(loader)
    return sorted(found)


def python_files(root: Path) -> list[Path]:
    """What the scripts in Python import, compiled: a guest would take seconds to do that."""
    loader = root / LOADER
    ask = f"import {', '.join(PYTHON_MODULES)}\n{COMPILE}"
    told = subprocess.run(
        [loader, "--inhibit-cache", "--library-path", loader.parent, root / PYTHON, "-S", "-c", ask],
        env={"PYTHONHOME": str(root / "usr"), "PYTHONPATH": ":".join(str(root / f) for f in PYTHON_FOLDERS)},
        capture_output=True,
        text=True,
    )
    if told.returncode:
        raise PiecesMissing(f"the guest's Python does not import what it must: {told.stderr.strip()[-300:]}")
    return sorted({Path(word) for word in told.stdout.split() if word.startswith("/")})


def elf_of(kernel: bytes) -> bytes:
    """The ELF file inside a bzImage compressed with xz, as Debian's are."""
    start = kernel.find(lzma_magic := b"\xfd7zXZ\x00")
    while start >= 0:
        try:
            elf = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(kernel[start:])
        except lzma.LZMAError:
            elf = b""
        if elf.startswith(b"\x7fELF"):
            return elf
        start = kernel.find(lzma_magic, start + 1)
    raise PiecesMissing("the kernel is not compressed with xz: initramfs.elf_of() must learn the new way")


def module_name(name: str) -> str:
    """``crc32c-intel`` and ``crc32c_intel`` are the same module."""
    return name.replace("-", "_")


def depends_of(module: bytes) -> list[str]:
    """The ``depends=`` line of a module's .modinfo section."""
    match = re.search(rb"\x00depends=([^\x00]*)\x00", module)
    return [module_name(name) for name in match.group(1).decode().split(",") if name] if match else []


def load_order(wanted: Iterable[str], depends: Mapping[str, Iterable[str]]) -> list[str]:
    """The wanted modules and all they depend on, each after its own dependencies.

    What is built into the kernel is not in the map and needs no loading."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in order or name not in depends:
            return
        for needed in depends[name]:
            add(needed)
        order.append(name)

    for name in wanted:
        add(name)
    return order


def cpio(
    files: Mapping[str, bytes | Path], links: Mapping[str, str], folders: Iterable[str]
) -> Iterator[bytes]:
    """A newc archive; the same input gives the same bytes (no times, no owners)."""
    every = {str(parent) for name in (*files, *links) for parent in Path(name).parents} | set(folders)
    number = 0
    for folder in sorted(every - {"."}):
        yield from _entry(number := number + 1, folder, stat.S_IFDIR | 0o755, b"")
    for name, content in sorted(files.items()):
        if isinstance(content, Path):
            mode = stat.S_IFREG | content.stat().st_mode & 0o777
            content = content.read_bytes()
        else:
            mode = stat.S_IFREG | 0o644
        yield from _entry(number := number + 1, name, mode, content)
    for name, to in sorted(links.items()):
        yield from _entry(number := number + 1, name, stat.S_IFLNK | 0o777, to.encode())
    yield from _entry(0, "TRAILER!!!", 0, b"")


def _entry(number: int, name: str, mode: int, content: bytes) -> Iterator[bytes]:
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\x00"
    yield header + bytes(-len(header) % 4)
    yield content + bytes(-len(content) % 4)
