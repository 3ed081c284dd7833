"""Clients as people use them: iscsi-ls, qemu-img, qemu-io, each an iSCSI initiator not of our making.

They come with Debian's libiscsi-bin, qemu-utils and qemu-block-extra."""

import hashlib
import os
import random
import shutil
import subprocess

import pytest

MEBIBYTE = 1 << 20
TOOLS = [tool for tool in ("iscsi-ls", "qemu-img", "qemu-io") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{TOOLS} are not here")


def run(*words, seconds=60):
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def url(running, name, lun=0):
    return f"iscsi://{running.iscsi}/{running.target(name)}/{lun}"


def bases(running):
    """sha256 of every image."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (running.state_dir / "images").glob("*.img")
    }


@pytest.fixture(scope="module", autouse=True)
def bases_unchanged(running):
    """Whatever the tests of this module write: no base changes, whatever its record says."""
    before = bases(running)
    assert len(before) >= 2
    yield
    assert bases(running) == before


def test_iscsi_ls_lists_every_target_and_its_units(running):
    listed = run("iscsi-ls", "-s", f"iscsi://{running.iscsi}")

    names = [image["name"] for image in running.ask("image.list")]
    for name in ("blank", "multi", *(f"image.{image}" for image in names)):
        assert f"Target:{running.target(name)}" in listed
    assert listed.count("Lun:") == 1 + 2 + len(names)
    assert "(Size:63M)" in listed  # it rounds down what READ CAPACITY(10) says of the last block


def test_qemu_img_copies_an_image_and_finds_it_again(running, tmp_path):
    """Two processes: the second has the disk of the first, because it comes within the grace."""
    image = tmp_path / "image.raw"
    image.write_bytes(os.urandom(48 * MEBIBYTE))
    disk = url(running, "blank")

    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), disk)
    said = run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), disk)

    assert "identical" in said


def test_qemu_io_reads_back_patterns_of_odd_sizes_and_places(running):
    chance = random.Random(1)
    disk, commands, taken = url(running, "blank"), [], []
    for pattern in range(1, 40):
        size = 512 * chance.choice([1, 1, 2, 3, 7, 8, 9, 15, 64, 127, 500, 1023, 2048])
        at = 512 * chance.randrange(0, (60 * MEBIBYTE - size) // 512)
        if all(at + size <= first or first + length <= at for first, length in taken):
            taken.append((at, size))
            commands += ["-c", f"write -P {pattern} {at} {size}"]
    assert len(taken) > 20
    commands += [
        word
        for pattern, command in enumerate(commands[1::2], 1)
        for word in ("-c", command.replace("write", "read"))
    ]

    said = run("qemu-io", "-f", "raw", *commands, disk)

    assert "verification failed" not in said
    assert said.count("wrote") == said.count("\nread ") + said.startswith("read ")


def test_qemu_io_writes_to_an_image_and_the_image_stays(running):
    name = running.ask("image.list")[0]["name"]
    disk = url(running, f"image.{name}")

    said = run(
        *("qemu-io", "-f", "raw", "-c", "write -P 0xee 0 64k", "-c", "read -P 0xee 0 64k"),
        *("-c", "write -z 4k 4k", "-c", "read -P 0 4k 4k", "-c", "discard 0 64k", "-c", "flush", disk),
    )

    assert "verification failed" not in said
    assert "error" not in said.lower()


def test_the_welcome_image_can_be_read_as_a_file_system(running):
    """A fresh install has something to show: a FAT with a README.TXT that a person can open."""
    listed = [image["name"] for image in running.ask("image.list")]
    found = []
    for name in listed:
        image = running.state_dir / "images" / f"{name}.img"
        done = subprocess.run(["mtype", "-i", str(image), "::README.TXT"], capture_output=True, text=True)
        found += [done.stdout] if done.returncode == 0 else []

    assert len(found) == 1
    assert len(found[0]) > 100
