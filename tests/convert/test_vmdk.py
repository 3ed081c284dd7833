"""vmdk: what comes out is what `qemu-img convert` makes of it; what is not whole or not alone is refused."""

import random
import struct
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scsipub.errors import OperatorError

SIZE = 5 * (1 << 20) + 3 * 512


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
    """The raw bytes, and the same as each kind of vmdk file."""
    chance = random.Random(3)
    data = bytearray(SIZE)
    for number in range(30):
        length = chance.choice([1, 511, 4096, 65536, 100_000])
        offset = chance.randrange(SIZE - length)
        data[offset : offset + length] = chance.randbytes(length) if number % 2 else bytes([number]) * length
    data[-3:] = b"end"
    folder = tmp_path_factory.mktemp("vmdk")
    (folder / "disk.raw").write_bytes(data)
    made = {}
    for kind in ("monolithicSparse", "streamOptimized"):
        words = ["-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", "disk.raw", kind]
        subprocess.run(["qemu-img", "convert", *words], cwd=folder, check=True, timeout=60)
        made[kind] = (folder / kind).read_bytes()
    return bytes(data), made


@pytest.mark.parametrize("kind", ["monolithicSparse", "streamOptimized"])
def test_converted_as_qemu_does(disks, tmp_path, convert, kind):
    data, made = disks
    file, out = tmp_path / "d.vmdk", tmp_path / "d.raw"
    file.write_bytes(made[kind])
    subprocess.run(["qemu-img", "convert", "-O", "raw", file, out], check=True, timeout=60)

    done, image = convert(made[kind], None)

    assert image == out.read_bytes() == data
    assert done.format == "vmdk"


@pytest.mark.parametrize("zeroed", ["on", "off"])
def test_grains_of_zeros(tmp_path, convert, zeroed):
    file, out = tmp_path / "d.vmdk", tmp_path / "d.raw"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "vmdk", "-o", f"zeroed_grain={zeroed}", file, "3M"],
        check=True,
        timeout=60,
    )
    commands = ["write -P 5 0 1M", "write -z 64k 256k", "write -P 6 2M 4k"]
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", "vmdk", file, *words], check=True, capture_output=True, timeout=60)
    subprocess.run(["qemu-img", "convert", "-O", "raw", file, out], check=True, timeout=60)

    assert convert(file.read_bytes(), "vmdk")[1] == out.read_bytes()


def plain(disks):
    return bytearray(disks[1]["monolithicSparse"])


def put(file, offset, form, value):
    struct.pack_into("<" + form, file, offset, value)
    return file


def text(file, old, new):
    if old not in file:
        raise LookupError(old)
    return file.replace(old, new.ljust(len(old)))


HOSTILE = {
    "a parent": (lambda f: text(f, b"parentCID=ffffffff", b"parentCID=00000001"), "stands on another file"),
    "the name of a parent": (
        lambda f: text(f, b"# The Disk Data Base", b'parentFileNameHint="/"'[:20]),
        "stands on another file",
    ),
    "several files": (lambda f: text(f, b"monolithicSparse", b"twoGbMaxExtent"), "type 'twogbmaxextent'"),
    "a descriptor only": (lambda f: bytearray(b"# Disk DescriptorFile".ljust(600)), "describes others"),
    "no descriptor": (lambda f: put(f, 36, "Q", 0), "one of several"),
    "an endless descriptor": (lambda f: put(f, 36, "Q", 1 << 50), "one of several"),
    "a descriptor outside": (lambda f: put(f, 28, "Q", 1 << 50), "ends in the middle"),
    "version 9": (lambda f: put(f, 4, "I", 9), "Version 9"),
    "unknown features": (lambda f: put(f, 8, "I", 1 << 30), "features"),
    "8 EiB": (lambda f: put(f, 12, "Q", 1 << 54), "larger than the"),
    "no size": (lambda f: put(f, 12, "Q", 0), "no bytes"),
    "grains of no sectors": (lambda f: put(f, 20, "Q", 0), "make no sense"),
    "grains of 2^40 sectors": (lambda f: put(f, 20, "Q", 1 << 40), "make no sense"),
    "tables of no entries": (lambda f: put(f, 44, "I", 0), "make no sense"),
    "tables of 2^32 entries": (lambda f: put(f, 44, "I", 0xFFFFFFFF), "make no sense"),
    "tables outside": (lambda f: put(f, 56, "Q", 1 << 40), "ends in the middle"),
    "newlines that were converted": (lambda f: put(f, 73, "I", 0), "damaged"),
    "compression of an unknown type": (lambda f: put(f, 77, "H", 7), "type 7"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_with_its_reason(name, disks, convert):
    change, words = HOSTILE[name]

    with pytest.raises(OperatorError, match=words):
        convert(bytes(change(plain(disks))), "vmdk")


def tables(file):
    directory = struct.unpack_from("<Q", file, 56)[0] * 512
    return directory, struct.unpack_from("<I", file, directory)[0] * 512


def test_a_grain_is_used_once_and_lies_in_the_file(disks, convert):
    _, table = tables(plain(disks))
    used = next(n for n in range(80) if struct.unpack_from("<I", plain(disks), table + 4 * n)[0])
    sector = struct.unpack_from("<I", plain(disks), table + 4 * used)[0]

    for entry, value, words in (
        (used + 1, sector, "used twice"),
        (used, 0xFFFFFF00, "outside the file"),
        (200, sector, "behind the image"),
    ):
        with pytest.raises(OperatorError, match=words):
            convert(bytes(put(plain(disks), table + 4 * entry, "I", value)), "vmdk")


@pytest.mark.parametrize("kind", ["monolithicSparse", "streamOptimized"])
def test_a_file_that_was_cut_off_is_refused(disks, convert, kind):
    file = disks[1][kind]
    for length in (*range(80), 511, 512, 4096, len(file) // 2, len(file) - 70_000):
        with pytest.raises(OperatorError):
            convert(file[:length], "vmdk")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["monolithicSparse", "streamOptimized"]),
    changes=st.lists(st.tuples(st.integers(0, 1600), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_any_few_bytes_changed_end_in_an_image_or_in_words(disks, convert, kind, changes):
    file = bytearray(disks[1][kind])
    for offset, value in changes:
        file[offset] = value
    try:
        done, image = convert(bytes(file), "vmdk")
    except OperatorError as error:
        assert error.what
    else:
        assert done.bytes == len(image) <= 16 << 20
