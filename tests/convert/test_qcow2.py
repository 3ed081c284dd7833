"""qcow2: what comes out is what `qemu-img convert -O raw` makes of the same file, byte for byte."""

import random
import subprocess

import pytest

from tests.support.qcow2 import COPIED, DATA, Qcow2

SIZE = 5 * (1 << 20) + 3 * 512  # no multiple of any cluster


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A raw file with holes, patterns, noise, and something in its very last sector."""
    chance = random.Random(7)
    data = bytearray(SIZE)
    for number in range(40):
        length = chance.choice([1, 511, 4096, 65536, 200_000])
        offset = chance.randrange(SIZE - length)
        data[offset : offset + length] = chance.randbytes(length) if number % 2 else bytes([number]) * length
    data[-3:] = b"end"
    file = tmp_path_factory.mktemp("disk") / "disk.raw"
    file.write_bytes(data)
    return file


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True, timeout=60)


def qemu_io(file: object, *commands: str) -> None:
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", "qcow2", str(file), *words], check=True, capture_output=True, timeout=60)


def as_qemu_has_it(file, tmp_path) -> bytes:
    out = tmp_path / "qemu.raw"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", file, out)
    return out.read_bytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        "compat=0.10,cluster_size=512",
        "compat=0.10,cluster_size=65536",
        "compat=0.10,cluster_size=2097152",
        "compat=1.1,cluster_size=512",
        "compat=1.1,cluster_size=4096",
        "compat=1.1,cluster_size=65536",
        "compat=1.1,cluster_size=2097152",
        "compression_type=zstd,cluster_size=512",
        "compression_type=zstd,cluster_size=65536",
        "compression_type=zstd,cluster_size=2097152",
        "extended_l2=on,cluster_size=16384",
        "extended_l2=on,cluster_size=65536",
        "extended_l2=on,cluster_size=2097152",
        "extended_l2=on,compression_type=zstd",
        "lazy_refcounts=on,refcount_bits=1",
        "refcount_bits=64",
    ],
)
def test_converted_as_qemu_does(disk, tmp_path, convert, options, packed):
    file = tmp_path / "disk.qcow2"
    pack = ["-c"] if packed else []
    qemu_img("convert", "-f", "raw", "-O", "qcow2", *pack, "-o", options, disk, file)

    done, image = convert(file.read_bytes())

    assert image == as_qemu_has_it(file, tmp_path) == disk.read_bytes()
    assert (done.format, done.bytes) == ("qcow2", SIZE)


@pytest.mark.parametrize("preallocation", ["metadata", "falloc", "full"])
def test_room_set_aside_is_zeros(tmp_path, convert, preallocation):
    file = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", f"preallocation={preallocation}", file, SIZE)

    assert convert(file.read_bytes())[1] == bytes(SIZE)


@pytest.mark.parametrize("options", ["cluster_size=4096", "extended_l2=on", "compat=0.10"])
def test_a_disk_that_was_lived_in(tmp_path, convert, options):
    """Writes across clusters, zeros over data, trims, compressed clusters beside plain ones, a resize."""
    file = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", options, file, "4M")
    qemu_io(file, "write -P 1 0 1M", "write -P 2 100k 300k", "write -z 64k 128k", "write -P 3 66k 2k")
    qemu_io(
        file, "discard 512k 256k", "write -c -P 4 2M 64k", "write -P 5 2097664 512", "write -P 6 4190208 4k"
    )
    qemu_img("resize", file, "7M")
    qemu_io(file, "write -P 7 6M 512", "write -z -u 0 64k")

    assert convert(file.read_bytes())[1] == as_qemu_has_it(file, tmp_path)


def test_a_disk_that_was_made_smaller_again(tmp_path, convert):
    """Its first table stays as long as it was."""
    file = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", "cluster_size=512", file, "4M")
    qemu_io(file, "write -P 1 0 4M")
    qemu_img("resize", "--shrink", file, "1M")

    assert convert(file.read_bytes())[1] == b"\x01" * (1 << 20)


def test_an_image_in_subclusters_of_which_some_are_zeros(tmp_path, convert):
    file = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=65536", file, "1M")
    qemu_io(file, "write -P 9 0 64k", "write -z 4k 6k", "write -P 8 66k 2k", "write -P 7 130k 1k")

    assert convert(file.read_bytes())[1] == as_qemu_has_it(file, tmp_path)


def test_zeros_take_no_room(tmp_path, convert):
    data = Qcow2({0: b"a" * 4096}, size=8 << 20, header={"l1_size": 4}).bytes()
    convert(bytes(data))

    assert (tmp_path / "target").stat().st_blocks * 512 <= 128 << 10


def test_a_cluster_that_reads_as_zeros_though_it_has_a_place(convert):
    """The zero flag of version 3 wins over what lies in the file."""
    data = Qcow2({}, l2={2: COPIED | DATA * 4096 | 1}, more=b"x" * 4096).bytes()

    assert convert(bytes(data))[1] == bytes(64 * 4096)
