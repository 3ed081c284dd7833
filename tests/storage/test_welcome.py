"""The images of a fresh install, and the FAT volume that one of them is."""

import io
import pathlib
import shutil
import subprocess

import pytest

from scsipub.storage.fat import fat16, short_name
from scsipub.storage.images import ImageStore
from scsipub.storage.welcome import README, SIZE, readme_image, welcome


@pytest.fixture
def store(tmp_path: pathlib.Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def test_a_fresh_install_has_two_images(store: ImageStore) -> None:
    assert [image.name for image in welcome(store)] == ["empty", "readme"]
    assert {image.bytes for image in store.images()} == {SIZE}
    assert pathlib.Path(store.path("empty")).read_bytes() == bytes(SIZE)


def test_two_installs_have_the_same_images(tmp_path: pathlib.Path) -> None:
    one, other = ImageStore(tmp_path / "one"), ImageStore(tmp_path / "other")

    assert welcome(one) == welcome(other)
    assert readme_image() == readme_image()


def test_an_image_that_was_removed_does_not_come_back(store: ImageStore) -> None:
    welcome(store)
    store.remove("readme")

    assert welcome(store) == []
    assert [image.name for image in store.images()] == ["empty"]


def test_an_image_that_is_there_already_is_kept(store: ImageStore) -> None:
    """An install that was interrupted, or a name that somebody liked too."""
    store.add(io.BytesIO(b"mine"), "empty")

    assert [image.name for image in welcome(store)] == ["readme"]


@pytest.mark.skipif(not shutil.which("mtype"), reason="mtools is not installed")
def test_mtools_reads_the_readme(store: ImageStore) -> None:
    welcome(store)

    listing = subprocess.run(
        ["mdir", "-i", store.path("readme"), "::"], capture_output=True, text=True, check=True
    ).stdout
    text = subprocess.run(
        ["mtype", "-i", store.path("readme"), "::README.TXT"], capture_output=True, check=True
    ).stdout

    assert "SCSIPUB" in listing
    assert "README   TXT" in listing
    assert text.decode() == README.replace("\n", "\r\n")


@pytest.mark.skipif(not shutil.which("fsck.vfat"), reason="dosfstools is not installed")
def test_fsck_finds_nothing_to_say(store: ImageStore) -> None:
    welcome(store)
    done = subprocess.run(["fsck.vfat", "-n", "-v", store.path("readme")], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
    assert "Both FATs are identical" in done.stdout or "differ" not in done.stdout


@pytest.mark.skipif(not shutil.which("fsck.vfat"), reason="dosfstools is not installed")
def test_fsck_likes_files_of_any_length(tmp_path: pathlib.Path) -> None:
    """Nothing, one byte, just a cluster, one byte more, and many clusters."""
    image = bytearray(SIZE)
    names = {f"F{size}.BIN": b"x" * size for size in (0, 1, 2048, 2049, 300_000)}
    for offset, data in fat16(SIZE // 512, "LENGTHS", names):
        image[offset : offset + len(data)] = data
    path = tmp_path / "fat.img"
    path.write_bytes(image)

    done = subprocess.run(["fsck.vfat", "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for name, data in names.items():
        assert subprocess.run(["mtype", "-i", path, f"::{name}"], capture_output=True).stdout == data


@pytest.mark.parametrize("name", ["readme.txt", "TOOLONGNAME.TXT", "A.TEXT", ".TXT", "Ü.TXT"])
def test_names_that_are_not_eight_and_three_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"8\.3"):
        short_name(name)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        list(fat16(SIZE // 512, "FULL", {"BIG.BIN": bytes(SIZE)}))
    with pytest.raises(ValueError, match="no FAT16"):
        list(fat16(8192, "SMALL", {}))
